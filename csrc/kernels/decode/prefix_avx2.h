// Include after `#pragma GCC target("avx2")`.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace pyrt {
namespace {

// Distances of eight entries from the entry before them: running sums of (delta + 1), 16 bits each.
inline __m128i prefix_sum8(const uint8_t* deltas) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(deltas));
  __m128i s = _mm_add_epi16(_mm_cvtepu8_epi16(bytes), _mm_set1_epi16(1));
  s = _mm_add_epi16(s, _mm_slli_si128(s, 2));
  s = _mm_add_epi16(s, _mm_slli_si128(s, 4));
  return _mm_add_epi16(s, _mm_slli_si128(s, 8));
}

}  // namespace
}  // namespace pyrt
