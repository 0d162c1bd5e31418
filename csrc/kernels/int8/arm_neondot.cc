#if defined(__aarch64__)

#include "kernels/kernels.h"

#pragma GCC target("arch=armv8.2-a+dotprod")
#pragma GCC optimize("no-schedule-insns")  // before registers are given out it spills the sums
#include "kernels/simd/int8_neon.h"
// The templates use the vector type above.
#include "kernels/int8/neon.inl"

namespace pyrt {
namespace {

// sdot: four s8 x s8 products added in 32 bits. It takes four weights from a lane of its operand.
struct Dot : DotOfLanes<V>, Bytes {
  using Single = Dot;
  using Bytes::rows;
  struct Lane {
    int8x16_t four;
    int lane;
  };
  template <int R>
  static Lane row(const Rows<R>& rows, int r) {
    return {rows.fours[r / 4], r % 4};
  }
  static V::ireg add(V::ireg acc, X x, X w) { return vdotq_s32(acc, w, x); }
  static V::ireg add(V::ireg acc, X x, const Lane& w) {
    switch (w.lane) {
      case 0: return vdotq_laneq_s32(acc, x, w.four, 0);
      case 1: return vdotq_laneq_s32(acc, x, w.four, 1);
      case 2: return vdotq_laneq_s32(acc, x, w.four, 2);
      default: return vdotq_laneq_s32(acc, x, w.four, 3);
    }
  }
};
struct DotLow : Dot {
  using Single = DotLow;
  static X panel(const int8_t* w) { return LowNibbles::panel(w); }
};
struct DotNibbles : Nibbles, DotOfLanes<V> {
  using Single = DotLow;
  static V::ireg add(V::ireg acc, const X& x, const X& w) {
    return vdotq_s32(vdotq_s32(acc, w.first, x.first), w.second, x.second);
  }
};

// For a single column, whose weights are read once: the column of zeros goes beside it.
struct TwoSums {
  V::ireg x, zeros;
};
template <class Dot>
struct WithZeros : Dot {
  using Single = WithZeros<typename Dot::Single>;
  using Acc = TwoSums;
  static Acc start(V::ireg shift) { return {shift, V::iset1(0)}; }
  static V::ireg sum(const Acc& acc) { return V::isub(acc.x, acc.zeros); }
  static Acc add(const Acc& acc, const typename Dot::X& x, const typename Dot::X& w) {
    return {Dot::add(acc.x, x, w), Dot::add(acc.zeros, Dot::zeros(), w)};
  }
};

template <class Dot>
void qgemm_few(const QGemmArgs& a) {
  if (a.cols == 1) return qgemm_few_tile<V, WithZeros<Dot>, 1, 2>(a, 0);
  const PanelShift<Dot> shifted(a);
  int c0 = 0;
  for (; a.cols - c0 >= 4; c0 += 4) qgemm_few_tile<V, Dot, 4, 1>(shifted.args, c0);
  switch (a.cols - c0) {
    case 3: return qgemm_few_tile<V, Dot, 3, 1>(shifted.args, c0);
    case 2: return qgemm_few_tile<V, Dot, 2, 2>(shifted.args, c0);
    case 1: return qgemm_few_tile<V, Dot, 1, 4>(shifted.args, c0);
    default: return;
  }
}

}  // namespace

void qgemm_u8_8x12__neondot(const QGemmArgs& a) {
  const PanelShift<Dot> shifted(a);
  int c0 = 0;
  for (; a.cols - c0 > 16 || (a.cols - c0 > 8 && a.cols - c0 <= 12); c0 += 12)
    qgemm_column<V, Dot, 8, 3>(shifted.args, c0);
  for (; a.cols - c0 > 4; c0 += 8) qgemm_column<V, Dot, 8, 2>(shifted.args, c0);
  if (c0 < a.cols) qgemm_column<V, Dot, 16, 1>(shifted.args, c0);
}
void qgemm_u8_few_16x4__neondot(const QGemmArgs& a) { qgemm_few<Dot>(a); }
void qgemm_u8s4_few_16x4__neondot(const QGemmArgs& a) { qgemm_few<DotNibbles>(a); }
void qdepthwise_u8_4x4__neondot(const QDepthwiseArgs& a) { qdepthwise_neon<Dot>(a); }

}  // namespace pyrt

#endif
