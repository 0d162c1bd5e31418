#if defined(__aarch64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC optimize("no-schedule-insns")  // before registers are given out it spills the sums
#include "kernels/simd/int8_neon.h"
// The templates use the vector type above.
#include "kernels/binary/bgemm.inl"

namespace pyrt {
namespace {

// Not the intrinsic, as in x86_avx2.cc.
inline void add_now(uint8x16_t& sum, uint8x16_t v) { __asm__("add %0.16b, %0.16b, %1.16b" : "+w"(sum) : "w"(v)); }

// cnt counts the bits of bytes: xor, count, add for 8 channels of 16 rows.
struct Tile {
  static constexpr int columns = 4;
  static constexpr int kMost = 7;  // groups of 32 channels whose differences fit a byte

  template <int R, int C>
  static void add(const BGemmArgs& a, int col, int16_t* sums) {
    for (int k0 = 0; k0 < a.k; k0 += kMost) {
      const int k1 = k0 + kMost < a.k ? k0 + kMost : a.k;
      uint8x16_t acc[2 * R][C];
#pragma GCC unroll 4
      for (int r = 0; r < 2 * R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) acc[r][c] = vdupq_n_u8(0);
      const uint8_t* w = a.w + static_cast<ptrdiff_t>(k0) * 4 * kBitPanel;
      for (int k = k0; k < k1; ++k, w += 4 * kBitPanel) {
        const auto* x = reinterpret_cast<const uint8_t*>(a.x + a.off[k] + col);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          uint8x16_t rows[2 * R];
#pragma GCC unroll 4
          for (int r = 0; r < 2 * R; ++r) rows[r] = vld1q_u8(w + r / 2 * a.panel_bytes + i * kBitPanel + r % 2 * 16);
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c) {
            const uint8x16_t eight = vld1q_dup_u8(x + 4 * c + i);
#pragma GCC unroll 4
            for (int r = 0; r < 2 * R; ++r) add_now(acc[r][c], vcntq_u8(veorq_u8(rows[r], eight)));
          }
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < 2 * R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          int16_t* at = sums + c * kStep + r * 16;
          const auto less_twice = [](const int16_t* sum, uint16x8_t differ) {
            return vreinterpretq_s16_u16(vmlsq_n_u16(vreinterpretq_u16_s16(vld1q_s16(sum)), differ, 2));
          };
          vst1q_s16(at, less_twice(at, vmovl_u8(vget_low_u8(acc[r][c]))));
          vst1q_s16(at + 8, less_twice(at + 8, vmovl_high_u8(acc[r][c])));
        }
    }
  }
};

}  // namespace

void bgemm_64x4__neon(const BGemmArgs& a) { bgemm<Int8Neon, Tile>(a); }
void binarize_32x4__neon(const BinarizeArgs& a) { binarize<Int8Neon>(a); }

}  // namespace pyrt

#endif
