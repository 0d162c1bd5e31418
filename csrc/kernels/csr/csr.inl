// Sparse rows times columns: every entry costs one broadcast and NV multiply-adds; no index arithmetic is left.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

// One pass over all rows for NV vectors of columns. U independent sums per vector hide the latency of the
// multiply-add (4 cycles, 2 a cycle: 8 in flight), which rows of a narrow tile could not fill.
template <class V, int NV, int U>
inline void csr_columns(const CsrArgs& a, int c0) {
  const int32_t* off = a.off;
  const float* val = a.val;
  const float* x = a.x + c0;
  for (int r = 0; r < a.rows; ++r) {
    typename V::reg acc[U][NV];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[u][v] = V::zero();
    const uint32_t n = a.counts[r];
    uint32_t i = 0;
    for (; i + U <= n; i += U) {
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const auto w = V::set1(val[i + u]);
        const float* xk = x + off[i + u];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[u][v] = V::fma(w, V::load(xk + v * V::width), acc[u][v]);
      }
    }
    for (; i < n; ++i) {
      const auto w = V::set1(val[i]);
      const float* xk = x + off[i];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[0][v] = V::fma(w, V::load(xk + v * V::width), acc[0][v]);
    }
    off += n;
    val += n;
#pragma GCC unroll 8
    for (int u = 1; u < U; ++u)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[0][v] = V::add(acc[0][v], acc[u][v]);
    const RowStore<V> store(a.epilogue, r, a.y_stride);
    float* y = a.y + r * a.y_stride + c0;
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) V::store(y + v * V::width, store.finish(acc[0][v], c0 + v * V::width));
    if (store.slow()) {
      apply_act<V>(a.epilogue.act, y, 0, 1, NV, a.epilogue.mask ? a.epilogue.mask + c0 / 8 : nullptr);
    }
  }
}

// `distinct` rows of X times the width of a tile should stay in L1, but a tile narrower than 4 vectors spends its
// time on broadcasts.
template <class V>
inline void csr(const CsrArgs& a) {
  const int64_t l1_columns = cache_sizes().l1d / 4 / (a.distinct > 0 ? a.distinct : 1);
  const int widest = l1_columns >= 8 * V::width ? 8 : 4;
  int left = (a.cols + V::width - 1) / V::width;
  int c0 = 0;
  while (left > 0) {
    const int take = left >= 8 && widest == 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    if (take == 8) csr_columns<V, 8, 1>(a, c0);
    else if (take == 4) csr_columns<V, 4, 2>(a, c0);
    else if (take == 2) csr_columns<V, 2, 4>(a, c0);
    else csr_columns<V, 1, 8>(a, c0);
    c0 += take * V::width;
    left -= take;
  }
}

}  // namespace
}  // namespace pyrt
