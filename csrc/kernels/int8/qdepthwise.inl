// Depthwise convolution of four channels. The bytes of four taps are interleaved, so that a lane holds four taps of one
// channel: then it is the product of int8/qgemm.inl.
#pragma once

#include "kernels/int8/store.inl"

namespace pyrt {
namespace {

// Taps: how many there are, or 0: a.taps of them.
template <class V, class Dot, int Taps>
inline void qdepthwise_vector(const QDepthwiseArgs& a, const typename V::ireg shift, const typename V::reg scale,
                              const typename V::reg bias, const BytePacker<V>& packer, int c0, int live) {
  auto acc0 = Dot::start(shift), acc1 = acc0, acc2 = acc0, acc3 = acc0;  // lane l of acc i: column 4*l + i
  const uint8_t* x = a.x + 4 * static_cast<ptrdiff_t>(c0);
  const int taps = Taps ? Taps : a.taps;
#pragma GCC unroll 3
  for (int t = 0; t < taps; t += 4) {
    const auto tap = [&](int i) {
      return Taps && t + i >= Taps ? V::iset1(0) : V::iload(x + 4 * static_cast<ptrdiff_t>(a.off[t + i]));
    };
    const auto t0 = tap(0), t1 = tap(1), t2 = tap(2), t3 = tap(3);
    const auto low01 = V::low_bytes(t0, t1), high01 = V::high_bytes(t0, t1);
    const auto low23 = V::low_bytes(t2, t3), high23 = V::high_bytes(t2, t3);
    const auto w = Dot::weights(V::repeat(a.w + 4 * t));
    acc0 = Dot::add(acc0, Dot::bytes(V::low_words(low01, low23)), w);
    acc1 = Dot::add(acc1, Dot::bytes(V::high_words(low01, low23)), w);
    acc2 = Dot::add(acc2, Dot::bytes(V::low_words(high01, high23)), w);
    acc3 = Dot::add(acc3, Dot::bytes(V::high_words(high01, high23)), w);
  }
  const auto scaled = [&](typename Dot::Acc acc) { return V::fma(V::to_f32(Dot::sum(acc)), scale, bias); };
  auto s0 = scaled(acc0), s1 = scaled(acc1), s2 = scaled(acc2), s3 = scaled(acc3);
  const QuantEpilogue& e = a.epilogue;
  const ptrdiff_t at = 4 * static_cast<ptrdiff_t>(c0);
  if (e.residual) {
    // Bytes 4*i + c of a 128-bit lane are column i, channel c: transposed, byte i of lane c.
    const auto r = V::transpose_4x4(V::iload(e.residual + at));
    s0 = add_residual<V, 0>(e, r, s0);
    s1 = add_residual<V, 1>(e, r, s1);
    s2 = add_residual<V, 2>(e, r, s2);
    s3 = add_residual<V, 3>(e, r, s3);
  }
  const auto y = packer.gaps(e.mask, c0, packer.pack(s0, s1, s2, s3));
  if (live < V::width) V::istore_first(a.y + at, y, live);
  else V::istore(a.y + at, y);
}

template <class V, class Dot>
inline void qdepthwise(const QDepthwiseArgs& a) {
  int32_t shift[4] = {};
  float scale[4] = {}, bias[4] = {};
  std::copy(a.epilogue.shift, a.epilogue.shift + a.channels, shift);
  std::copy(a.epilogue.scale, a.epilogue.scale + a.channels, scale);
  std::copy(a.epilogue.bias, a.epilogue.bias + a.channels, bias);
  const auto shifts = V::repeat(shift);
  const auto scales = V::as_f32(V::repeat(scale)), biases = V::as_f32(V::repeat(bias));
  const BytePacker<V> packer(a.epilogue.zero, a.epilogue.low, a.epilogue.high);
  const bool exactly = a.cols <= kFewColumns;
  for (int c0 = 0; c0 < a.cols; c0 += V::width) {
    const int live = exactly ? a.cols - c0 : V::width;
    if (a.taps == 9) qdepthwise_vector<V, Dot, 9>(a, shifts, scales, biases, packer, c0, live);
    else qdepthwise_vector<V, Dot, 0>(a, shifts, scales, biases, packer, c0, live);
  }
}

}  // namespace
}  // namespace pyrt
