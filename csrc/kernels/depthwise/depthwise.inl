// Depthwise convolution of one channel: NV vectors of columns, the taps' weights broadcast.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

template <class V, int NV>
inline void depthwise_columns(const DepthwiseArgs& a, const RowStore<V>& store, int c0) {
  typename V::reg acc[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) acc[v] = V::zero();
  for (int t = 0; t < a.taps; ++t) {
    const auto w = V::set1(a.w[t]);
    const float* x = a.x + a.off[t] + c0;
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[v] = V::fma(w, V::load(x + v * V::width), acc[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) V::store(a.y + c0 + v * V::width, store.finish(acc[v], c0 + v * V::width));
  if (store.slow()) {
    apply_act<V>(a.epilogue.act, a.y + c0, 0, 1, NV, a.epilogue.mask ? a.epilogue.mask + c0 / 8 : nullptr);
  }
}

template <class V>
inline void depthwise(const DepthwiseArgs& a) {
  const RowStore<V> store(a.epilogue, 0, 0);
  if (a.cols <= kFewColumns) {
    for (int c = 0; c < a.cols; ++c) {
      float sum = 0;
      for (int t = 0; t < a.taps; ++t) sum += a.w[t] * a.x[a.off[t] + c];
      float lanes[V::width] = {sum};
      Epilogue e = a.epilogue;
      const uint8_t bits[2] = {static_cast<uint8_t>(e.mask ? (e.mask[c / 8] >> (c % 8)) & 1 : 1), 0};
      e.mask = bits;
      if (e.residual) e.residual += c;
      const RowStore<V> one(e, 0, 0);
      V::store_first(a.y + c, one.finish_first(V::load(lanes), 0, 1), 1);
    }
    return;
  }
  int left = (a.cols + V::width - 1) / V::width;
  int c0 = 0;
  while (left > 0) {
    const int take = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    if (take == 4) depthwise_columns<V, 4>(a, store, c0);
    else if (take == 2) depthwise_columns<V, 2>(a, store, c0);
    else depthwise_columns<V, 1>(a, store, c0);
    c0 += take * V::width;
    left -= take;
  }
}

}  // namespace
}  // namespace pyrt
