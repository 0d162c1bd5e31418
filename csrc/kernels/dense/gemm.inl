// Dense panel times columns: a weight is broadcast, X is streamed, an R x NV*width tile of Y stays in registers.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

// What a tile is multiplied with: a panel of floats.
struct PanelWeights {
  // acc[r][v] += W[r0 + r][k] * vector v of row k of X, for all k.
  template <class V, int R, int NV>
  void multiply(const GemmArgs& a, int r0, const float* x, typename V::reg (&acc)[R][NV]) const {
    const float* w = static_cast<const float*>(a.w) + r0;
    const int32_t* off = a.off;
    for (int k = 0; k < a.k; ++k, w += kPanel) {
      const float* xk = x + off[k];
      __builtin_prefetch(w + 64 * kPanel);  // the hardware does not look past a 4 KB page
      typename V::reg xv[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) xv[v] = V::load(xk + v * V::width);
      const Broadcast<V, R> weights(w);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto wr = weights[r];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[r][v] = V::fma(wr, xv[v], acc[r][v]);
      }
    }
  }
};

template <class V, int R, int NV, class W>
inline void gemm_tile(const GemmArgs& a, const W& weights, int r0, int c0) {
  typename V::reg acc[R][NV];
  const int rows = a.rows - r0 < R ? a.rows - r0 : R;
  if (a.first) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = V::zero();
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        acc[r][v] = r < rows ? V::load(a.y + (r0 + r) * a.y_stride + c0 + v * V::width) : V::zero();
  }
  weights.template multiply<V, R, NV>(a, r0, a.x + c0, acc);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    if (r >= rows) break;
    float* y = a.y + (r0 + r) * a.y_stride + c0;
    if (a.last) {
      const RowStore<V> store(a.epilogue, r0 + r, a.y_stride);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) V::store(y + v * V::width, store.finish(acc[r][v], c0 + v * V::width));
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) V::store(y + v * V::width, acc[r][v]);
    }
  }
  if (a.last && a.epilogue.act.code > Act::kClamp) {
    apply_act<V>(a.epilogue.act, a.y + r0 * a.y_stride + c0, a.y_stride, rows, NV, a.epilogue.mask, c0);
  }
}

template <class V, int R, int NV, class W>
inline void gemm_column(const GemmArgs& a, const W& weights, int c0) {
  for (int r0 = 0; r0 < a.rows; r0 += R) gemm_tile<V, R, NV>(a, weights, r0, c0);
}

// R3, R2, R1: rows of a tile that is 3, 2 or 1 vectors wide, as many as the registers hold.
template <class V, int R3, int R2, int R1, class W = PanelWeights>
inline void gemm(const GemmArgs& a, const W& weights = W{}) {
  int left = (a.cols + V::width - 1) / V::width;
  int c0 = 0;
  while (left > 0) {
    // 4 = 2 + 2: a tile one vector wide costs nearly as much as one of two.
    const int take = left == 4 ? 2 : left < 3 ? left : 3;
    if (take == 3) gemm_column<V, R3, 3>(a, weights, c0);
    else if (take == 2) gemm_column<V, R2, 2>(a, weights, c0);
    else gemm_column<V, R1, 1>(a, weights, c0);
    c0 += take * V::width;
    left -= take;
  }
}

// One column whose rows are neighbours in y: its epilogue is a vector over the rows of the panel, too.
template <class V, int U>
inline void finish_column(const GemmArgs& a, int c0, const typename V::reg (&acc)[U][1][kPanel / V::width]) {
  const Epilogue& e = a.epilogue;
#pragma GCC unroll 4
  for (int h = 0; h < kPanel / V::width; ++h) {
    const int r = h * V::width, n = a.rows - r;
    auto sum = acc[0][0][h];
#pragma GCC unroll 8
    for (int u = 1; u < U; ++u) sum = V::add(sum, acc[u][0][h]);
    if (!a.first) sum = V::add(sum, V::load_first(a.y + c0 + r, n));
    if (e.scale) sum = V::mul(sum, V::load_first(e.scale + r, n));
    if (e.bias) sum = V::add(sum, V::load_first(e.bias + r, n));
    if (e.residual) sum = V::add(sum, V::load_first(e.residual + c0 + r, n));
    if (e.act.code == Act::kClamp) sum = vclamp<V>(sum, e.act.p0, e.act.p1);
    else if (e.act.code != Act::kNone) sum = apply_act<V>(e.act, sum);
    V::store_first(a.y + c0 + r, sum, n);
  }
}

