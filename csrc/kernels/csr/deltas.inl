// Sparse rows times 9 to 32 columns, by the deltas of their entries: a layer that is one tile wide would use an offset
// once, and decoding it costs more than adding up deltas beside multiply-adds.
#pragma once

#include <cstring>

#include "kernels/csr/finish.inl"

namespace pyrt {
namespace {

// NV vectors of columns, U independent sums each. kStride: floats between rows of X, a multiple of 16; 0 is any.
template <class V, int NV, int U, int kStride>
inline void csr_deltas_tile(const CsrDeltasArgs& a) {
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  const auto stride = static_cast<uint64_t>(a.x_stride);
  float* y = a.y;
  const RowFinish<V> finish(a.epilogue);
  const Place<V, 0> place;
  for (int r = 0; r < a.rows; ++r, y += a.y_stride) {
    const float* x = a.x;
    uint64_t at = 0;  // the distance from x, in floats; eights of bytes if the stride is known
    typename V::reg acc[U][NV];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[u][v] = V::zero();
    // i: the number of entries since x was moved.
    const auto add = [&](int u, typename V::reg w, uint64_t delta, int i) __attribute__((always_inline)) {
      const float* xk = x;
      if constexpr (kStride) {
        asm("" : "+r"(delta));  // so that one instruction multiplies and adds
        at += kStride / 2 * delta;
        xk += 2 * at + i * kStride;
      } else {
        at += stride * delta;
        xk += at;
        at += stride;
      }
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[u % U][v] = V::fma(w, V::load(xk + v * V::width), acc[u % U][v]);
    };
    const auto pass = [&](uint32_t n) __attribute__((always_inline)) { deltas += n, val += n, x += n * kStride; };
    uint32_t n = a.counts[r];
    for (; n >= 4; n -= 4, pass(4)) {
      uint32_t four;
      std::memcpy(&four, deltas, 4);
      const auto w = V::load4(val);
      add(0, V::template splat<0>(w), four & 255, 0);
      add(1, V::template splat<1>(w), four >> 8 & 255, 1);
      four >>= 16;
      add(2, V::template splat<2>(w), four & 255, 2);
      add(3, V::template splat<3>(w), four >> 8, 3);
    }
    if (n & 2) {
      add(0, V::set1(val[0]), deltas[0], 0);
      add(1, V::set1(val[1]), deltas[1], 1);
      pass(2);
    }
    if (n & 1) {
      add(2, V::set1(val[0]), deltas[0], 0);
      pass(1);
    }
#pragma GCC unroll 8
    for (int u = 1; u < U; ++u)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[0][v] = V::add(acc[0][v], acc[u][v]);
    finish.template store<NV>(acc[0], r, y, a.y_stride, place);
    if (finish.slow()) apply_act<V>(a.epilogue.act, y, 0, 1, NV, a.epilogue.mask, 0);
  }
}

}  // namespace
}  // namespace pyrt
