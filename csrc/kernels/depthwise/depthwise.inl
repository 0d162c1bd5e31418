// Depthwise convolution of one plane: R rows x NV vectors of outputs in registers, the taps' weights broadcast. The
// padding is never there: rows outside are a row of zeros, columns outside are masked.
#pragma once

#include <algorithm>

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

// The arguments, and the part of the epilogue that is done in registers.
struct DepthwisePlane {
  const DepthwiseArgs& args;
  float scale, bias, low, high;
};

// V::width columns of a row from `col` on. Those outside the row are zero and not read.
template <class V>
inline typename V::reg load_columns(const float* row, int64_t col, int width) {
  return V::load_masked(row + col, V::inside(static_cast<int>(col), width));
}
// Every step-th column.
template <class V>
__attribute__((noinline)) typename V::reg gather_columns(const float* row, int64_t col, int step, int width) {
  float lanes[V::width];
  for (int i = 0; i < V::width; ++i, col += step) lanes[i] = col >= 0 && col < width ? row[col] : 0.0f;
  return V::load(lanes);
}

// What all tiles of the same columns share. Edge: columns may lie outside.
template <class V, int K, int S, int NV, bool Edge>
struct DepthwiseSquare {
  static constexpr int kLoads = S == 1 ? K : (K + 1) / 2 * 2;  // of a row: a vector per tap, or two per pair of taps

  DepthwiseSquare(const DepthwiseArgs& a, const int64_t (&col)[NV]) : w(a.w) {
#pragma GCC unroll 9
    for (int t = 0; t < K * K && kHeld; ++t) held[t] = V::set1(a.w[t]);
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      from[v] = col[v];
#pragma GCC unroll 8
      for (int l = 0; l < kLoads && Edge; ++l) {
        inside[l][v] = V::inside(static_cast<int>(col[v] + (S == 1 ? l : l / 2 * 2 + l % 2 * V::width)), a.width);
      }
    }
  }
  typename V::reg load(const float* row, int l, int at, int v) const {
    return Edge ? V::load_masked(row + from[v] + at, inside[l][v]) : V::load(row + from[v] + at);
  }

  // Nine weights stay in registers; more would only be spilled.
  static constexpr bool kHeld = K == 3 && !V::lane_operands;

  const float* w;
  typename V::reg held[9];
  typename V::inside_mask inside[kLoads][NV];
  int64_t from[NV];
};

// acc[r][v] += taps of a KxK square. Every row of input serves up to K rows of output.
template <class V, int K, int S, int R, int NV, bool Edge>
inline void depthwise_sum(const DepthwiseSquare<V, K, S, NV, Edge>& square, const float* const* rows,
                          typename V::reg (&acc)[R][NV]) {
  const Broadcast<V, K * K> weights(square.w);
  const auto weight = [&](int t) { return square.kHeld ? square.held[t] : weights[t]; };
#pragma GCC unroll 20
  for (int i = 0; i < (R - 1) * S + K; ++i) {
    const float* row = rows[i];
#pragma GCC unroll 7
    for (int j = 0; j < K; j += S) {
      typename V::reg x[2][NV];
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
        if constexpr (S == 1) {
          x[0][v] = square.load(row, j, j, v);
        } else {
          const auto low = square.load(row, j, j, v), high = square.load(row, j + 1, j + V::width, v);
          x[0][v] = V::even(low, high);
          x[1][v] = V::odd(low, high);
        }
        V::pin(x[0][v]);  // one load for all rows: GCC would rather load again in every multiply-add
      }
#pragma GCC unroll 7
      for (int r = 0; r < R; ++r) {
        if (r * S > i || r * S + K <= i) continue;
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) acc[r][v] = V::fma(weight((i - r * S) * K + j), x[0][v], acc[r][v]);
        if (S == 1 || j + 1 == K) continue;
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) acc[r][v] = V::fma(weight((i - r * S) * K + j + 1), x[1][v], acc[r][v]);
      }
    }
  }
}

