// Where the sums of u8 x s8 products fit 16 bits (`fits`, kernels/kernels.h), proved from the weights.
#include <algorithm>
#include <cstring>

#include "ops/weights.h"

namespace pyrt {
namespace {

constexpr int kMost = 32767 / 255;  // u8 is at most 255; of negative weights -32768 allows no more

struct LaneSum {
  int positive = 0, negative = 0;

  void add(const int8_t* w) {
    for (int i = 0; i < 2; ++i) (w[i] > 0 ? positive : negative) += w[i];
  }
  bool fits() const { return positive <= kMost && negative >= -kMost; }
};

// Of one step of `groups` (1 or 2) groups of four weights of 16 rows.
void find_step(const int8_t* w, int64_t groups, int bit, Fit* fit) {
  for (int lane = 0; lane < 2 * kPanel; ++lane) {  // two to a row
    LaneSum both;
    bool one_fits = true;
    for (int64_t g = 0; g < groups; ++g) {
      LaneSum one;
      one.add(w + g * 4 * kPanel + 2 * lane);
      both.add(w + g * 4 * kPanel + 2 * lane);
      one_fits = one_fits && one.fits();
    }
    const uint64_t clear = ~(uint64_t{1} << bit);
    if (!one_fits) fit->one[lane / 8] &= clear;
    if (!both.fits()) fit->two[lane / 8] &= clear;
  }
}

}  // namespace

void Weights::find_fits(const Kernels& kernels) {
  if (structure != kRows) {
    std::vector<uint8_t> scratch(s8_scratch());
    const int64_t k = cols / 4, panels = groups * panels_per_group();
    Fit all{};
    std::memset(&all, 255, sizeof all);
    fits.assign(static_cast<size_t>(panels * fits_per_panel()), all);
    for (int64_t p = 0; p < panels; ++p) {
      Fit* fit = fits.data() + p * fits_per_panel();
      const int8_t* w = s8_panel(kernels, p, scratch.data());
      for (int64_t g = 0; g < k; g += 2) {
        const int64_t step = g / 2;
        find_step(w + g * 4 * kPanel, std::min<int64_t>(2, k - g), static_cast<int>(step % Fit::steps),
                  fit + step / Fit::steps);
      }
    }
    return;
  }
  const int64_t bytes = (cols + 3) / 4 * 16;  // of four rows
  for (int64_t p = 0; p < (rows + 3) / 4; ++p) {
    bool all = true;
    for (int64_t i = 0; i < bytes; i += 2) {
      LaneSum one;
      one.add(int8s + p * bytes + i);
      all = all && one.fits();
    }
    row_fits.push_back(all);
  }
}

}  // namespace pyrt
