#include <algorithm>
#include <cmath>

#include "kernels/ref.h"

namespace pyrt {
namespace {

// Rounded after the product and bias, and after the residual, as every instruction set does it.
float finish_float(const BGemmArgs& a, int16_t sum, int row, int c) {
  const BinaryEpilogue& e = a.epilogue;
  if (ref_masked(e.rest.mask, c)) return 0.0f;
  const float s = std::max(static_cast<float>(sum), e.low);
  float y = std::fma(s, e.rest.scale ? e.rest.scale[row] : 1.0f, e.rest.bias ? e.rest.bias[row] : 0.0f);
  if (e.rest.residual) y += e.rest.residual[row * a.y_stride + c];
  return ref_act(e.rest.act, static_cast<double>(y));
}

}  // namespace

void bgemm__ref(const BGemmArgs& a) {
  const BinaryEpilogue& e = a.epilogue;
  for (int c = 0; c < a.cols; ++c) {
    const int16_t* shift = e.shift + (e.zone ? e.zone[c] : 0) * e.shift_stride;
    for (int p = 0; p * kBitPanel < a.rows; ++p) {
      const uint8_t* w = a.w + p * a.panel_bytes;
      uint32_t bits = 0;
      for (int r = 0; r < kBitPanel && p * kBitPanel + r < a.rows; ++r) {
        int differ = 0;
        for (int k = 0; k < a.k; ++k) {
          const uint32_t x = a.x[static_cast<ptrdiff_t>(a.off[k]) + c];
          for (int i = 0; i < 4; ++i)
            differ += __builtin_popcount(((x >> (8 * i)) & 255) ^ w[(4 * k + i) * kBitPanel + r]);
        }
        const int row = p * kBitPanel + r;
        const auto s = static_cast<int16_t>(shift[row] - 2 * differ);
        if (a.to_bits) {
          bits |= static_cast<uint32_t>(s >= e.at_least[row]) << r;
        } else {
          static_cast<float*>(a.y)[row * a.y_stride + c] = finish_float(a, s, row, c);
        }
      }
      if (a.to_bits) static_cast<uint32_t*>(a.y)[p * a.y_stride + c] = ref_masked(e.rest.mask, c) ? 0 : bits;
    }
  }
}

void binarize__ref(const BinarizeArgs& a) {
  for (int64_t c = 0; c < a.cols; ++c) {
    uint32_t bits = 0;
    for (int r = 0; r < a.rows; ++r) bits |= static_cast<uint32_t>(a.x[r * a.x_stride + c] >= a.at_least[r]) << r;
    a.y[c] = ref_masked(a.mask, c) ? 0 : bits;
  }
}

}  // namespace pyrt