// What all tiles of the same columns share, for any taps and steps.
template <class V, int NV>
struct DepthwiseTaps {
  const DepthwiseArgs& a;
  const int64_t (&col)[NV];
};

template <class V, int R, int NV>
inline void depthwise_sum(const DepthwiseTaps<V, NV>& taps, const float* const* rows, typename V::reg (&acc)[R][NV]) {
  const DepthwiseArgs& a = taps.a;
  for (int t = 0; t < a.taps; ++t) {
    const auto w = V::set1(a.w[t]);
    const float* const* tap_rows = rows + a.tap_row[t];
#pragma GCC unroll 7
    for (int r = 0; r < R; ++r) {
      const float* row = tap_rows[r * a.row_step];
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
        const int64_t at = taps.col[v] + a.tap_col[t];
        typename V::reg x;
        if (a.col_step > 2 || V::narrow(a.width)) {
          x = gather_columns<V>(row, at, a.col_step, a.width);
        } else if (a.col_step == 1) {
          x = load_columns<V>(row, at, a.width);
        } else {
          x = V::even(load_columns<V>(row, at, a.width), load_columns<V>(row, at + V::width, a.width));
        }
        acc[r][v] = V::fma(w, x, acc[r][v]);
      }
    }
  }
}

// Sums of a block of outputs: `rows` rows of columns c and, of a second vector, c + second.
struct DepthwiseBlock {
  int first_row, rows;
  int64_t c, second;
  int last;            // columns of the last vector
  float* y;            // where they go: in y itself, or in a buffer
  ptrdiff_t y_pitch;   // between rows
  ptrdiff_t y_second;  // between vectors
  int y_last;
};

template <class V, int K, int S, int NV, bool Edge>
__attribute__((noinline)) void depthwise_columns(const DepthwisePlane& plane, const DepthwiseBlock& block) {
  const DepthwiseArgs& a = plane.args;
  const auto scale = V::set1(plane.scale), bias = V::set1(plane.bias);
  const auto low = V::set1(plane.low), high = V::set1(plane.high);
  // Locals, since the compiler loads what lies behind a reference after every store.
  const int row_step = a.row_step, last = block.y_last;
  const float* const* rows = a.x_rows + block.first_row * row_step;
  const ptrdiff_t y_pitch = block.y_pitch, second = block.y_second;
  float* y = block.y;
  int count = block.rows;
  const auto run = [&](const auto& taps, auto height) {
    constexpr int R = decltype(height)::value;
    typename V::reg acc[R][NV];
#pragma GCC unroll 7
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[r][v] = V::zero();
    depthwise_sum(taps, rows, acc);
    rows += R * row_step;
#pragma GCC unroll 7
    for (int r = 0; r < R; ++r, y += y_pitch) {
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
        const auto sum = V::min(high, V::max(low, V::fma(acc[r][v], scale, bias)));
        if (NV > 1 || last == V::width) V::store(y + v * second, sum);
        else V::store_first(y, sum, last);
      }
    }
    count -= R;
  };
  const auto run_all = [&](const auto& taps) {
    // Sevens where they fit, as in nets for images of 224x224, or threes until fours do.
    while (count > 0) {
      if (NV == 1 && count % 7 == 0) run(taps, std::integral_constant<int, NV == 1 ? 7 : 4>());
      else if (count % 4 == 0) run(taps, std::integral_constant<int, 4>());
      else if (count >= 3) run(taps, std::integral_constant<int, 3>());
      else run(taps, std::integral_constant<int, 1>());
    }
  };
  int64_t col[NV];
  for (int v = 0; v < NV; ++v) col[v] = (block.c + v * block.second) * a.col_step + (K > 0 ? a.tap_col[0] : 0);
  if constexpr (K > 0) run_all(DepthwiseSquare<V, K, S, NV, Edge>(a, col));
  else run_all(DepthwiseTaps<V, NV>{a, col});
}

