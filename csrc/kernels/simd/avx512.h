// Sixteen floats. Include after `#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,...")`.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/simd/broadcast.h"

// GCC 12 warns about the undefined pass-through operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace pyrt {
namespace {

struct Avx512 {
  using reg = __m512;
  using mask = __mmask16;
  using first_mask = mask;
  using inside_mask = mask;
  static constexpr int width = 16;
  static constexpr bool lane_operands = false;  // of a multiply-add

  static reg zero() { return _mm512_setzero_ps(); }
  static reg set1(float v) { return _mm512_set1_ps(v); }
  static reg load(const float* p) { return _mm512_loadu_ps(p); }
  static reg load(const uint16_t* f16) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(f16)));
  }
  static reg load(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  // From here on the value is in a register.
  static void pin(reg& v) { asm("" : "+v"(v)); }
  static void store(float* p, reg v) { _mm512_storeu_ps(p, v); }
  // Four floats, repeated; and float j of the four in every lane.
  static reg load4(const float* p) { return _mm512_castps128_ps512(_mm_loadu_ps(p)); }
  template <int j>
  static reg splat(reg four) {
    return _mm512_permutexvar_ps(_mm512_set1_epi32(j), four);
  }
  // The same four in all quarters; the places of 16 rows, two bits each; and of four the one at the place.
  static reg repeat4(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
  static __m512i places(uint32_t word, int) {
    const __m512i shift = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_srlv_epi32(_mm512_set1_epi32(static_cast<int>(word)), shift);
  }
  static reg pick(reg fours, __m512i place) { return _mm512_permutevar_ps(fours, place); }
  static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
  // Of the first eight lanes; the others become zero.
  static reg fma_low(reg a, const float* b, reg c) {
    return _mm512_zextps256_ps512(
        _mm256_fmadd_ps(_mm512_castps512_ps256(a), _mm256_loadu_ps(b), _mm512_castps512_ps256(c)));
  }
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
  // e^(sign * x) for x in [-104, 104]: 2^n * 2^f, n a multiple of 1/16, whose fraction a register's worth of powers
  // holds and which leaves so small an f that three terms of 2^f are enough.
  static reg exp(reg x, float sign) {
    const reg powers = _mm512_setr_ps(1.0f, 1.0442737824f, 1.0905077327f, 1.1387886348f, 1.1892071150f, 1.2418578121f,
                                      1.2968395547f, 1.3542555469f, 1.4142135624f, 1.4768261459f, 1.5422108254f,
                                      1.6104903319f, 1.6817928305f, 1.7562521604f, 1.8340080864f, 1.9152065614f);
    const reg log2e = set1(sign * 1.44269504f), low = set1(sign * 1.92596303e-8f);
    const reg magic = set1(786432.0f);  // 1.5 * 2^19: what is added to it is rounded to 1/16
    const reg shifted = fma(x, log2e, magic), n = sub(shifted, magic);
    const reg f = fma(x, low, _mm512_fmsub_ps(x, log2e, n));
    const reg q = mul(fma(fma(set1(0.0555041087f), f, set1(0.2402265070f)), f, set1(0.6931471806f)), f);
    const reg power = _mm512_permutexvar_ps(_mm512_castps_si512(shifted), powers);
    return _mm512_scalef_ps(fma(power, q, power), n);  // by 2^floor(n)
  }
  // 1 / a for a >= 1, to about an ulp; 0 beyond 1e38.
  static reg reciprocal(reg a) {
    const reg r = _mm512_rcp14_ps(a);
    const mask finite = _mm512_cmp_ps_mask(a, set1(1e38f), _CMP_NGE_UQ);
    return _mm512_maskz_fmadd_ps(finite, r, _mm512_fnmadd_ps(a, r, set1(1.0f)), r);
  }
  // a > b ? x : y
  static reg select_gt(reg a, reg b, reg x, reg y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
  }

  // The larger, or NaN if one is: max keeps that of its second operand.
  static reg max_or_nan(reg a, reg b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), max(a, b), a);
  }

  // Elements 0, 2, 4... of a, then of b.
  static reg even(reg a, reg b) {
    const __m512i index = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, index, b);
  }
  // Elements 1, 3, 5... of a, then of b.
  static reg odd(reg a, reg b) {
    const __m512i index = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, index, b);
  }
  // Transposes every 4x4 block: element i of 128-bit lane b of r[q] goes to element q of lane b of r[i], i and q < 4.
  static void transpose4(reg* r) {
    const reg a = _mm512_unpacklo_ps(r[0], r[1]), b = _mm512_unpackhi_ps(r[0], r[1]);
    const reg c = _mm512_unpacklo_ps(r[2], r[3]), d = _mm512_unpackhi_ps(r[2], r[3]);
    r[0] = _mm512_shuffle_ps(a, c, 0x44);
    r[1] = _mm512_shuffle_ps(a, c, 0xee);
    r[2] = _mm512_shuffle_ps(b, d, 0x44);
    r[3] = _mm512_shuffle_ps(b, d, 0xee);
  }
  // Row i of a square becomes its column i.
  static void transpose(reg (&r)[16]) {
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) transpose4(r + 4 * g);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const reg even01 = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88), odd01 = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
      const reg even23 = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
      const reg odd23 = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
      r[i] = _mm512_shuffle_f32x4(even01, even23, 0x88);
      r[4 + i] = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
      r[8 + i] = _mm512_shuffle_f32x4(even01, even23, 0xdd);
      r[12 + i] = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
    }
  }
  static mask load_mask(const uint8_t* bits, int64_t col) {
    uint16_t m;
    std::memcpy(&m, bits + col / 8, 2);
    return m;
  }
  static reg apply_mask(mask m, reg v) { return _mm512_maskz_mov_ps(m, v); }
  static mask first(int n) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cmplt_epi32_mask(lane, _mm512_set1_epi32(n));
  }
  // Rows of which `inside` may not be asked.
  static constexpr bool narrow(int) { return false; }
  // Lanes i for which 0 <= col + i < width.
  static mask inside(int col, int width) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cmplt_epu32_mask(_mm512_add_epi32(lane, _mm512_set1_epi32(col)), _mm512_set1_epi32(width));
  }
  static reg load_masked(const float* p, mask m) { return _mm512_maskz_loadu_ps(m, p); }
  static reg load_or(const float* p, mask m, reg other) { return _mm512_mask_loadu_ps(other, m, p); }
  static reg load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store_masked(float* p, reg v, mask m) { _mm512_mask_storeu_ps(p, m, v); }
  static void store_first(float* p, reg v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
  // How many of the first n <= 16 integers are below `bound`.
  static int count_below(const int32_t* p, int n, int32_t bound) {
    const __m512i v = _mm512_maskz_loadu_epi32(first(n), p);
    return __builtin_popcount(_mm512_mask_cmplt_epi32_mask(first(n), v, _mm512_set1_epi32(bound)));
  }
};

}  // namespace
}  // namespace pyrt
