// Blocks of 4, 8 or 16 sparse rows with the same columns: a row of X is loaded once for four multiply-adds, so that
// these and no longer the loads are the limit. More rows than four at a time would not fit the registers, so a larger
// block is passed over once for every four of its rows.
#pragma once

#include "kernels/csr/finish.inl"
#include "kernels/csr/finish_rows.inl"

namespace pyrt {
namespace {

// half: of the last vector only the first half is multiplied.
template <class V, int NV, bool half = false>
inline void bcsr_tile(const CsrArgs& a) {
  const float *const x = a.x, *const all_values = a.val;
  const int32_t* const all_off = a.off;
  const uint32_t *const begin = a.begin, *const end = a.end, *const order = a.order;
  const ptrdiff_t y_stride = a.y_stride, block = a.block;
  const int quads = a.block / 4, fours = a.rows * quads;
  const bool first = a.first, last = a.last;
  float* const y = a.y;
  for (int r = 0, four = 0; four < fours; r += four % quads == quads - 1, ++four) {
    int row[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) row[j] = order ? static_cast<int>(order[4 * four + j]) : 4 * four + j;
    typename V::reg acc[4][NV];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[j][v] = V::zero();
    if (!first) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[j][v] = V::load(y + row[j] * y_stride + v * V::width);
    }
    const int32_t *off = all_off + begin[r], *const row_end = all_off + end[r];
    const float* val = all_values + block * begin[r] + 4 * (four % quads);
    for (; off != row_end; ++off, val += block) {
      const Broadcast<V, 4> weights(val);
      const auto w0 = weights[0], w1 = weights[1], w2 = weights[2], w3 = weights[3];
      const float* xk = x + *off;
#pragma GCC unroll 8
      for (int v = 0; v < NV - half; ++v) {
        const auto xs = V::load(xk + v * V::width);
        acc[0][v] = V::fma(w0, xs, acc[0][v]);
        acc[1][v] = V::fma(w1, xs, acc[1][v]);
        acc[2][v] = V::fma(w2, xs, acc[2][v]);
        acc[3][v] = V::fma(w3, xs, acc[3][v]);
      }
      if constexpr (half) {
        const float* xs = xk + (NV - 1) * V::width;
        acc[0][NV - 1] = V::fma_low(w0, xs, acc[0][NV - 1]);
        acc[1][NV - 1] = V::fma_low(w1, xs, acc[1][NV - 1]);
        acc[2][NV - 1] = V::fma_low(w2, xs, acc[2][NV - 1]);
        acc[3][NV - 1] = V::fma_low(w3, xs, acc[3][NV - 1]);
      }
    }
    // Made anew for every four rows, so that its vectors take no registers from the loop above.
    const RowFinish<V> finish(a.epilogue);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      float* to = y + row[j] * y_stride;
      if (last) {
        finish.template store<NV>(acc[j], row[j], to, y_stride, Place<V, 0>(a));
      } else {
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) V::store(to + v * V::width, acc[j][v]);
      }
    }
    if (!last || !finish.slow()) continue;
    for (int j = 0; j < 4; ++j) apply_act<V>(a.epilogue.act, y + row[j] * y_stride, 0, 1, NV, a.epilogue.mask, 0);
  }
}

// The rows of a block are the lanes of vectors L, column after column: an entry costs the broadcast of an input. U
// independent sums per vector hide the latency of the multiply-add.
template <class V, class L, int NL, int U>
inline void bcsr_few_rows(const CsrFewArgs& a) {
  constexpr int block = NL * L::width;
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const auto n = static_cast<int64_t>(a.counts[r]);
    for (int c = 0; c < a.cols; ++c) {
      const float* x = a.x + c;
      typename L::reg acc[U][NL];
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
        for (int l = 0; l < NL; ++l) acc[u][l] = L::zero();
      const auto add = [&](typename L::reg* sums, int64_t i) __attribute__((always_inline)) {
        const auto xs = L::set1(x[off[i]]);
#pragma GCC unroll 4
        for (int l = 0; l < NL; ++l) sums[l] = L::fma(L::load(val + block * i + l * L::width), xs, sums[l]);
      };
      int64_t i = 0;
      for (; i + U <= n; i += U) {
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) add(acc[u], i + u);
      }
      for (; i < n; ++i) add(acc[0], i);
      // A copy: sums whose address leaves the function would be stored in every turn of the loop.
      typename L::reg sums[NL];
#pragma GCC unroll 4
      for (int l = 0; l < NL; ++l) {
        sums[l] = acc[0][l];
#pragma GCC unroll 8
        for (int u = 1; u < U; ++u) sums[l] = L::add(sums[l], acc[u][l]);
      }
      finish_rows<V, L, NL>({a.epilogue, a.order, a.y, a.y_stride}, block * r, block, c, sums);
    }
    off += n;
    val += block * n;
  }
}

}  // namespace
}  // namespace pyrt
