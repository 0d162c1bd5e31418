// Sixteen int32 lanes, or 64 bytes: integer arithmetic beside simd/avx512.h.
#pragma once

#include "kernels/simd/avx512.h"

namespace pyrt {
namespace {

struct Int8Avx512 : Avx512 {
  using ireg = __m512i;

  static ireg iload(const void* p) { return _mm512_loadu_si512(p); }
  static void istore(void* p, ireg v) { _mm512_storeu_si512(p, v); }
  static ireg iset1(int v) { return _mm512_set1_epi32(v); }
  static ireg bset1(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static ireg wset1(int v) { return _mm512_set1_epi16(static_cast<short>(v)); }
  // 16 bytes repeated in every 128-bit lane.
  static ireg repeat(const void* p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static ireg iadd(ireg a, ireg b) { return _mm512_add_epi32(a, b); }
  static ireg isub(ireg a, ireg b) { return _mm512_sub_epi32(a, b); }
  static ireg iand(ireg a, ireg b) { return _mm512_and_si512(a, b); }
  // Of sixteen floats those that the low bits of the lanes say.
  static reg lookup(reg table, ireg index) { return _mm512_permutexvar_ps(index, table); }
  template <int n>
  static ireg shift_right(ireg v) {
    return _mm512_srli_epi32(v, n);
  }
  static reg where_odd(ireg v, reg a, reg b) { return _mm512_mask_blend_ps(_mm512_test_epi32_mask(v, iset1(1)), b, a); }
  // The high halves of the lanes.
  static ireg high_halves(ireg v) { return _mm512_srli_epi32(v, 16); }
  static reg to_f32(ireg v) { return _mm512_cvtepi32_ps(v); }
  static reg as_f32(ireg v) { return _mm512_castsi512_ps(v); }
  // To nearest even, up to 2^30. What is below -2^31 becomes that, and so does a NaN, of which min takes its second
  // operand.
  static ireg round_to_i32(reg v) { return _mm512_cvtps_epi32(min(set1(0x1p30f), v)); }
  static ireg max_u8(ireg a, ireg b) { return _mm512_max_epu8(a, b); }
  static ireg min_u8(ireg a, ireg b) { return _mm512_min_epu8(a, b); }
  // Byte I of each lane.
  template <int I>
  static ireg byte(ireg v) {
    return _mm512_and_si512(_mm512_srli_epi32(v, 8 * I), _mm512_set1_epi32(255));
  }
  static ireg add_words(ireg a, ireg b) { return _mm512_adds_epi16(a, b); }
  static ireg pack_words(ireg a, ireg b) { return _mm512_packs_epi32(a, b); }
  static ireg pack_bytes(ireg a, ireg b) { return _mm512_packus_epi16(a, b); }
  // Within 128-bit lanes: byte 4*i + j to 4*j + i.
  static ireg transpose_4x4(ireg v) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order));
  }
  // The low and the high four bits of every byte, less 8.
  static ireg low_nibbles(ireg v) { return _mm512_sub_epi8(_mm512_and_si512(v, bset1(15)), bset1(8)); }
  static ireg high_nibbles(ireg v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }
  static ireg low_bytes(ireg a, ireg b) { return _mm512_unpacklo_epi8(a, b); }
  static ireg high_bytes(ireg a, ireg b) { return _mm512_unpackhi_epi8(a, b); }
  static ireg low_words(ireg a, ireg b) { return _mm512_unpacklo_epi16(a, b); }
  static ireg high_words(ireg a, ireg b) { return _mm512_unpackhi_epi16(a, b); }
  // `gap` where the mask is 0.
  static ireg blend(const uint8_t* mask, int64_t col, ireg gap, ireg v) {
    return _mm512_mask_blend_epi32(load_mask(mask, col), gap, v);
  }
  static ireg iload_first(const void* p, int n) { return _mm512_maskz_loadu_epi32(first(n), p); }
  // Sixteen 16-bit integers.
  static reg widen(const int16_t* p) {
    return to_f32(_mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(p))));
  }
  // `bit` is set in the lanes where a >= b.
  static ireg or_where_ge(reg a, reg b, ireg v, uint32_t bit) {
    return _mm512_mask_or_epi32(v, _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), v, iset1(static_cast<int>(bit)));
  }
  static void istore_first(void* p, ireg v, int n) { _mm512_mask_storeu_epi32(p, first(n), v); }
};

}  // namespace
}  // namespace pyrt
