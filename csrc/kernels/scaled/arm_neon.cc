#if defined(__aarch64__)

#include <algorithm>

// GCC would schedule the loads of an unrolled step before its sums, and spill them.
#pragma GCC optimize("no-schedule-insns")
#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/scaled/scaled.inl"

namespace pyrt {
namespace {

struct V : Neon {
  using ireg = uint32x4_t;
  static ireg iload(const uint8_t* p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
  static ireg iset1(int v) { return vdupq_n_u32(static_cast<uint32_t>(v)); }
  static ireg iand(ireg a, ireg b) { return vandq_u32(a, b); }
  static ireg high_halves(ireg v) { return vshrq_n_u32(v, 16); }
  static reg to_f32(ireg v) { return vcvtq_f32_u32(v); }
};

constexpr uint32_t row(uint32_t r) { return r << 24 | 0xffffff; }
constexpr uint32_t kRows[kPanel] = {row(0), row(1), row(2),  row(3),  row(4),  row(5),  row(6),  row(7),
                                    row(8), row(9), row(10), row(11), row(12), row(13), row(14), row(15)};

// q8: bytes of a column are looked up into the tops of lanes, and converted from there.
struct Column {
  static constexpr int columns = 4;
  static constexpr int zero = 0;
  struct Words {
    const uint8_t* w;
    uint8x16_t rows;
  };
  static Words load(const uint8_t* w, int h) { return {w, vreinterpretq_u8_u32(vld1q_u32(kRows + 4 * h))}; }
  template <int J>
  static Neon::reg field(const Words& w) {
    return vcvtq_n_f32_s32(vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(w.w + J * kPanel), w.rows)), 24);
  }
  static constexpr float factor(int) { return 1.0f; }
};

// As many columns at a time as the registers hold beside the weights, and the masks of nibbles.
template <class Q, class S>
void scaled(const ScaledArgs& a) {
  int c0 = 0;
  if constexpr (Q::zero == 0) {
    for (; a.product.cols - c0 >= 4; c0 += 4) scaled_tile<V, Q, S, 4, 1>(a, c0);
  }
  for (; a.product.cols - c0 >= 2; c0 += 2) scaled_tile<V, Q, S, 2, 1>(a, c0);
  if (c0 < a.product.cols) scaled_tile<V, Q, S, 1, 2>(a, c0);
}

template <class Q>
void scaled(const ScaledArgs& a) {
  if (a.halves) scaled<Q, uint16_t>(a);
  else scaled<Q, float>(a);
}

}  // namespace

void gemm_q8_few_16x4__neon(const ScaledArgs& a) { scaled<Column>(a); }
void gemm_q4_few_16x2__neon(const ScaledArgs& a) { scaled<Nibbles<V>>(a); }
void widen_q8_4__neon(const WidenScaledArgs& a) { widen_scaled<V, Column>(a); }
void widen_q4_4__neon(const WidenScaledArgs& a) { widen_scaled<V, Nibbles<V>>(a); }

}  // namespace pyrt

#endif
