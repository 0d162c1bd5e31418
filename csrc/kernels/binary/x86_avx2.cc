#if defined(__x86_64__)

#include <array>
#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx2.h"
// The templates use the vector type above.
#include "kernels/binary/bgemm.inl"

namespace pyrt {
namespace {

// For each byte of a column: the bits by which its low, then its high half differ from each of 16 nibbles.
struct alignas(64) Differences {
  uint8_t of[256][2][16];
};
constexpr Differences make_differences() {
  Differences table{};
  for (int byte = 0; byte < 256; ++byte) {
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 16; ++i) {
        const int x = (half ? byte >> 4 : byte & 15) ^ i;
        table.of[byte][half][i] = static_cast<uint8_t>((x & 1) + (x >> 1 & 1) + (x >> 2 & 1) + (x >> 3));
      }
    }
  }
  return table;
}
constexpr Differences kDifferences = make_differences();

// Not the intrinsic: GCC adds up in another order, which takes more registers than there are.
inline void add_now(__m256i& sum, __m256i v) { __asm__("vpaddb %1, %0, %0" : "+x"(sum) : "x"(v)); }

// 32 rows are 32 lanes; a nibble of a column picks the table in which the weights' nibbles are looked up.
struct Tile {
  static constexpr int columns = 4;
  static constexpr int kMost = 7;  // groups of 32 channels whose differences fit a byte

  template <int R, int C>
  static void add(const BGemmArgs& a, int col, int16_t* sums) {
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int k0 = 0; k0 < a.k; k0 += kMost) {
      const int k1 = k0 + kMost < a.k ? k0 + kMost : a.k;
      __m256i acc[R][C];
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) acc[r][c] = _mm256_setzero_si256();
      const uint8_t* w = a.w + static_cast<ptrdiff_t>(k0) * 4 * kBitPanel;
      for (int k = k0; k < k1; ++k, w += 4 * kBitPanel) {
        if (C == 1) {  // weights that are read once; the hardware does not look past a 4 KB page
#pragma GCC unroll 2
          for (int r = 0; r < R; ++r) {
            __builtin_prefetch(w + r * a.panel_bytes + 4096);
            __builtin_prefetch(w + r * a.panel_bytes + 4096 + 64);
          }
        }
        const auto* x = reinterpret_cast<const uint8_t*>(a.x + a.off[k] + col);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          __m256i low[R], high[R];
#pragma GCC unroll 2
          for (int r = 0; r < R; ++r) {
            const __m256i both =
                _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + r * a.panel_bytes + i * kBitPanel));
            low[r] = _mm256_and_si256(both, nibble);
            high[r] = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
          }
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c) {
            const auto* table = reinterpret_cast<const __m128i*>(kDifferences.of[x[4 * c + i]]);
            const __m256i first = _mm256_broadcastsi128_si256(_mm_load_si128(table));
            const __m256i second = _mm256_broadcastsi128_si256(_mm_load_si128(table + 1));
#pragma GCC unroll 2
            for (int r = 0; r < R; ++r) {
              add_now(acc[r][c], _mm256_shuffle_epi8(first, low[r]));
              add_now(acc[r][c], _mm256_shuffle_epi8(second, high[r]));
            }
          }
        }
      }
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          auto* at = reinterpret_cast<__m256i*>(sums + c * kStep + r * kBitPanel);
          const __m256i first = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(acc[r][c]));
          const __m256i second = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(acc[r][c], 1));
          at[0] = _mm256_sub_epi16(at[0], _mm256_add_epi16(first, first));
          at[1] = _mm256_sub_epi16(at[1], _mm256_add_epi16(second, second));
        }
    }
  }
};

}  // namespace

void bgemm_64x4__avx2(const BGemmArgs& a) { bgemm<Int8Avx2, Tile>(a); }
void binarize_32x8__avx2(const BinarizeArgs& a) { binarize<Int8Avx2>(a); }

}  // namespace pyrt

#endif
