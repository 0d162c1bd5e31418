// Lanes of codewords for product.inl. Include after `#pragma GCC target("avx2,fma")`.
#pragma once

#include "kernels/simd/avx2.h"

namespace pyrt {
namespace {

// Eight floats of a row, and four.
struct Lane8 : Avx2 {
  static constexpr int rows = 1, sums = 12, columns = 3;
  static reg repeat(const float* p) { return Avx2::load(p); }
  template <class At>
  static reg load(const At& at) {
    return Avx2::load(at(0));
  }
  // The sums of the elements of each, one row or a few apiece.
  static void store_sums(float* out, reg a, reg b, reg c, reg d) {
    const reg s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
  }
};
struct Lane4 {
  using reg = __m128;
  static constexpr int width = 4, rows = 1, sums = 12, columns = 3;
  static reg zero() { return _mm_setzero_ps(); }
  static reg repeat(const float* p) { return _mm_loadu_ps(p); }
  template <class At>
  static reg load(const At& at) {
    return _mm_loadu_ps(at(0));
  }
  static reg fma(reg a, reg b, reg c) { return _mm_fmadd_ps(a, b, c); }
  static void store_sums(float* out, reg a, reg b, reg c, reg d) {
    _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d)));
  }
};

}  // namespace
}  // namespace pyrt
