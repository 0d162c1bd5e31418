// Eight int32 lanes, or 32 bytes: integer arithmetic beside simd/avx2.h.
#pragma once

#include "kernels/simd/avx2.h"

namespace pyrt {
namespace {

struct Int8Avx2 : Avx2 {
  using ireg = __m256i;

  static ireg iload(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void istore(void* p, ireg v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static ireg iset1(int v) { return _mm256_set1_epi32(v); }
  static ireg bset1(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  static ireg wset1(int v) { return _mm256_set1_epi16(static_cast<short>(v)); }
  // 16 bytes repeated in every 128-bit lane.
  static ireg repeat(const void* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static ireg iadd(ireg a, ireg b) { return _mm256_add_epi32(a, b); }
  static ireg isub(ireg a, ireg b) { return _mm256_sub_epi32(a, b); }
  static ireg iand(ireg a, ireg b) { return _mm256_and_si256(a, b); }
  // Of eight floats those that the low bits of the lanes say.
  static reg lookup(reg table, ireg index) { return _mm256_permutevar8x32_ps(table, index); }
  template <int n>
  static ireg shift_right(ireg v) {
    return _mm256_srli_epi32(v, n);
  }
  static reg where_odd(ireg v, reg a, reg b) { return _mm256_blendv_ps(b, a, as_f32(_mm256_slli_epi32(v, 31))); }
  // The high halves of the lanes.
  static ireg high_halves(ireg v) { return _mm256_srli_epi32(v, 16); }
  static reg to_f32(ireg v) { return _mm256_cvtepi32_ps(v); }
  static reg as_f32(ireg v) { return _mm256_castsi256_ps(v); }
  // To nearest even, up to 2^30. What is below -2^31 becomes that, and so does a NaN, of which min takes its second
  // operand.
  static ireg round_to_i32(reg v) { return _mm256_cvtps_epi32(min(set1(0x1p30f), v)); }
  static ireg max_u8(ireg a, ireg b) { return _mm256_max_epu8(a, b); }
  static ireg min_u8(ireg a, ireg b) { return _mm256_min_epu8(a, b); }
  // Byte I of each lane.
  template <int I>
  static ireg byte(ireg v) {
    return _mm256_and_si256(_mm256_srli_epi32(v, 8 * I), _mm256_set1_epi32(255));
  }
  static ireg add_words(ireg a, ireg b) { return _mm256_adds_epi16(a, b); }
  static ireg pack_words(ireg a, ireg b) { return _mm256_packs_epi32(a, b); }
  static ireg pack_bytes(ireg a, ireg b) { return _mm256_packus_epi16(a, b); }
  // Within 128-bit lanes: byte 4*i + j to 4*j + i.
  static ireg transpose_4x4(ireg v) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order));
  }
  // The low and the high four bits of every byte, less 8.
  static ireg low_nibbles(ireg v) { return _mm256_sub_epi8(_mm256_and_si256(v, bset1(15)), bset1(8)); }
  static ireg high_nibbles(ireg v) { return low_nibbles(_mm256_srli_epi16(v, 4)); }
  static ireg low_bytes(ireg a, ireg b) { return _mm256_unpacklo_epi8(a, b); }
  static ireg high_bytes(ireg a, ireg b) { return _mm256_unpackhi_epi8(a, b); }
  static ireg low_words(ireg a, ireg b) { return _mm256_unpacklo_epi16(a, b); }
  static ireg high_words(ireg a, ireg b) { return _mm256_unpackhi_epi16(a, b); }
  // `gap` where the mask is 0.
  static ireg blend(const uint8_t* mask, int64_t col, ireg gap, ireg v) {
    return _mm256_blendv_epi8(gap, v, load_mask(mask, col));
  }
  static ireg iload_first(const void* p, int n) { return _mm256_maskload_epi32(static_cast<const int*>(p), first(n)); }
  // Eight 16-bit integers.
  static reg widen(const int16_t* p) {
    return to_f32(_mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
  }
  // `bit` is set in the lanes where a >= b.
  static ireg or_where_ge(reg a, reg b, ireg v, uint32_t bit) {
    const ireg ge = _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
    return _mm256_or_si256(v, _mm256_and_si256(ge, iset1(static_cast<int>(bit))));
  }
  static void istore_first(void* p, ireg v, int n) { _mm256_maskstore_epi32(static_cast<int*>(p), first(n), v); }
};

}  // namespace
}  // namespace pyrt
