#if defined(__aarch64__)

#include "kernels/decode/bits.h"
#include "kernels/decode/huffman.inl"
#include "kernels/decode/indices_neon.h"
#include "kernels/decode/prefix_neon.h"
#include "kernels/simd/neon.h"

namespace pyrt {

void expand_cols_u8_8__neon(const ExpandColsArgs& a) {
  const auto* deltas = static_cast<const uint8_t*>(a.deltas);
  int32_t* off = a.off;
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    uint32x4_t last = vdupq_n_u32(~0u);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
      const uint16x8_t cols = prefix_sum8(deltas + i);
      const uint32x4_t low = vaddw_u16(last, vget_low_u16(cols)), high = vaddw_high_u16(last, cols);
      last = vdupq_laneq_u32(high, 3);
      Neon::store_offsets(off + i, vreinterpretq_f32_u32(low), a.table, a.stride);
      Neon::store_offsets(off + i + 4, vreinterpretq_f32_u32(high), a.table, a.stride);
    }
    expand_cols_from(a, static_cast<int32_t>(vgetq_lane_u32(last, 0)), deltas + i, n - i, off + i);
    deltas += n;
    off += n;
  }
}

// Books of up to 16 entries are four registers, which a table look-up takes at once.
void expand_index_f32_8__neon(const ExpandIndexArgs& a) {
  int64_t i = 0;
  if (a.book_size <= 16) {
    float book[16] = {};
    std::memcpy(book, a.book, static_cast<size_t>(a.book_size) * sizeof(float));
    uint8x16x4_t table;
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) table.val[q] = vreinterpretq_u8_f32(Neon::load(book + 4 * q));
    const Indices indices(a.packed, a.first, a.bits);
    const auto values = [&](uint16x4_t index) {
      const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100), vmovl_u16(index), 0x04040404);
      return vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes)));
    };
    for (; i + 8 <= a.n; i += 8) {
      const uint16x8_t eight = indices.at(i);
      Neon::store(a.out + i, values(vget_low_u16(eight)));
      Neon::store(a.out + i + 4, values(vget_high_u16(eight)));
    }
  }
  expand_from(a, i);
}

// Sixteen indices at a time; every 64 entries of the book are a table look-up, that leaves what is not theirs.
void expand_index_s8_16__neon(const ExpandIndexS8Args& a) {
  const S8Tables tables(a);
  uint8x16x4_t table[4];
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      table[t].val[q] = vld1q_u8(reinterpret_cast<const uint8_t*>(tables.at + 64 * t + 16 * q));
    }
  }
  const Indices indices(a.packed, a.first, a.bits);
  int64_t i = 0;
  for (; i + 16 <= a.n; i += 16) {
    const uint8x16_t index = a.bits == 8 ? vld1q_u8(a.packed + a.first + i)
                                         : vcombine_u8(vmovn_u16(indices.at(i)), vmovn_u16(indices.at(i + 8)));
    uint8x16_t values = vqtbl4q_u8(table[0], index);
    if (tables.count > 4) {
#pragma GCC unroll 3
      for (int t = 1; t < 4; ++t) {
        values = vqtbx4q_u8(values, table[t], vsubq_u8(index, vdupq_n_u8(static_cast<uint8_t>(64 * t))));
      }
    }
    vst1q_u8(reinterpret_cast<uint8_t*>(a.out + i), values);
  }
  expand_s8_from(a, i);
}

void widen_f16_4__neon(const WidenArgs& a) {
  int64_t i = 0;
  for (; i + 4 <= a.n; i += 4) Neon::store(a.out + i, Neon::load(a.in + i));
  for (; i < a.n; ++i) a.out[i] = vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(a.in[i]))), 0);
}

void huffman_u8_4x4__neon(const HuffmanArgs& a) { huffman_four_strings(a); }

}  // namespace pyrt

#endif
