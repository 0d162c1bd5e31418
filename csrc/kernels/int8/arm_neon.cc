#if defined(__aarch64__)

#include "kernels/kernels.h"

#pragma GCC optimize("no-schedule-insns")  // before registers are given out it spills the sums
#include "kernels/simd/int8_neon.h"
// The templates use the vector type above.
#include "kernels/int8/neon.inl"
#include "kernels/int8/qpointwise.inl"

namespace pyrt {
namespace {

// Products of 16 bits; neighbours are added in 32, so a column's sum lies in two lanes.
struct Halves {
  struct Acc {
    int32x4_t low, high;
  };
  static Acc start(V::ireg shift) {
    const V::ireg zero = V::iset1(0);
    return {vzip1q_s32(shift, zero), vzip2q_s32(shift, zero)};
  }
  static V::ireg sum(const Acc& acc) { return vpaddq_s32(acc.low, acc.high); }
};

struct DotOne : Bytes, Halves {
  using Single = DotOne;
  static Acc add(const Acc& acc, X x, X w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    return {vpadalq_s16(acc.low, low), vpadalq_s16(acc.high, high)};
  }
};
// Two products fit 16 bits unless both weights are -128: two groups share the widening.
struct DotTwo : TwoGroups, Halves {
  using Single = DotOne;
  static Acc add(const Acc& acc, const X& x, const X& w) {
    const int16x8_t low = vmull_s8(vget_low_s8(x.first), vget_low_s8(w.first)), high = vmull_high_s8(x.first, w.first);
    return {vpadalq_s16(acc.low, vmlal_s8(low, vget_low_s8(x.second), vget_low_s8(w.second))),
            vpadalq_s16(acc.high, vmlal_high_s8(high, x.second, w.second))};
  }
};
struct DotLow : DotOne {
  using Single = DotLow;
  static X panel(const int8_t* w) { return LowNibbles::panel(w); }
};
struct DotNibbles : DotTwo {
  using Single = DotLow;
  static constexpr int panel_bytes = Nibbles::panel_bytes;
  static X panel(const int8_t* w) { return Nibbles::panel(w); }
};

// Looks for -128 among the weights of a panel.
bool has_least(const QGemmArgs& a) {
  const auto* w = static_cast<const int8_t*>(a.w);
  int8x16_t least = vdupq_n_s8(0);
  for (int64_t i = 0; i < 64 * int64_t{a.k}; i += 16) least = vminq_s8(least, vld1q_s8(w + i));
  return vminvq_s8(least) == -128;
}

template <class Dot>
void qgemm(const QGemmArgs& a) {
  const PanelShift<Dot> shifted(a);
  int c0 = 0;
  for (; c0 + 4 < a.cols; c0 += 8) qgemm_column<V, Dot, 4, 2>(shifted.args, c0);
  if (c0 < a.cols) qgemm_column<V, Dot, 4, 1>(shifted.args, c0);
}

template <class Dot>
void qgemm_few(const QGemmArgs& a) {
  const PanelShift<Dot> shifted(a);
  int c0 = 0;
  for (; a.cols - c0 >= 2; c0 += 2) qgemm_few_tile<V, Dot, 2, 1>(shifted.args, c0);
  if (c0 < a.cols) qgemm_few_tile<V, Dot, 1, 1>(shifted.args, c0);
}

}  // namespace

void qgemm_u8_4x8__neon(const QGemmArgs& a) {
  if (has_least(a)) qgemm<DotOne>(a);
  else qgemm<DotTwo>(a);
}
void qgemm_u8_few_16x2__neon(const QGemmArgs& a) { qgemm_few<DotOne>(a); }
void qgemm_u8s4_few_16x2__neon(const QGemmArgs& a) { qgemm_few<DotNibbles>(a); }
void unpack_s4_64__neon(const UnpackArgs& a) { unpack_nibbles<V>(a); }
void qdepthwise_u8_4x4__neon(const QDepthwiseArgs& a) { qdepthwise_neon<DotOne>(a); }
void quantize_u8_4x4__neon(const QuantizeArgs& a) { quantize<V>(a); }
void dequantize_u8_4x4__neon(const DequantizeArgs& a) { dequantize<V>(a); }
void qadd_u8_4x4__neon(const QAddArgs& a) { qadd<V>(a); }
void max_u8_16__neon(const MaxBytesArgs& a) { max_bytes<V>(a); }

}  // namespace pyrt

#endif
