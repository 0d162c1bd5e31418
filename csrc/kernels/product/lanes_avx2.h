// Lanes of codewords for product.inl. Include after `#pragma GCC target("avx2,fma")`.
#pragma once

#include "kernels/simd/avx2.h"

namespace pyrt {
namespace {

// Eight floats, and four.
struct Lane8 : Avx2 {
  // Element r of the result is the sum of v[r].
  static __m256 sum_each(const __m256* v) {
    __m256 t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) t[i] = v[i];
    transpose(t);
    return add(add(add(t[0], t[1]), add(t[2], t[3])), add(add(t[4], t[5]), add(t[6], t[7])));
  }
};
struct Lane4 {
  using reg = __m128;
  static constexpr int width = 4;
  static reg zero() { return _mm_setzero_ps(); }
  static reg load(const float* p) { return _mm_loadu_ps(p); }
  static reg fma(reg a, reg b, reg c) { return _mm_fmadd_ps(a, b, c); }
  static __m256 sum_each(const __m128* v) {
    __m256 t[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) t[i] = _mm256_set_m128(v[4 + i], v[i]);
    Avx2::transpose4(t);
    return _mm256_add_ps(_mm256_add_ps(t[0], t[1]), _mm256_add_ps(t[2], t[3]));
  }
};

}  // namespace
}  // namespace pyrt
