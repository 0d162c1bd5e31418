// u8 activations times s8 weights: a group of four weights is broadcast, X is streamed in columns of four channels, and
// an R x NV*width tile of int32 sums stays in registers. Dot is how an instruction set multiplies fours.
#pragma once

#include "kernels/int8/store.inl"

namespace pyrt {
namespace {

inline int load_four(const void* p) {
  int v;
  std::memcpy(&v, p, 4);
  return v;
}

template <class V, int R, int NV>
inline void store_tile(const QGemmArgs& a, const typename V::ireg (&acc)[R][NV], int r0, int c0) {
  const QuantEpilogue& e = a.epilogue;
  if (a.to_f32) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      if (r0 + r >= a.rows) break;
      float* y = static_cast<float*>(a.y) + (r0 + r) * a.y_stride + c0;
      const auto scale = V::set1(e.scale[r0 + r]), bias = V::set1(e.bias[r0 + r]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        const float* column = e.columns ? e.columns + c0 + v * V::width : nullptr;
        const auto sum = V::to_f32(acc[r][v]);
        const auto s = column ? V::fma(V::mul(sum, scale), V::load(column), bias) : V::fma(sum, scale, bias);
        V::store(y + v * V::width, e.mask ? V::apply_mask(V::load_mask(e.mask, c0 + v * V::width), s) : s);
      }
    }
    return;
  }
  const BytePacker<V> packer(e.zero, e.low, e.high);
#pragma GCC unroll 4
  for (int g = 0; g < R / 4; ++g) {
    const int r = r0 + 4 * g;
    if (r >= a.rows) break;
    const ptrdiff_t at = 4 * (r / 4 * a.y_stride + c0);
    const auto of = [&](const float* vector, int i) { return V::set1(r + i < a.rows ? vector[r + i] : 0.0f); };
    const auto m0 = of(e.scale, 0), m1 = of(e.scale, 1), m2 = of(e.scale, 2), m3 = of(e.scale, 3);
    const auto b0 = of(e.bias, 0), b1 = of(e.bias, 1), b2 = of(e.bias, 2), b3 = of(e.bias, 3);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const ptrdiff_t here = at + 4 * v * V::width;
      auto s0 = V::fma(V::to_f32(acc[4 * g][v]), m0, b0), s1 = V::fma(V::to_f32(acc[4 * g + 1][v]), m1, b1);
      auto s2 = V::fma(V::to_f32(acc[4 * g + 2][v]), m2, b2), s3 = V::fma(V::to_f32(acc[4 * g + 3][v]), m3, b3);
      if (e.residual) {
        const auto residual = V::iload(e.residual + here);
        s0 = add_residual<V, 0>(e, residual, s0);
        s1 = add_residual<V, 1>(e, residual, s1);
        s2 = add_residual<V, 2>(e, residual, s2);
        s3 = add_residual<V, 3>(e, residual, s3);
      }
      const auto bytes = V::transpose_4x4(packer.pack(s0, s1, s2, s3));
      V::istore(static_cast<uint8_t*>(a.y) + here, packer.gaps(e.mask, c0 + v * V::width, bytes));
    }
  }
}

template <class V, class Dot, int R, int NV>
inline void start_tile(const QGemmArgs& a, typename Dot::Acc (&acc)[R][NV], int r0) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const auto shift = V::iset1(r0 + r < a.rows ? a.epilogue.shift[r0 + r] : 0);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = Dot::start(shift);
  }
}

// Adds Dot::groups groups of four columns of W.
template <class V, class Dot, int R, int NV>
inline __attribute__((always_inline)) void add_groups(typename Dot::Acc (&acc)[R][NV], const uint8_t* x,
                                                      const int32_t* off, const int8_t* w) {
  typename Dot::X xv[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) xv[v] = Dot::columns(x + 4 * v * V::width, off);
  const auto rows = Dot::template rows<R>(w);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const auto wr = Dot::row(rows, r);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[r][v] = Dot::add(acc[r][v], xv[v], wr);
  }
}

template <class V, class Dot, int R, int NV>
inline void qgemm_tile(const QGemmArgs& a, int r0, int c0) {
  typename Dot::Acc acc[R][NV];
  start_tile<V, Dot, R, NV>(a, acc, r0);
  const int8_t* w = static_cast<const int8_t*>(a.w) + 4 * r0;
  const uint8_t* x = a.x + 4 * static_cast<ptrdiff_t>(c0);
  for (int k = 0; k + Dot::groups <= a.k; k += Dot::groups, w += Dot::groups * 64) {
    __builtin_prefetch(w + 64 * 64);  // the hardware does not look past a 4 KB page
    add_groups<V, Dot, R, NV>(acc, x, a.off + k, w);
  }
  if (Dot::groups > 1 && a.k % Dot::groups != 0) {
    add_groups<V, typename Dot::Single, R, NV>(acc, x, a.off + a.k - 1, w);
  }
  typename V::ireg sums[R][NV];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sums[r][v] = Dot::sum(acc[r][v]);
  store_tile<V, R, NV>(a, sums, r0, c0);
}

template <class V, class Dot, int R, int NV>
inline void qgemm_column(const QGemmArgs& a, int c0) {
  for (int r0 = 0; r0 < a.rows; r0 += R) qgemm_tile<V, Dot, R, NV>(a, r0, c0);
}

// N columns (1..8): a column's four channels are broadcast and the vector runs over the panel's 16 rows. Dot::Acc
// is what a vector of sums is until the last of them.
template <class V, class Dot, int N, int U>
inline void qgemm_few_tile(const QGemmArgs& a, int c0) {
  constexpr int H = kPanel / V::width, S = Dot::groups;
  constexpr int kStep = Dot::panel_bytes;  // of the groups that one step takes
  typename Dot::Acc acc[U][N][H];
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) acc[u][n][h] = Dot::start(V::iset1(0));
  const auto* w = static_cast<const int8_t*>(a.w);
  const uint8_t* x = a.x + 4 * static_cast<ptrdiff_t>(c0);
  int k = 0;
  for (; k + U * S <= a.k; k += U * S, w += U * kStep) {
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      typename Dot::X wu[H];
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) wu[h] = Dot::panel(w + u * kStep + 4 * h * V::width);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        const auto xn = Dot::column(x + 4 * n, a.off + k + u * S);
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) acc[u][n][h] = Dot::add(acc[u][n][h], xn, wu[h]);
      }
    }
  }
  for (; U > 1 && k + S <= a.k; k += S, w += kStep) {
    typename Dot::X wu[H];
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) wu[h] = Dot::panel(w + 4 * h * V::width);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const auto xn = Dot::column(x + 4 * n, a.off + k);
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) acc[0][n][h] = Dot::add(acc[0][n][h], xn, wu[h]);
    }
  }
  using Last = typename Dot::Single;
  if (S > 1 && k < a.k) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const auto xn = Last::column(x + 4 * n, a.off + k);
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) acc[0][n][h] = Last::add(acc[0][n][h], xn, Last::panel(w + 4 * h * V::width));
    }
  }
  int32_t sums[N][kPanel];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      auto sum = Dot::sum(acc[0][n][h]);
#pragma GCC unroll 8
      for (int u = 1; u < U; ++u) sum = V::iadd(sum, Dot::sum(acc[u][n][h]));
      V::istore(sums[n] + h * V::width, sum);
    }
  for (int n = 0; n < N; ++n) {
    for (int r = 0; r < a.rows; ++r) store_sum(a.epilogue, a.to_f32, a.y, a.y_stride, r, c0 + n, sums[n][r]);
  }
}

}  // namespace
}  // namespace pyrt
