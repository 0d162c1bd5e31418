// Four floats, for blocks of four rows. Include after `#pragma GCC target("avx2,fma")`.
#pragma once

#include <immintrin.h>

namespace pyrt {
namespace {

struct Sse {
  using reg = __m128;
  static constexpr int width = 4;

  static reg zero() { return _mm_setzero_ps(); }
  static reg set1(float v) { return _mm_set1_ps(v); }
  static reg load(const float* p) { return _mm_loadu_ps(p); }
  static void store(float* p, reg v) { _mm_storeu_ps(p, v); }
  static reg fma(reg a, reg b, reg c) { return _mm_fmadd_ps(a, b, c); }
  static reg add(reg a, reg b) { return _mm_add_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm_mul_ps(a, b); }
  static reg min(reg a, reg b) { return _mm_min_ps(a, b); }
  static reg max(reg a, reg b) { return _mm_max_ps(a, b); }
};

}  // namespace
}  // namespace pyrt
