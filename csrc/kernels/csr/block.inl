// Blocks of four sparse rows with the same columns: a row of X is loaded once for four multiply-adds, so that these and
// no longer the loads are the limit.
#pragma once

#include "kernels/csr/finish.inl"

namespace pyrt {
namespace {

template <class V, int NV>
inline void bcsr_tile(const CsrArgs& a) {
  const float *const x = a.x, *const all_values = a.val;
  const int32_t* const all_off = a.off;
  const uint32_t *const begin = a.begin, *const end = a.end;
  const ptrdiff_t y_stride = a.y_stride;
  const int rows = a.rows;
  const bool first = a.first, last = a.last;
  float* y = a.y;
  const RowFinish<V> finish(a.epilogue);
  for (int r = 0; r < rows; ++r, y += 4 * y_stride) {
    typename V::reg acc[4][NV];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[j][v] = V::zero();
    if (!first) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[j][v] = V::load(y + j * y_stride + v * V::width);
    }
    const int32_t *off = all_off + begin[r], *const row_end = all_off + end[r];
    const float* val = all_values + 4 * static_cast<int64_t>(begin[r]);
    for (; off != row_end; ++off, val += 4) {
      const auto w0 = V::set1(val[0]), w1 = V::set1(val[1]), w2 = V::set1(val[2]), w3 = V::set1(val[3]);
      const float* xk = x + *off;
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        const auto xs = V::load(xk + v * V::width);
        acc[0][v] = V::fma(w0, xs, acc[0][v]);
        acc[1][v] = V::fma(w1, xs, acc[1][v]);
        acc[2][v] = V::fma(w2, xs, acc[2][v]);
        acc[3][v] = V::fma(w3, xs, acc[3][v]);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      float* to = y + j * y_stride;
      if (last) {
        finish.template store<NV>(acc[j], 4 * r + j, to, y_stride);
      } else {
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) V::store(to + v * V::width, acc[j][v]);
      }
    }
    if (last && finish.slow()) apply_act<V>(a.epilogue.act, y, y_stride, 4, NV, a.epilogue.mask);
  }
}

}  // namespace
}  // namespace pyrt
