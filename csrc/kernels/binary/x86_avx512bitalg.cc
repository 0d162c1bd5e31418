#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx512bitalg,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx512.h"
// The templates use the vector type above.
#include "kernels/binary/bgemm.inl"

namespace pyrt {
namespace {

// Not the intrinsic, as in x86_avx2.cc.
inline void add_now(__m512i& sum, __m512i v) { __asm__("vpaddb %1, %0, %0" : "+v"(sum) : "v"(v)); }

// vpopcntb: two bytes of 32 rows are a vector of weights.
struct Tile {
  static constexpr int columns = 4;
  static constexpr int kMost = 15;  // groups of 32 channels whose differences fit a byte

  template <int R, int C>
  static void add(const BGemmArgs& a, int col, int16_t* sums) {
    const __m512i pair = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi8(1), 1);
    const __m512i other = _mm512_add_epi8(pair, _mm512_set1_epi8(2));
    for (int k0 = 0; k0 < a.k; k0 += kMost) {
      const int k1 = k0 + kMost < a.k ? k0 + kMost : a.k;
      __m512i acc[R][C];
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_si512();
      const uint8_t* w = a.w + static_cast<ptrdiff_t>(k0) * 4 * kBitPanel;
      for (int k = k0; k < k1; ++k, w += 4 * kBitPanel) {
        if (C == 1) {  // weights that are read once; the hardware does not look past a 4 KB page
#pragma GCC unroll 2
          for (int r = 0; r < R; ++r) {
            __builtin_prefetch(w + r * a.panel_bytes + 4096);
            __builtin_prefetch(w + r * a.panel_bytes + 4096 + 64);
          }
        }
        const uint32_t* x = a.x + a.off[k] + col;
        __m512i w0[R], w1[R];
#pragma GCC unroll 2
        for (int r = 0; r < R; ++r) {
          w0[r] = _mm512_loadu_si512(w + r * a.panel_bytes);
          w1[r] = _mm512_loadu_si512(w + r * a.panel_bytes + 64);
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          const __m512i four = _mm512_set1_epi32(static_cast<int>(x[c]));
          const __m512i x0 = _mm512_shuffle_epi8(four, pair), x1 = _mm512_shuffle_epi8(four, other);
#pragma GCC unroll 2
          for (int r = 0; r < R; ++r) {
            add_now(acc[r][c], _mm512_popcnt_epi8(_mm512_xor_si512(w0[r], x0)));
            add_now(acc[r][c], _mm512_popcnt_epi8(_mm512_xor_si512(w1[r], x1)));
          }
        }
      }
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          int16_t* at = sums + c * kStep + r * kBitPanel;
          const __m512i differ = _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(acc[r][c])),
                                                  _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(acc[r][c], 1)));
          _mm512_storeu_si512(at, _mm512_sub_epi16(_mm512_loadu_si512(at), _mm512_slli_epi16(differ, 1)));
        }
    }
  }
};

}  // namespace

void bgemm_64x4__avx512bitalg(const BGemmArgs& a) { bgemm<Int8Avx512, Tile>(a); }

}  // namespace pyrt

#endif
