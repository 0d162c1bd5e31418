// How many u8 x s8 products of a panel fit 16 bits (Fit, kernels/kernels.h), proved from its weights.
#include <algorithm>

#include "ops/weights.h"

namespace pyrt {
namespace {

// The largest sum of positive and of negative weights that one 16-bit lane meets in `groups` neighbouring groups of
// four, of which `lanes` lie side by side.
bool sums_fit(const int8_t* w, int64_t k, int64_t lanes, int64_t groups) {
  constexpr int kMost = 32767 / 255;  // 128 x 255 fits: u8 is at most 255
  for (int64_t first = 0; first < k; first += groups) {
    const int64_t end = std::min(first + groups, k);
    for (int64_t lane = 0; lane < 2 * lanes; ++lane) {
      int positive = 0, negative = 0;
      for (int64_t i = first; i < end; ++i) {
        for (int64_t j = 0; j < 2; ++j) {
          const int v = w[(i * lanes * 2 + lane) * 2 + j];
          (v > 0 ? positive : negative) += v;
        }
      }
      if (positive > kMost || negative < -kMost) return false;
    }
  }
  return true;
}

Fit find_fit(const int8_t* w, int64_t k, int64_t lanes) {
  if (!sums_fit(w, k, lanes, 1)) return Fit::kNone;
  return sums_fit(w, k, lanes, 2) ? Fit::kTwo : Fit::kOne;
}

}  // namespace

void Weights::find_fits() {
  const int64_t panels = structure == kPanels ? groups * panels_per_group() : (rows + 3) / 4;
  if (nibbles) return fits.assign(static_cast<size_t>(panels), Fit::kTwo);  // four of -8..7
  const int64_t k = (cols + 3) / 4, lanes = structure == kPanels ? 16 : 4;
  for (int64_t p = 0; p < panels; ++p) fits.push_back(find_fit(int8s + p * k * lanes * 4, k, lanes));
}

}  // namespace pyrt
