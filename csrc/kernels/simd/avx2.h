// Eight floats. Include after `#pragma GCC target("avx2,fma")`.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/simd/broadcast.h"
#include "kernels/simd/exp.inl"

namespace pyrt {
namespace {

struct Avx2 {
  using reg = __m256;
  using mask = __m256i;
  using first_mask = mask;
  using inside_mask = mask;
  static constexpr int width = 8;
  static constexpr bool lane_operands = false;  // of a multiply-add

  static reg zero() { return _mm256_setzero_ps(); }
  static reg set1(float v) { return _mm256_set1_ps(v); }
  static reg load(const float* p) { return _mm256_loadu_ps(p); }
  static reg load(const uint16_t* f16) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(f16)));
  }
  static reg load(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  // From here on the value is in a register.
  static void pin(reg& v) { asm("" : "+x"(v)); }
  static void store(float* p, reg v) { _mm256_storeu_ps(p, v); }
  // Four floats, repeated; and float j of the four in every lane.
  static reg load4(const float* p) { return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)); }
  template <int j>
  static reg splat(reg four) {
    return _mm256_permute_ps(four, j * 0x55);
  }
  // The same four in both halves; the places of vector l of 16 rows, two bits each; and of four the one at the place.
  static reg repeat4(const float* p) { return load4(p); }
  static __m256i places(uint32_t word, int l) {
    const __m256i shift = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    return _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word >> 16 * l)), shift);
  }
  static reg pick(reg fours, __m256i place) { return _mm256_permutevar_ps(fours, place); }
  // The numbers of the columns at these places of the four from `first` on; and where their rows of X start, as in
  // ExpandColsArgs.
  static reg columns(__m256i place, int first) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_and_si256(place, _mm256_set1_epi32(3)), _mm256_set1_epi32(first)));
  }
  static void store_offsets(int32_t* to, reg columns, const int32_t* table, int32_t stride) {
    __m256i off = _mm256_castps_si256(columns);
    if (table) off = _mm256_i32gather_epi32(table, off, 4);
    else off = _mm256_mullo_epi32(off, _mm256_set1_epi32(stride));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), off);
  }
  static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
  static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  // Of halves: the low one of a and the high one of b.
  static __m128 low_plus_high(reg a, reg b) {
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(b, 1));
  }
  // Of eight bytes.
  static uint64_t sum8(const uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_sad_epu8(bytes, _mm_setzero_si128())));
  }
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
  static reg exp(reg x, float sign) { return exp_polynomial<Avx2>(x, sign); }
  // a * 2^n for whole n, in two halves, so that neither factor leaves the range of normal numbers.
  static reg scale(reg a, reg n) {
    const __m256i exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
    return mul(mul(a, pow2(half)), pow2(_mm256_sub_epi32(exponent, half)));
  }
  static reg pow2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  // 1 / a for a >= 1.
  static reg reciprocal(reg a) { return div(set1(1.0f), a); }
  // a > b ? x : y
  static reg select_gt(reg a, reg b, reg x, reg y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }

  // The larger, or NaN if one is: max keeps that of its second operand.
  static reg max_or_nan(reg a, reg b) { return _mm256_blendv_ps(max(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }

  // x[0], x[2], x[4], x[6] to y.
  static void store_four_even(float* y, const float* x) {
    _mm_storeu_ps(y, _mm_shuffle_ps(_mm_loadu_ps(x), _mm_loadu_ps(x + 3), _MM_SHUFFLE(3, 1, 2, 0)));
  }
  // Elements 0, 2, 4... of a, then of b.
  static reg even(reg a, reg b) {
    const __m256d lanes = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(lanes, 0xd8));
  }
  // Elements 1, 3, 5... of a, then of b.
  static reg odd(reg a, reg b) {
    const __m256d lanes = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(lanes, 0xd8));
  }
  // Transposes every 4x4 block: element i of 128-bit lane b of r[q] goes to element q of lane b of r[i], i and q < 4.
  static void transpose4(reg* r) {
    const reg a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
    const reg c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
    r[0] = _mm256_shuffle_ps(a, c, 0x44);
    r[1] = _mm256_shuffle_ps(a, c, 0xee);
    r[2] = _mm256_shuffle_ps(b, d, 0x44);
    r[3] = _mm256_shuffle_ps(b, d, 0xee);
  }
  // Row i of a square becomes its column i.
  static void transpose(reg (&r)[8]) {
    transpose4(r);
    transpose4(r + 4);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const reg low = r[i], high = r[4 + i];
      r[i] = _mm256_permute2f128_ps(low, high, 0x20);
      r[4 + i] = _mm256_permute2f128_ps(low, high, 0x31);
    }
  }
  static mask load_mask(const uint8_t* bits, int64_t col) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits[col / 8]), bit), bit);
  }
  static reg apply_mask(mask m, reg v) { return _mm256_and_ps(_mm256_castsi256_ps(m), v); }
  static mask first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  // Rows of which `inside` may not be asked.
  static constexpr bool narrow(int) { return false; }
  // Lanes i for which 0 <= col + i < width.
  static mask inside(int col, int width) {
    const __m256i at = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(col));
    return _mm256_andnot_si256(_mm256_srai_epi32(at, 31), _mm256_cmpgt_epi32(_mm256_set1_epi32(width), at));
  }
  static reg load_masked(const float* p, mask m) { return _mm256_maskload_ps(p, m); }
  static reg load_or(const float* p, mask m, reg other) {
    return _mm256_blendv_ps(other, _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m));
  }
  static reg load_first(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
  static void store_masked(float* p, reg v, mask m) { _mm256_maskstore_ps(p, m, v); }
  static void store_first(float* p, reg v, int n) { _mm256_maskstore_ps(p, first(n), v); }
  // How many of the first n <= 8 integers are below `bound`.
  static int count_below(const int32_t* p, int n, int32_t bound) {
    const __m256i v = _mm256_maskload_epi32(p, first(n));
    const __m256i less = _mm256_and_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(bound), v), first(n));
    return __builtin_popcount(static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(less))));
  }
};

}  // namespace
}  // namespace pyrt
