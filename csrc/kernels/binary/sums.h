// A block of sums in 16 bits, [column][64 rows]: to bits, and to rows.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

namespace pyrt {
namespace {

constexpr int kBlock = 16;            // columns
constexpr int kStep = 2 * kBitPanel;  // rows between columns of a block

#if defined(__x86_64__)

inline void transpose_8x8(const int16_t* from, int16_t* to) {
  const auto load = [&](int c) { return _mm_load_si128(reinterpret_cast<const __m128i*>(from + c * kStep)); };
  const auto store = [&](int r, __m128i v) { _mm_store_si128(reinterpret_cast<__m128i*>(to + r * kBlock), v); };
  const __m128i a0 = _mm_unpacklo_epi16(load(0), load(1)), a1 = _mm_unpackhi_epi16(load(0), load(1));
  const __m128i b0 = _mm_unpacklo_epi16(load(2), load(3)), b1 = _mm_unpackhi_epi16(load(2), load(3));
  const __m128i c0 = _mm_unpacklo_epi16(load(4), load(5)), c1 = _mm_unpackhi_epi16(load(4), load(5));
  const __m128i d0 = _mm_unpacklo_epi16(load(6), load(7)), d1 = _mm_unpackhi_epi16(load(6), load(7));
  const auto four = [&](int r, __m128i a, __m128i b, __m128i c, __m128i d) {
    const __m128i low = _mm_unpacklo_epi32(a, b), high = _mm_unpackhi_epi32(a, b);
    const __m128i low2 = _mm_unpacklo_epi32(c, d), high2 = _mm_unpackhi_epi32(c, d);
    store(r, _mm_unpacklo_epi64(low, low2));
    store(r + 1, _mm_unpackhi_epi64(low, low2));
    store(r + 2, _mm_unpacklo_epi64(high, high2));
    store(r + 3, _mm_unpackhi_epi64(high, high2));
  };
  four(0, a0, b0, c0, d0);
  four(4, a1, b1, c1, d1);
}

// One bit per row of a panel: sums >= at_least, whose least value is above the least of 16 bits.
inline uint32_t panel_bits(const int16_t* sums, const int16_t* at_least) {
  const __m256i one = _mm256_set1_epi16(1);
  const auto above = [&](int r) {
    const __m256i s = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + r));
    const __m256i t = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at_least + r));
    return _mm256_cmpgt_epi16(s, _mm256_sub_epi16(t, one));
  };
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(above(0), above(16)), 0xd8);
  return static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
}

#else

inline int16x8_t interleave_pairs(int16x8_t a, int16x8_t b, bool high) {
  const int32x4_t p = vreinterpretq_s32_s16(a), q = vreinterpretq_s32_s16(b);
  return vreinterpretq_s16_s32(high ? vzip2q_s32(p, q) : vzip1q_s32(p, q));
}

inline void transpose_8x8(const int16_t* from, int16_t* to) {
  int16x8_t rows[8];  // of two columns each, then of four
  for (int half = 0; half < 2; ++half) {
    const int16_t* at = from + 4 * half * kStep;
    const int16x8_t a = vld1q_s16(at), b = vld1q_s16(at + kStep);
    const int16x8_t c = vld1q_s16(at + 2 * kStep), d = vld1q_s16(at + 3 * kStep);
    const int16x8_t low = vzip1q_s16(a, b), high = vzip2q_s16(a, b);
    const int16x8_t low2 = vzip1q_s16(c, d), high2 = vzip2q_s16(c, d);
    rows[half] = interleave_pairs(low, low2, false);
    rows[2 + half] = interleave_pairs(low, low2, true);
    rows[4 + half] = interleave_pairs(high, high2, false);
    rows[6 + half] = interleave_pairs(high, high2, true);
  }
  for (int i = 0; i < 4; ++i) {  // rows 2i and 2i + 1, of columns 0..3 and of 4..7
    const int64x2_t p = vreinterpretq_s64_s16(rows[2 * i]), q = vreinterpretq_s64_s16(rows[2 * i + 1]);
    vst1q_s16(to + 2 * i * kBlock, vreinterpretq_s16_s64(vzip1q_s64(p, q)));
    vst1q_s16(to + (2 * i + 1) * kBlock, vreinterpretq_s16_s64(vzip2q_s64(p, q)));
  }
}

// One bit per row of a panel: sums >= at_least.
inline uint32_t panel_bits(const int16_t* sums, const int16_t* at_least) {
  static constexpr uint8_t kBits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto reached = [&](int r) { return vmovn_u16(vcgeq_s16(vld1q_s16(sums + r), vld1q_s16(at_least + r))); };
  const uint8x16_t bits = vld1q_u8(kBits);
  const uint8x16_t low = vandq_u8(vcombine_u8(reached(0), reached(8)), bits);
  const uint8x16_t high = vandq_u8(vcombine_u8(reached(16), reached(24)), bits);
  uint8x16_t sum = vpaddq_u8(low, high);  // of the bits of 2 rows, then 4, then 8
  sum = vpaddq_u8(sum, sum);
  sum = vpaddq_u8(sum, sum);
  return vgetq_lane_u32(vreinterpretq_u32_u8(sum), 0);
}

#endif

}  // namespace
}  // namespace pyrt
