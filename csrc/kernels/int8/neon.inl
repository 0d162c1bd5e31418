// NEON multiplies s8 by s8. So bytes of x are taken less 128, and every sum lacks 128 times the sum of its row's
// weights. A column of zeros would give just that, negated: it is computed once a panel and subtracted from the shift.
#pragma once

#include "kernels/int8/qdepthwise.inl"
#include "kernels/int8/qgemm.inl"

namespace pyrt {
namespace {

using V = Int8Neon;

inline int8x16_t s8(V::ireg v) { return vreinterpretq_s8_s32(v); }

// What the products share: bytes of x and w as they are multiplied.
struct Bytes {
  using X = int8x16_t;
  static constexpr int groups = 1, panel_bytes = 64;
  static X bytes(V::ireg x) { return s8(V::of(veorq_u8(V::u8(x), vdupq_n_u8(128)))); }  // less 128
  static X weights(V::ireg w) { return s8(w); }
  static X columns(const uint8_t* x, const int32_t* off) { return bytes(V::iload(x + 4 * ptrdiff_t{off[0]})); }
  // Four rows at a time; then lane r % 4 of them, a constant once the loops are unrolled.
  template <int R>
  struct Rows {
    int8x16_t fours[R / 4];
  };
  template <int R>
  static Rows<R> rows(const int8_t* w) {
    Rows<R> loaded;
#pragma GCC unroll 4
    for (int i = 0; i < R / 4; ++i) loaded.fours[i] = vld1q_s8(w + 16 * i);
    return loaded;
  }
  template <int R>
  static X row(const Rows<R>& rows, int r) {
    const int32x4_t four = vreinterpretq_s32_s8(rows.fours[r / 4]);
    switch (r % 4) {
      case 0: return s8(vdupq_laneq_s32(four, 0));
      case 1: return s8(vdupq_laneq_s32(four, 1));
      case 2: return s8(vdupq_laneq_s32(four, 2));
      default: return s8(vdupq_laneq_s32(four, 3));
    }
  }
  static X panel(const int8_t* w) { return vld1q_s8(w); }
  static X column(const uint8_t* x, const int32_t* off) {
    return bytes(V::iset1(load_four(x + 4 * ptrdiff_t{off[0]})));
  }
  static X zeros() { return bytes(V::iset1(0)); }
};
struct LowNibbles : Bytes {
  static X panel(const int8_t* w) { return s8(V::low_nibbles(V::iload(w))); }
};
// Two groups at a time.
struct TwoGroups {
  struct X {
    int8x16_t first, second;
  };
  static constexpr int groups = 2, panel_bytes = 128;
  static X columns(const uint8_t* x, const int32_t* off) {
    return {Bytes::columns(x, off), Bytes::columns(x, off + 1)};
  }
  template <int R>
  struct Rows {
    Bytes::Rows<R> first, second;
  };
  template <int R>
  static Rows<R> rows(const int8_t* w) {
    return {Bytes::rows<R>(w), Bytes::rows<R>(w + 64)};
  }
  template <int R>
  static X row(const Rows<R>& rows, int r) {
    return {Bytes::row(rows.first, r), Bytes::row(rows.second, r)};
  }
  static X panel(const int8_t* w) { return {Bytes::panel(w), Bytes::panel(w + 64)}; }
  static X column(const uint8_t* x, const int32_t* off) { return {Bytes::column(x, off), Bytes::column(x, off + 1)}; }
  static X zeros() { return {Bytes::zeros(), Bytes::zeros()}; }
};
// s4: group 2i in the low nibbles, 2i + 1 in the high ones, + 8.
struct Nibbles : TwoGroups {
  static constexpr int panel_bytes = 64;
  static X panel(const int8_t* w) {
    const V::ireg both = V::iload(w);
    return {s8(V::low_nibbles(both)), s8(V::high_nibbles(both))};
  }
};

// The arguments of a product, with that shift.
template <class Dot>
class PanelShift {
 public:
  explicit PanelShift(const QGemmArgs& a) : args(a) {
    std::copy(a.epilogue.shift, a.epilogue.shift + a.rows, shift_);
    typename Dot::Acc zeros[4];
    for (auto& z : zeros) z = Dot::start(V::iset1(0));
    const auto* w = static_cast<const int8_t*>(a.w);
    int k = 0;
    for (; k + Dot::groups <= a.k; k += Dot::groups, w += Dot::panel_bytes) {
#pragma GCC unroll 4
      for (int h = 0; h < 4; ++h) zeros[h] = Dot::add(zeros[h], Dot::zeros(), Dot::panel(w + 16 * h));
    }
    using Last = typename Dot::Single;
    for (int h = 0; h < 4; ++h) {
      if (k < a.k) zeros[h] = Last::add(zeros[h], Last::zeros(), Last::panel(w + 16 * h));
      V::istore(shift_ + 4 * h, V::isub(V::iload(shift_ + 4 * h), Dot::sum(zeros[h])));
    }
    args.epilogue.shift = shift_;
  }
  PanelShift(const PanelShift&) = delete;  // args points into it
  QGemmArgs args;

 private:
  int32_t shift_[kPanel] = {};
};

template <class Dot>
void qdepthwise_neon(const QDepthwiseArgs& a) {
  int32_t shift[4] = {};
  std::copy(a.epilogue.shift, a.epilogue.shift + a.channels, shift);
  auto zeros = Dot::start(V::iset1(0));
  for (int t = 0; t < a.taps; t += 4) zeros = Dot::add(zeros, Dot::zeros(), Dot::weights(V::iload(a.w + 4 * t)));
  V::istore(shift, V::isub(V::iload(shift), Dot::sum(zeros)));
  QDepthwiseArgs shifted = a;
  shifted.epilogue.shift = shift;
  qdepthwise<V, Dot>(shifted);
}

}  // namespace
}  // namespace pyrt
