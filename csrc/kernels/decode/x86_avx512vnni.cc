#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// It uses the vector type above.
#include "kernels/decode/offsets_avx512.h"

namespace pyrt {

void expand_cols_u8_8__avx2(const ExpandColsArgs& a);

namespace {

// Sixteen columns at a time: column i is the dot product of the deltas with i + 1 ones and zeros, four deltas by one
// instruction, where a prefix sum shuffles and adds five times.
template <class Offsets>
inline void expand_cols(const ExpandColsArgs& a, const Offsets& offsets) {
  const auto* deltas = static_cast<const uint8_t*>(a.deltas);
  int32_t* off = a.off;
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i fifteenth = _mm512_set1_epi32(15);
  // ones[j]: in lane i a one for each of the deltas 4j .. 4j + 3 that are not behind delta i.
  __m512i ones[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i behind = _mm512_sub_epi32(_mm512_set1_epi32(4 * j + 3), lane);
    const __m512i kept = _mm512_max_epi32(_mm512_setzero_si512(), behind);
    ones[j] = _mm512_srlv_epi32(_mm512_set1_epi32(0x01010101), _mm512_slli_epi32(kept, 3));
  }
  const auto sums = [&](const __m512i* fours) __attribute__((always_inline)) {
    const __m512i low = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(lane, fours[0], ones[0]), fours[1], ones[1]);
    const __m512i high =
        _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), fours[2], ones[2]), fours[3], ones[3]);
    return _mm512_add_epi32(low, high);
  };
  for (int r = 0; r < a.rows; ++r) {
    const auto n = static_cast<int64_t>(a.counts[r]);
    __m512i next = _mm512_setzero_si512();  // column behind the last one
    int64_t i = 0;
    __m512i fours[4];
    for (; i + 16 <= n; i += 16) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        int32_t four;
        std::memcpy(&four, deltas + i + 4 * j, 4);
        fours[j] = _mm512_set1_epi32(four);
      }
      const __m512i cols = _mm512_add_epi32(sums(fours), next);
      next = _mm512_add_epi32(_mm512_permutexvar_epi32(fifteenth, cols), _mm512_set1_epi32(1));
      _mm512_storeu_si512(off + i, offsets(cols));
    }
    if (i < n) {
      const __mmask16 live = Avx512::first(static_cast<int>(n - i));
      const __m512i rest = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(live, deltas + i));
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) fours[j] = _mm512_permutexvar_epi32(_mm512_set1_epi32(j), rest);
      const __m512i cols = _mm512_add_epi32(sums(fours), next);
      _mm512_mask_storeu_epi32(off + i, live, offsets(cols));
    }
    deltas += n;
    off += n;
  }
}

}  // namespace

void expand_cols_u8_16__avx512vnni(const ExpandColsArgs& a) {
  if (!a.table) expand_cols(a, LinearOffsets(a));
  else if (TapOffsets::can(a)) expand_cols(a, TapOffsets(a));
  else expand_cols_u8_8__avx2(a);
}

}  // namespace pyrt

#endif