// What is left of the epilogue: from a buffer, since a load waits for the masked stores before it.
template <class V>
__attribute__((noinline)) void depthwise_finish(const DepthwiseArgs& a, const DepthwiseBlock& block, int vectors) {
  with_act<V>(a.epilogue.act, [&](const auto& f) {
    for (int r = 0; r < block.rows; ++r) {
      for (int v = 0; v < vectors; ++v) {
        const int64_t at = (block.first_row + r) * a.y_pitch + block.c + v * block.second;
        const int n = v + 1 < vectors ? V::width : block.last;
        auto sum = V::load(block.y + r * block.y_pitch + v * block.y_second);
        if (a.epilogue.residual) sum = V::add(sum, V::load_first(a.epilogue.residual + at, n));
        V::store_first(a.y + at, f(sum), n);
      }
    }
  });
}

constexpr int kBufferRows = 28;

template <class V, int K, int S>
inline void depthwise_plane(const DepthwiseArgs& a) {
  const Epilogue& e = a.epilogue;
  const bool late = e.residual || e.act.code > Act::kClamp, clamp = !late && e.act.code == Act::kClamp;
  const DepthwisePlane plane = {a, e.scale ? *e.scale : 1.0f, e.bias ? *e.bias : 0.0f,
                                clamp ? e.act.p0 : -std::numeric_limits<float>::infinity(),
                                clamp ? e.act.p1 : std::numeric_limits<float>::infinity()};
  alignas(64) float buffer[kBufferRows * 2 * V::width];
  // The last vector of a row ends where the row does, over columns that are done already.
  const int64_t end = a.y_cols - V::width;
  for (int64_t col = 0; col < a.y_cols; col += 2 * V::width) {
    const bool pair = col + V::width < a.y_cols && end >= 0;
    const int64_t c = pair ? col : std::max<int64_t>(end, 0);
    const int64_t second = pair ? std::min<int64_t>(V::width, end - col) : 0;
    const int last = end < 0 ? a.y_cols : V::width;
    // Inside, no tap of any lane leaves the row.
    const bool inside = pair && K > 0 && c * S + a.tap_col[0] >= 0 &&
                        (c + second) * S + a.tap_col[0] + (K - 1) / S * S + S * V::width <= a.width;
    for (int r = 0; r < a.y_rows; r += kBufferRows) {
      DepthwiseBlock block = {
          r, late ? std::min(kBufferRows, a.y_rows - r) : a.y_rows, c, second, last, a.y + c, a.y_pitch, second, last};
      if (late) {
        block.y = buffer;
        block.y_pitch = 2 * V::width;
        block.y_second = block.y_last = V::width;
      }
      if (inside) depthwise_columns<V, K, S, 2, false>(plane, block);
      else if (pair) depthwise_columns<V, K, S, 2, true>(plane, block);
      else depthwise_columns<V, K, S, 1, true>(plane, block);
      if (!late) break;
      depthwise_finish<V>(a, block, pair ? 2 : 1);
    }
  }
}

template <class V>
inline void depthwise(const DepthwiseArgs& a) {
  if (V::narrow(a.width)) return depthwise_plane<V, 0, 1>(a);
  const bool one = a.row_step == 1 && a.col_step == 1, two = a.row_step == 2 && a.col_step == 2;
  if (a.square == 3 && one) depthwise_plane<V, 3, 1>(a);
  else if (a.square == 3 && two) depthwise_plane<V, 3, 2>(a);
  else if (a.square == 5 && one) depthwise_plane<V, 5, 1>(a);
  else if (a.square == 5 && two) depthwise_plane<V, 5, 2>(a);
  else if (a.square == 7 && one) depthwise_plane<V, 7, 1>(a);
  else depthwise_plane<V, 0, 1>(a);
}

}  // namespace
}  // namespace pyrt
