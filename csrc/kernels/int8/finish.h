// The arithmetic of one integer result (docs/format.md, section 4): what every vector form computes, lane by lane.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/kernels.h"

namespace pyrt {
namespace {

// rne(s) + zero within [low, high]; s of any size, a NaN gives low.
inline uint8_t round_and_clamp(float s, int zero, int low, int high) {
  const float least = static_cast<float>(low - zero), most = static_cast<float>(high - zero);
  if (!(s > least)) return static_cast<uint8_t>(low);
  // At 1.5 * 2^23 floats are whole numbers; std::nearbyint is a call on processors without SSE4.1.
  constexpr float kWhole = 0x1.8p23f;
  return static_cast<uint8_t>(static_cast<int>(std::min(s, most) + kWhole - kWhole) + zero);
}

// Row r before it is rounded; sums are modulo 2^32.
inline float scaled(const QuantEpilogue& e, int r, int64_t col, int32_t sum) {
  const auto total = static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(e.shift[r]));
  if (e.columns) return std::fma(static_cast<float>(total) * e.scale[r], e.columns[col], e.bias[r]);
  return std::fma(static_cast<float>(total), e.scale[r], e.bias[r]);
}

inline bool stored(const uint8_t* mask, int64_t col) { return !mask || (mask[col / 8] >> (col % 8)) & 1; }

// Row r, column `col` of a u8 output; `at` is where it lies, and its residual.
inline uint8_t finish(const QuantEpilogue& e, int r, int64_t col, ptrdiff_t at, int32_t sum) {
  if (!stored(e.mask, col)) return static_cast<uint8_t>(e.zero);
  float s = scaled(e, r, col, sum);
  if (e.residual) s = std::fma(static_cast<float>(e.residual[at] - e.residual_zero), e.residual_scale, s);
  return round_and_clamp(s, e.zero, e.low, e.high);
}

// Row r, column `col` of y as in QGemmArgs.
inline void store_sum(const QuantEpilogue& e, bool to_f32, void* y, ptrdiff_t y_stride, int r, int64_t col,
                      int32_t sum) {
  if (to_f32) {
    static_cast<float*>(y)[r * y_stride + col] = stored(e.mask, col) ? scaled(e, r, col, sum) : 0.0f;
  } else {
    const ptrdiff_t at = 4 * (r / 4 * y_stride + col) + r % 4;
    static_cast<uint8_t*>(y)[at] = finish(e, r, col, at, sum);
  }
}

}  // namespace
}  // namespace pyrt