// N columns of sums over the panel's rows, back to rows of columns.
template <class V, int N>
inline void finish_few(const GemmArgs& a, int c0, const float (&sums)[N][kPanel]) {
  static_assert(N <= V::width);
  Epilogue e = a.epilogue;
  if (N == 1 && a.last && !e.residual && !e.mask && e.act.code <= Act::kClamp) {
    for (int r = 0; r < a.rows; ++r) {
      float* y = a.y + r * a.y_stride + c0;
      float v = (sums[0][r] + (a.first ? 0.0f : *y)) * (e.scale ? e.scale[r] : 1.0f) + (e.bias ? e.bias[r] : 0.0f);
      if (e.act.code == Act::kClamp) v = v < e.act.p0 ? e.act.p0 : v > e.act.p1 ? e.act.p1 : v;
      *y = v;
    }
    return;
  }
  // Transposed in registers: a row put together from floats in memory would wait for each of them.
  float row[kPanel][V::width];
#pragma GCC unroll 4
  for (int h = 0; h < kPanel; h += V::width) {
    typename V::reg square[V::width];
#pragma GCC unroll 16
    for (int n = 0; n < V::width; ++n) square[n] = n < N ? V::load(sums[n < N ? n : 0] + h) : V::zero();
    V::transpose(square);
#pragma GCC unroll 16
    for (int r = 0; r < V::width; ++r) V::store(row[h + r], square[r]);
  }
  // The mask has a bit per column from column 0, but a vector here may start at any.
  uint8_t bits[2] = {0xff, 0xff};
  if (e.mask) {
    bits[0] = 0;
    for (int n = 0; n < N; ++n) bits[0] |= static_cast<uint8_t>(((e.mask[(c0 + n) / 8] >> ((c0 + n) % 8)) & 1) << n);
    e.mask = bits;
  }
  if (e.residual) e.residual += c0;
  for (int r = 0; r < a.rows; ++r) {
    float* y = a.y + r * a.y_stride + c0;
    auto sum = V::load(row[r]);
    if (!a.first) sum = V::add(sum, V::load_first(y, N));
    if (a.last) sum = RowStore<V>(e, r, a.y_stride).finish_first(sum, 0, N);
    V::store_first(y, sum, N);
  }
}

// N columns (1..8): x is broadcast and the vector runs over the panel's 16 rows; U sums hide the latency of the FMA. W
// is float, or uint16_t for f16 weights, which are widened as they are loaded.
template <class V, class W, int N, int U>
inline void gemm_few_tile(const GemmArgs& a, int c0) {
  constexpr int H = kPanel / V::width;
  typename V::reg acc[U][N][H];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) acc[u][n][h] = V::zero();
  const W* w = static_cast<const W*>(a.w);
  const float* x = a.x + c0;
  int k = 0;
  for (; k + U <= a.k; k += U, w += U * kPanel) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      const Broadcast<V, N> xs(x + a.off[k + u]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        const auto xn = xs[n];
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) acc[u][n][h] = V::fma(xn, V::load(w + u * kPanel + h * V::width), acc[u][n][h]);
      }
    }
  }
  for (; k < a.k; ++k, w += kPanel) {
    const Broadcast<V, N> xs(x + a.off[k]);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const auto xn = xs[n];
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) acc[0][n][h] = V::fma(xn, V::load(w + h * V::width), acc[0][n][h]);
    }
  }
  if constexpr (N == 1) {
    if (a.last && a.y_stride == 1 && !a.epilogue.mask) return finish_column<V, U>(a, c0, acc);
  }
  float sums[N][kPanel];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      auto sum = acc[0][n][h];
#pragma GCC unroll 8
      for (int u = 1; u < U; ++u) sum = V::add(sum, acc[u][n][h]);
      V::store(sums[n] + h * V::width, sum);
    }
  finish_few<V, N>(a, c0, sums);
}

}  // namespace
}  // namespace pyrt
