// Sixteen floats. Include after `#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,...")`.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

// GCC 12 warns about the undefined pass-through operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace pyrt {
namespace {

struct Avx512 {
  using reg = __m512;
  using mask = __mmask16;
  static constexpr int width = 16;

  static reg zero() { return _mm512_setzero_ps(); }
  static reg set1(float v) { return _mm512_set1_ps(v); }
  static reg load(const float* p) { return _mm512_loadu_ps(p); }
  static reg load(const uint16_t* f16) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(f16)));
  }
  static void store(float* p, reg v) { _mm512_storeu_ps(p, v); }
  // Four floats, repeated; and float j of the four in every lane.
  static reg load4(const float* p) { return _mm512_castps128_ps512(_mm_loadu_ps(p)); }
  template <int j>
  static reg splat(reg four) {
    return _mm512_permutexvar_ps(_mm512_set1_epi32(j), four);
  }
  static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
  static reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm512_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm512_mul_ps(a, b); }
  static reg div(reg a, reg b) { return _mm512_div_ps(a, b); }
  static reg sqrt(reg a) { return _mm512_sqrt_ps(a); }
  // A NaN in the second operand is kept.
  static reg min(reg a, reg b) { return _mm512_min_ps(a, b); }
  static reg max(reg a, reg b) { return _mm512_max_ps(a, b); }
  static reg abs(reg a) { return _mm512_abs_ps(a); }
  static reg copysign(reg magnitude, reg sign) {
    const reg bit = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(bit, magnitude), _mm512_and_ps(bit, sign));
  }
  static reg round(reg a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n for whole n in [-126, 127].
  static reg pow2(reg n) {
    const __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(i, 23));
  }
  // a > b ? x : y
  static reg select_gt(reg a, reg b, reg x, reg y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
  }

  // a where it is NaN, else b.
  static reg nan_or(reg a, reg b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), b, a); }

  static mask load_mask(const uint8_t* bits, int64_t col) {
    uint16_t m;
    std::memcpy(&m, bits + col / 8, 2);
    return m;
  }
  static reg apply_mask(mask m, reg v) { return _mm512_maskz_mov_ps(m, v); }
  static mask first(int n) { return static_cast<mask>(n >= 16 ? 0xffff : (1u << n) - 1); }
  static reg load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store_first(float* p, reg v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
  // A bit for each of the first n <= 16 integers that is below `bound`.
  static uint32_t below(const int32_t* p, int n, int32_t bound) {
    return _mm512_mask_cmplt_epi32_mask(first(n), _mm512_maskz_loadu_epi32(first(n), p), _mm512_set1_epi32(bound));
  }
};

}  // namespace
}  // namespace pyrt
