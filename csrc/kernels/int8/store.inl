// From int32 sums and f32 results to bytes: the vector forms of int8/finish.h.
#pragma once

#include "kernels/int8/finish.h"

namespace pyrt {
namespace {

// What a Dot (int8/qgemm.inl) has where a sum is a lane.
template <class V>
struct DotOfLanes {
  using Acc = typename V::ireg;
  static Acc start(typename V::ireg shift) { return shift; }
  static typename V::ireg sum(Acc acc) { return acc; }
  // The weights of R rows, of which row(rows, r) spreads those of one.
  template <int R>
  static const int8_t* rows(const int8_t* w) {
    return w;
  }
};

// Rounds, adds the zero point and clamps four vectors of f32; packs within 16 bits, whose saturation the clamp hides.
template <class V>
class BytePacker {
 public:
  BytePacker(int zero, int low, int high)
      : zero_(V::wset1(zero)), low_(V::bset1(low)), high_(V::bset1(high)), gap_(V::bset1(zero)) {}

  // Bytes of s0, then s1, s2, s3 within each 128-bit lane.
  typename V::ireg pack(typename V::reg s0, typename V::reg s1, typename V::reg s2, typename V::reg s3) const {
    const auto a = V::add_words(V::pack_words(V::round_to_i32(s0), V::round_to_i32(s1)), zero_);
    const auto b = V::add_words(V::pack_words(V::round_to_i32(s2), V::round_to_i32(s3)), zero_);
    return V::min_u8(high_, V::max_u8(low_, V::pack_bytes(a, b)));
  }
  typename V::ireg gaps(const uint8_t* mask, int64_t col, typename V::ireg v) const {
    return mask ? V::blend(mask, col, gap_, v) : v;
  }

 private:
  typename V::ireg zero_, low_, high_, gap_;
};

// s + (residual - residual_zero)*residual_scale, for byte I of the residual's lanes.
template <class V, int I>
inline typename V::reg add_residual(const QuantEpilogue& e, typename V::ireg residual, typename V::reg s) {
  const auto r = V::to_f32(V::isub(V::template byte<I>(residual), V::iset1(e.residual_zero)));
  return V::fma(r, V::set1(e.residual_scale), s);
}

}  // namespace
}  // namespace pyrt
