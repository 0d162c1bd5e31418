// Eight floats. Include after `#pragma GCC target("avx2,fma")`.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace pyrt {
namespace {

struct Avx2 {
  using reg = __m256;
  using mask = __m256i;
  static constexpr int width = 8;

  static reg zero() { return _mm256_setzero_ps(); }
  static reg set1(float v) { return _mm256_set1_ps(v); }
  static reg load(const float* p) { return _mm256_loadu_ps(p); }
  static reg load(const uint16_t* f16) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(f16)));
  }
  static void store(float* p, reg v) { _mm256_storeu_ps(p, v); }
  // Four floats, repeated; and float j of the four in every lane.
  static reg load4(const float* p) { return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)); }
  template <int j>
  static reg splat(reg four) {
    return _mm256_permute_ps(four, j * 0x55);
  }
  static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
  static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm256_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm256_mul_ps(a, b); }
  static reg div(reg a, reg b) { return _mm256_div_ps(a, b); }
  static reg sqrt(reg a) { return _mm256_sqrt_ps(a); }
  // A NaN in the second operand is kept.
  static reg min(reg a, reg b) { return _mm256_min_ps(a, b); }
  static reg max(reg a, reg b) { return _mm256_max_ps(a, b); }
  static reg abs(reg a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static reg copysign(reg magnitude, reg sign) {
    const reg bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
  }
  static reg round(reg a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in [-126, 127].
  static reg pow2(reg n) {
    const __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(i, 23));
  }
  // a > b ? x : y
  static reg select_gt(reg a, reg b, reg x, reg y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }

  // a where it is NaN, else b.
  static reg nan_or(reg a, reg b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }

  static mask load_mask(const uint8_t* bits, int64_t col) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits[col / 8]), bit), bit);
  }
  static reg apply_mask(mask m, reg v) { return _mm256_and_ps(_mm256_castsi256_ps(m), v); }
  static mask first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static reg load_first(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
  static void store_first(float* p, reg v, int n) { _mm256_maskstore_ps(p, first(n), v); }
  // A bit for each of the first n <= 8 integers that is below `bound`.
  static uint32_t below(const int32_t* p, int n, int32_t bound) {
    const __m256i v = _mm256_maskload_epi32(p, first(n));
    const __m256i less = _mm256_and_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(bound), v), first(n));
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(less)));
  }
};

}  // namespace
}  // namespace pyrt
