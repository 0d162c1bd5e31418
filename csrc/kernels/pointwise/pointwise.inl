// Elementwise functions over rows of columns.
#pragma once

#include <limits>

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
      acc = a.max ? V::max_or_nan(acc, v) : V::add(acc, v);
    }
    V::store_first(a.y + c, acc, n);
  }
}

// Taps of one column of the window, all rows of it: of V::width outputs whose first tap is at `col`.
template <class V, bool Max>
struct PoolColumn {
  const PoolArgs& a;
  const float* const* rows;

  static typename V::reg neutral() { return V::set1(Max ? -std::numeric_limits<float>::infinity() : 0.0f); }
  static typename V::reg fold(typename V::reg acc, typename V::reg v) {
    return Max ? V::max_or_nan(acc, v) : V::add(acc, v);
  }
  // Neighbouring columns from `col` on.
  typename V::reg run(int col) const {
    const auto inside = V::inside(col, a.width);
    auto acc = neutral();
    for (int i = 0; i < a.kh; ++i) acc = fold(acc, V::load_or(rows[i * a.row_dilation] + col, inside, neutral()));
    return acc;
  }
  // Every col_step-th column.
  typename V::reg strided(int col) const {
    if (a.col_step == 1 && !V::narrow(a.width)) return run(col);
    if (a.col_step == 2 && !V::narrow(a.width)) return V::even(run(col), run(col + V::width));
    float lanes[V::width];
    for (int l = 0; l < V::width; ++l, col += a.col_step) {
      float acc = Max ? -std::numeric_limits<float>::infinity() : 0.0f;
      for (int i = 0; i < a.kh && col >= 0 && col < a.width; ++i) {
        const float v = rows[i * a.row_dilation][col];
        if (!Max) acc += v;
        else if (!(v <= acc) && acc == acc) acc = v;
      }
      lanes[l] = acc;
    }
    return V::load(lanes);
  }
};

template <class V, bool Max>
inline void pool_plane(const PoolArgs& a) {
  for (int r = 0; r < a.y_rows; ++r) {
    const PoolColumn<V, Max> column{a, a.x_rows + r * a.row_step};
    for (int c = 0; c < a.y_cols; c += V::width) {
      const int col = c * a.col_step + a.first_col;
      auto acc = column.neutral();
      int j = 0;
      // Two taps of a stride of 2 come from the same columns.
      for (; a.col_step == 2 && a.col_dilation == 1 && j + 1 < a.kw && !V::narrow(a.width); j += 2) {
        const auto low = column.run(col + j), high = column.run(col + j + V::width);
        acc = column.fold(column.fold(acc, V::even(low, high)), V::odd(low, high));
      }
      for (; j < a.kw; ++j) acc = column.fold(acc, column.strided(col + j * a.col_dilation));
      V::store_first(a.y + r * a.y_pitch + c, acc, a.y_cols - c);
    }
  }
}

// A KxK window of stride S without dilation: as above, with nothing left to decide in the loop.
template <class V, int K, int S, bool Max>
inline void pool_square(const PoolArgs& args) {
  using Column = PoolColumn<V, Max>;
  const PoolArgs a = args;  // what lies behind a reference would be loaded again after every store
  const auto neutral = Column::neutral();
  constexpr int kLoads = S == 1 ? K : (K + 1) / 2 * 2;  // of a row: a vector per tap, or two per pair of taps
  for (int c = 0; c < a.y_cols; c += V::width) {
    typename V::inside_mask inside[kLoads];
    int at[kLoads];
#pragma GCC unroll 4
    for (int l = 0; l < kLoads; ++l) {
      at[l] = c * S + a.first_col + (S == 1 ? l : l / 2 * 2 + l % 2 * V::width);
      inside[l] = V::inside(at[l], a.width);
    }
    const auto written = V::first(a.y_cols - c);
    const float* const* rows = a.x_rows;
    float* y = a.y + c;
    for (int r = 0; r < a.y_rows; ++r, rows += S, y += a.y_pitch) {
      typename V::reg v[kLoads];
#pragma GCC unroll 4
      for (int l = 0; l < kLoads; ++l) {
        v[l] = V::load_or(rows[0] + at[l], inside[l], neutral);
#pragma GCC unroll 3
        for (int i = 1; i < K; ++i) v[l] = Column::fold(v[l], V::load_or(rows[i] + at[l], inside[l], neutral));
      }
      typename V::reg acc = S == 1 ? v[0] : V::even(v[0], v[1]);
#pragma GCC unroll 3
      for (int j = 1; j < K; ++j) {
        if constexpr (S == 1) acc = Column::fold(acc, v[j]);
        else
          acc = Column::fold(acc,
                             j % 2 ? V::odd(v[j / 2 * 2], v[j / 2 * 2 + 1]) : V::even(v[j / 2 * 2], v[j / 2 * 2 + 1]));
      }
      V::store_masked(y, acc, written);
    }
  }
}

template <class V, bool Max>
inline void pool_any(const PoolArgs& a) {
  const bool square =
      a.kh == a.kw && a.row_step == a.col_step && a.row_dilation == 1 && a.col_dilation == 1 && !V::narrow(a.width);
  if (square && a.kh == 2 && a.row_step == 2) pool_square<V, 2, 2, Max>(a);
  else if (square && a.kh == 3 && a.row_step == 2) pool_square<V, 3, 2, Max>(a);
  else if (square && a.kh == 3 && a.row_step == 1) pool_square<V, 3, 1, Max>(a);
  else pool_plane<V, Max>(a);
}

template <class V>
inline void pool(const PoolArgs& a) {
  if (a.max) pool_any<V, true>(a);
  else pool_any<V, false>(a);
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
  float sum[4] = {lanes[0], lanes[1], lanes[2], lanes[3]};  // four chains: halving would wait for a store each time
#pragma GCC unroll 4
  for (int i = 4; i < V::width; i += 4) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j] += lanes[i + j];
  }
  *a.y = (sum[0] + sum[1]) + (sum[2] + sum[3]);
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
      // Masked stores of AVX2 are slow: the last vector overlaps the one before, or half of one the other half, and
      // the shortest rows are copied one by one.
      if (c < a.n && a.n == a.y_cols && a.n >= V::width) {
        const float* last = x + 2 * (a.n - V::width);
        V::store(y + a.n - V::width, V::even(V::load(last), V::load_first(last + V::width, V::width - 1)));
        c = a.n;
      }
      if constexpr (V::width == 8) {
        if (c < a.n && a.n == a.y_cols && a.n >= 4) {
          V::store_four_even(y, x);
          V::store_four_even(y + a.n - 4, x + 2 * (a.n - 4));
          c = a.n;
        }
      }
      for (; V::width <= 8 && a.n == a.y_cols && c < a.n; ++c) y[c] = x[2 * c];
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
