// Elementwise functions over rows of columns.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

template <class V>
inline typename V::reg finish_pointwise(const Activation& act, const uint8_t* mask, typename V::reg v, int64_t col) {
  if (act.code == Act::kClamp) v = vclamp<V>(v, act.p0, act.p1);
  else if (act.code != Act::kNone) v = apply_act<V>(act, v);
  return mask ? V::apply_mask(V::load_mask(mask, col), v) : v;
}

template <class V>
inline void affine(const AffineArgs& a) {
  const auto scale = V::set1(a.scale), shift = V::set1(a.shift);
  int64_t c = 0;
  for (; c + V::width <= a.cols; c += V::width) {
    const auto v = V::fma(V::load(a.x + c), scale, shift);
    V::store(a.y + c, finish_pointwise<V>(a.act, a.mask, v, c));
  }
  if (const int n = static_cast<int>(a.cols - c)) {
    const auto v = V::fma(V::load_first(a.x + c, n), scale, shift);
    V::store_first(a.y + c, finish_pointwise<V>(a.act, a.mask, v, c), n);
  }
}

template <class V, BinaryOp fn>
inline typename V::reg combine(typename V::reg a, typename V::reg b) {
  if (fn == BinaryOp::kAdd) return V::add(a, b);
  if (fn == BinaryOp::kSub) return V::sub(a, b);
  if (fn == BinaryOp::kMul) return V::mul(a, b);
  return V::div(a, b);
}

template <class V, BinaryOp fn>
inline void binary_rows(const BinaryArgs& a) {
  const auto a0 = V::set1(a.a[0]), b0 = V::set1(a.b[0]);
  int64_t c = 0;
  for (; c + V::width <= a.cols; c += V::width) {
    const auto v = combine<V, fn>(a.a_step ? V::load(a.a + c) : a0, a.b_step ? V::load(a.b + c) : b0);
    V::store(a.y + c, finish_pointwise<V>(a.act, a.mask, v, c));
  }
  if (const int n = static_cast<int>(a.cols - c)) {
    const auto v = combine<V, fn>(a.a_step ? V::load_first(a.a + c, n) : a0, a.b_step ? V::load_first(a.b + c, n) : b0);
    V::store_first(a.y + c, finish_pointwise<V>(a.act, a.mask, v, c), n);
  }
}

template <class V>
inline void binary(const BinaryArgs& a) {
  switch (a.fn) {
    case BinaryOp::kAdd: binary_rows<V, BinaryOp::kAdd>(a); break;
    case BinaryOp::kSub: binary_rows<V, BinaryOp::kSub>(a); break;
    case BinaryOp::kMul: binary_rows<V, BinaryOp::kMul>(a); break;
    case BinaryOp::kDiv: binary_rows<V, BinaryOp::kDiv>(a); break;
  }
}

template <class V>
inline void reduce_rows(const ReduceRowsArgs& a) {
  int c = 0;
  for (; c < a.n; c += V::width) {
    const int n = a.n - c < V::width ? a.n - c : V::width;
    auto acc = V::load_first(a.rows[0] + c, n);
    for (int r = 1; r < a.row_count; ++r) {
      const auto v = V::load_first(a.rows[r] + c, n);
      // max keeps a NaN of its second operand, nan_or one of the first.
      acc = a.max ? V::nan_or(acc, V::max(acc, v)) : V::add(acc, v);
    }
    V::store_first(a.y + c, acc, n);
  }
}

template <class V>
inline void transpose_rows(const TransposeArgs& a) {
  constexpr int W = V::width;
  for (int64_t r = 0; r < a.rows; r += W) {
    const int rows = static_cast<int>(a.rows - r < W ? a.rows - r : W);
    for (int64_t c = 0; c < a.cols; c += W) {
      const int cols = static_cast<int>(a.cols - c < W ? a.cols - c : W);
      const float* x = a.x + r * a.x_pitch + c;
      float* y = a.y + c * a.y_pitch + r;
      typename V::reg block[W];
      if (rows == W && cols == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) block[i] = V::load(x + i * a.x_pitch);
        V::transpose(block);
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) V::store(y + i * a.y_pitch, block[i]);
      } else {
        for (int i = 0; i < W; ++i) block[i] = i < rows ? V::load_first(x + i * a.x_pitch, cols) : V::zero();
        V::transpose(block);
        for (int i = 0; i < cols; ++i) V::store_first(y + i * a.y_pitch, block[i], rows);
      }
    }
  }
}

template <class V>
inline void sum_rows(const SumArgs& a) {
  const bool whole = a.pitch == a.cols;
  const int64_t rows = whole ? 1 : a.rows, cols = whole ? a.rows * a.cols : a.cols;
  typename V::reg acc[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = a.x + r * a.pitch;
    int64_t c = 0;
    for (; c + 4 * V::width <= cols; c += 4 * V::width) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) acc[v] = V::add(acc[v], V::load(x + c + v * V::width));
    }
    for (; c + V::width <= cols; c += V::width) acc[0] = V::add(acc[0], V::load(x + c));
    if (c < cols) acc[1] = V::add(acc[1], V::load_first(x + c, static_cast<int>(cols - c)));
  }
  float lanes[V::width];
  V::store(lanes, V::add(V::add(acc[0], acc[1]), V::add(acc[2], acc[3])));
  for (int half = V::width / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  *a.y = lanes[0];
}

template <class V>
inline void copy_rows(const CopyRowsArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_pitch;
    float* y = a.y + r * a.y_pitch;
    int c = 0;
    if (a.step == 1) {
      for (; c + V::width <= a.n; c += V::width) V::store(y + c, V::load(x + c));
      if (c < a.n) V::store_first(y + c, V::load_first(x + c, a.n - c), a.y_cols - c);
      c += V::width * (c < a.n);
    } else if (a.step == 2) {
      for (; c + V::width < a.n; c += V::width) {
        V::store(y + c, V::even(V::load(x + 2 * c), V::load(x + 2 * c + V::width)));
      }
      if (c < a.n) {
        const int left = 2 * (a.n - c) - 1;  // up to the last value taken
        const auto v = V::even(V::load_first(x + 2 * c, left), V::load_first(x + 2 * c + V::width, left - V::width));
        V::store_first(y + c, v, a.y_cols - c);
        c += V::width;
      }
    } else {
      for (; c < a.n; ++c) y[c] = x[c * a.step];
    }
    for (; c < a.y_cols; c += V::width) V::store_first(y + c, V::zero(), a.y_cols - c);
  }
}

}  // namespace
}  // namespace pyrt
