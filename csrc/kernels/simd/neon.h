// Four floats of 64-bit ARM. Proved under QEMU only (docs/decisions/neon.md).
#pragma once

#include <arm_neon.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/simd/broadcast.h"
#include "kernels/simd/exp.inl"

namespace pyrt {
namespace {

struct Neon {
  using reg = float32x4_t;
  using mask = uint32x4_t;
  static constexpr int width = 4;
  static constexpr bool lane_operands = true;  // of a multiply-add

  // There are no masked loads and stores, so a mask that is used for them says where its lanes lie: the first n.
  struct first_mask {
    int n;
  };
  // Those within a row: where to load four floats of it, and which of their bytes a lane takes; 255 gives a zero.
  struct inside_mask {
    int64_t shift;  // in floats from lane 0
    uint8x16_t bytes;
  };
  // Rows that have no four floats.
  static bool narrow(int row) { return row < 4; }

  static reg zero() { return vdupq_n_f32(0); }
  static reg set1(float v) { return vdupq_n_f32(v); }
  static reg load(const float* p) { return vld1q_f32(p); }
  static reg load(const uint16_t* f16) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(f16))); }
  static reg load(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
  }
  // From here on the value is in a register.
  static void pin(reg& v) { asm("" : "+w"(v)); }
  static void store(float* p, reg v) { vst1q_f32(p, v); }
  // Four floats; and float j of the four in every lane, which costs nothing as an operand of a multiply-add.
  static reg load4(const float* p) { return load(p); }
  template <int j>
  static reg splat(reg four) {
    return vdupq_laneq_f32(four, j);
  }
  // The same four; the places of vector l of 16 rows, two bits each, as the bytes of the four; and those picked.
  static reg repeat4(const float* p) { return load(p); }
  static uint8x16_t places(uint32_t word, int l) {
    static constexpr uint8_t kByte[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    static constexpr int8_t kShift[16] = {2, 0, -2, -4, 2, 0, -2, -4, 2, 0, -2, -4, 2, 0, -2, -4};
    const uint8x16_t bytes = vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), vld1q_u8(kByte));
    const uint8x16_t fours = vandq_u8(vshlq_u8(bytes, vld1q_s8(kShift)), vdupq_n_u8(12));  // of all rows
    const uint8x16_t rows = vaddq_u8(vld1q_u8(kByte), vdupq_n_u8(static_cast<uint8_t>(4 * l)));
    return vorrq_u8(vqtbl1q_u8(fours, rows), vreinterpretq_u8_u32(vdupq_n_u32(0x03020100)));
  }
  static reg pick(reg four, uint8x16_t place) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(four), place));
  }
  // The numbers of the columns at these places of the four from `first` on; and where their rows of X start, as in
  // ExpandColsArgs.
  static reg columns(uint8x16_t place, int first) {
    const uint32x4_t four = vaddq_u32(vld1q_u32(kLanes), vdupq_n_u32(static_cast<uint32_t>(first)));
    return pick(vreinterpretq_f32_u32(four), place);
  }
  static void store_offsets(int32_t* to, reg columns, const int32_t* table, int32_t stride) {
    const int32x4_t col = vreinterpretq_s32_f32(columns);
    if (!table) return vst1q_s32(to, vmulq_n_s32(col, stride));
    to[0] = table[vgetq_lane_s32(col, 0)];
    to[1] = table[vgetq_lane_s32(col, 1)];
    to[2] = table[vgetq_lane_s32(col, 2)];
    to[3] = table[vgetq_lane_s32(col, 3)];
  }
  static reg fma(reg a, reg b, reg c) { return vfmaq_f32(c, a, b); }
  static reg add(reg a, reg b) { return vaddq_f32(a, b); }
  // Of eight bytes.
  static uint64_t sum8(const uint8_t* p) { return vaddlv_u8(vld1_u8(p)); }
  static reg sub(reg a, reg b) { return vsubq_f32(a, b); }
  static reg mul(reg a, reg b) { return vmulq_f32(a, b); }
  static reg div(reg a, reg b) { return vdivq_f32(a, b); }
  static reg sqrt(reg a) { return vsqrtq_f32(a); }
  // A NaN in the second operand is kept, as on x86; here one in the first is, too.
  static reg min(reg a, reg b) { return vminq_f32(a, b); }
  static reg max(reg a, reg b) { return vmaxq_f32(a, b); }
  static reg max_or_nan(reg a, reg b) { return max(a, b); }
  static reg abs(reg a) { return vabsq_f32(a); }
  static reg copysign(reg magnitude, reg sign) { return vbslq_f32(vdupq_n_u32(0x80000000), sign, magnitude); }
  static reg round(reg a) { return vrndnq_f32(a); }
  static reg exp(reg x, float sign) { return exp_polynomial<Neon>(x, sign); }
  // a * 2^n for whole n, in two halves, so that neither factor leaves the range of normal numbers.
  static reg scale(reg a, reg n) {
    const int32x4_t exponent = vcvtq_s32_f32(n), half = vshrq_n_s32(exponent, 1);
    return mul(mul(a, pow2(half)), pow2(vsubq_s32(exponent, half)));
  }
  static reg pow2(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
  // 1 / a for a >= 1, to about an ulp: an estimate of 8 bits and two steps of Newton, cheaper than the division.
  static reg reciprocal(reg a) {
    reg r = vrecpeq_f32(a);
    r = mul(r, vrecpsq_f32(a, r));
    return mul(r, vrecpsq_f32(a, r));
  }
  // a > b ? x : y
  static reg select_gt(reg a, reg b, reg x, reg y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }

  // Elements 0, 2, 4... of a, then of b.
  static reg even(reg a, reg b) { return vuzp1q_f32(a, b); }
  // Elements 1, 3, 5... of a, then of b.
  static reg odd(reg a, reg b) { return vuzp2q_f32(a, b); }
  // Element i of r[q] goes to element q of r[i], i and q < 4.
  static void transpose4(reg* r) {
    const float32x4_t a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
    const float32x4_t c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);
    r[0] = pairs1(a, c);
    r[1] = pairs1(b, d);
    r[2] = pairs2(a, c);
    r[3] = pairs2(b, d);
  }
  // Row i of a square becomes its column i.
  static void transpose(reg (&r)[4]) { transpose4(r); }

  static mask load_mask(const uint8_t* bits, int64_t col) {
    static const uint32_t kBits[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(static_cast<uint32_t>(bits[col / 8]) >> (col % 8)), vld1q_u32(kBits));
  }
  static reg apply_mask(mask m, reg v) { return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(v))); }
  static reg apply_mask(first_mask m, reg v) { return apply_mask(vcgtq_s32(vdupq_n_s32(m.n), lanes()), v); }
  static first_mask first(int n) { return {n}; }
  // Lanes i for which 0 <= col + i < width, of rows that are not narrow.
  static inside_mask inside(int col, int width) {
    const int at = std::max(std::min(col, width - 4), 0);
    const int32x4_t from = vaddq_s32(vdupq_n_s32(col), lanes());  // column of each lane
    const uint32x4_t live = vandq_u32(vcgeq_s32(from, vdupq_n_s32(0)), vcgtq_s32(vdupq_n_s32(width), from));
    const uint32x4_t lane = vreinterpretq_u32_s32(vsubq_s32(from, vdupq_n_s32(at)));
    return {int64_t{at} - col, vreinterpretq_u8_u32(vornq_u32(bytes_of(lane), live))};
  }
  static reg load_masked(const float* p, first_mask m) { return load_first(p, m.n); }
  static reg load_masked(const float* p, const inside_mask& m) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(load(p + m.shift)), m.bytes));
  }
  static reg load_or(const float* p, const inside_mask& m, reg other) {
    return vreinterpretq_f32_u8(
        vqtbx1q_u8(vreinterpretq_u8_f32(other), vreinterpretq_u8_f32(load(p + m.shift)), m.bytes));
  }
  // The first n, the others zero.
  static reg load_first(const float* p, int n) {
    if (n >= 4) return load(p);
    reg v = zero();
    if (n >= 2) v = vcombine_f32(vld1_f32(p), vdup_n_f32(0));
    if (n == 1) v = vld1q_lane_f32(p, v, 0);
    if (n == 3) v = vld1q_lane_f32(p + 2, v, 2);
    return v;
  }
  // How many of the first n <= 4 integers are below `bound`.
  static int count_below(const int32_t* p, int n, int32_t bound) {
    int count = 0;
    if (n == 4) return static_cast<int>(vaddvq_u32(vshrq_n_u32(vcltq_s32(vld1q_s32(p), vdupq_n_s32(bound)), 31)));
    for (int i = 0; i < n; ++i) count += p[i] < bound;
    return count;
  }
  static void store_masked(float* p, reg v, first_mask m) { store_first(p, v, m.n); }
  static void store_first(float* p, reg v, int n) {
    if (n >= 4) return store(p, v);
    if (n >= 2) vst1_f32(p, vget_low_f32(v));
    if (n == 1) vst1q_lane_f32(p, v, 0);
    if (n == 3) vst1q_lane_f32(p + 2, v, 2);
  }

 private:
  static constexpr uint32_t kLanes[4] = {0, 1, 2, 3};
  static int32x4_t lanes() { return vreinterpretq_s32_u32(vld1q_u32(kLanes)); }
  // The bytes of lane i, of lanes 0..3.
  static uint32x4_t bytes_of(uint32x4_t i) { return vmlaq_n_u32(vdupq_n_u32(0x03020100), i, 0x04040404); }

  static reg pairs1(reg a, reg b) {
    return vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
  }
  static reg pairs2(reg a, reg b) {
    return vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
  }
};

template <int N>
class Broadcast<Neon, N> {
 public:
  explicit Broadcast(const float* p) {
#pragma GCC unroll 16
    for (int i = 0; i < kFours; ++i) four_[i] = Neon::load_first(p + 4 * i, N - 4 * i);
  }
  Neon::reg operator[](int i) const {
    switch (i % 4) {
      case 0: return Neon::splat<0>(four_[i / 4]);
      case 1: return Neon::splat<1>(four_[i / 4]);
      case 2: return Neon::splat<2>(four_[i / 4]);
      default: return Neon::splat<3>(four_[i / 4]);
    }
  }

 private:
  static constexpr int kFours = (N + 3) / 4;
  Neon::reg four_[kFours];
};

}  // namespace
}  // namespace pyrt
