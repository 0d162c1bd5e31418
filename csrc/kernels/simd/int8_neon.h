// Four int32 lanes, or 16 bytes: integer arithmetic beside simd/neon.h.
#pragma once

#include "kernels/simd/neon.h"

namespace pyrt {
namespace {

struct Int8Neon : Neon {
  using ireg = int32x4_t;

  static uint8x16_t u8(ireg v) { return vreinterpretq_u8_s32(v); }
  static int16x8_t s16(ireg v) { return vreinterpretq_s16_s32(v); }
  static ireg of(uint8x16_t v) { return vreinterpretq_s32_u8(v); }
  static ireg of(int16x8_t v) { return vreinterpretq_s32_s16(v); }

  static ireg iload(const void* p) { return of(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static void istore(void* p, ireg v) { vst1q_u8(static_cast<uint8_t*>(p), u8(v)); }
  static ireg iset1(int v) { return vdupq_n_s32(v); }
  static ireg bset1(int v) { return of(vdupq_n_u8(static_cast<uint8_t>(v))); }
  static ireg wset1(int v) { return of(vdupq_n_s16(static_cast<int16_t>(v))); }
  static ireg repeat(const void* p) { return iload(p); }
  static ireg iadd(ireg a, ireg b) { return vaddq_s32(a, b); }
  static ireg isub(ireg a, ireg b) { return vsubq_s32(a, b); }
  static reg to_f32(ireg v) { return vcvtq_f32_s32(v); }
  static reg as_f32(ireg v) { return vreinterpretq_f32_s32(v); }
  // To nearest even; saturates, and of a NaN and a number vmaxnm takes the number.
  static ireg round_to_i32(reg v) { return vcvtnq_s32_f32(vmaxnmq_f32(v, vdupq_n_f32(-0x1p30f))); }
  static ireg max_u8(ireg a, ireg b) { return of(vmaxq_u8(u8(a), u8(b))); }
  static ireg min_u8(ireg a, ireg b) { return of(vminq_u8(u8(a), u8(b))); }
  // Byte I of each lane.
  template <int I>
  static ireg byte(ireg v) {
    const uint32x4_t word = vreinterpretq_u32_s32(v);
    if constexpr (I == 0) return vreinterpretq_s32_u32(vandq_u32(word, vdupq_n_u32(255)));
    else if constexpr (I == 3) return vreinterpretq_s32_u32(vshrq_n_u32(word, 24));
    else return vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32(word, 8 * I), vdupq_n_u32(255)));
  }
  static ireg add_words(ireg a, ireg b) { return of(vqaddq_s16(s16(a), s16(b))); }
  static ireg pack_words(ireg a, ireg b) { return of(vqmovn_high_s32(vqmovn_s32(a), b)); }
  static ireg pack_bytes(ireg a, ireg b) { return of(vqmovun_high_s16(vqmovun_s16(s16(a)), s16(b))); }
  // Byte 4*i + j to 4*j + i.
  static ireg transpose_4x4(ireg v) {
    static constexpr uint8_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return of(vqtbl1q_u8(u8(v), vld1q_u8(kOrder)));
  }
  // The low and the high four bits of every byte, less 8.
  static ireg low_nibbles(ireg v) { return of(vsubq_u8(vandq_u8(u8(v), vdupq_n_u8(15)), vdupq_n_u8(8))); }
  static ireg high_nibbles(ireg v) { return of(vsubq_u8(vshrq_n_u8(u8(v), 4), vdupq_n_u8(8))); }
  static ireg low_bytes(ireg a, ireg b) { return of(vzip1q_u8(u8(a), u8(b))); }
  static ireg high_bytes(ireg a, ireg b) { return of(vzip2q_u8(u8(a), u8(b))); }
  static ireg low_words(ireg a, ireg b) { return of(vzip1q_s16(s16(a), s16(b))); }
  static ireg high_words(ireg a, ireg b) { return of(vzip2q_s16(s16(a), s16(b))); }
  // `gap` where the mask is 0.
  static ireg blend(const uint8_t* mask, int64_t col, ireg gap, ireg v) {
    return vbslq_s32(load_mask(mask, col), v, gap);
  }
  // Four 16-bit integers.
  static reg widen(const int16_t* p) { return to_f32(vmovl_s16(vld1_s16(p))); }
  // `bit` is set in the lanes where a >= b.
  static ireg or_where_ge(reg a, reg b, ireg v, uint32_t bit) {
    return vreinterpretq_s32_u32(vorrq_u32(vreinterpretq_u32_s32(v), vandq_u32(vcgeq_f32(a, b), vdupq_n_u32(bit))));
  }
  static ireg iload_first(const void* p, int n) {
    return vreinterpretq_s32_f32(load_first(static_cast<const float*>(p), n));
  }
  static void istore_first(void* p, ireg v, int n) { store_first(static_cast<float*>(p), as_f32(v), n); }
};

}  // namespace
}  // namespace pyrt
