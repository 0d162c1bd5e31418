// The three transforms of a Winograd convolution. A vector holds the same element of many tiles (or rows of weights),
// so that a transform is arithmetic between vectors; its two axes are done one after the other.
#pragma once

#include "kernels/simd/act.inl"
#include "kernels/winograd/winograd.h"

namespace pyrt {
namespace {

// out = B^T d
template <class V>
inline void winograd_forward(const typename V::reg (&d)[6], typename V::reg (&out)[6]) {
  const auto a = V::set1(kWinogradA), b = V::set1(kWinogradB), sum = V::set1(-kWinogradSum);
  const auto a2 = V::set1(-kWinogradA2), b2 = V::set1(-kWinogradB2);
  out[0] = V::add(V::fma(sum, d[2], d[0]), d[4]);
  const auto even_a = V::fma(b2, d[2], d[4]), odd_a = V::mul(a, V::fma(b2, d[1], d[3]));
  out[1] = V::add(even_a, odd_a);
  out[2] = V::sub(even_a, odd_a);
  const auto even_b = V::fma(a2, d[2], d[4]), odd_b = V::mul(b, V::fma(a2, d[1], d[3]));
  out[3] = V::add(even_b, odd_b);
  out[4] = V::sub(even_b, odd_b);
  out[5] = V::add(V::fma(sum, d[3], d[1]), d[5]);
}

// out = A^T m
template <class V>
inline void winograd_backward(const typename V::reg (&m)[6], typename V::reg (&out)[4]) {
  const auto sum_a = V::add(m[1], m[2]), difference_a = V::sub(m[1], m[2]);
  const auto sum_b = V::add(m[3], m[4]), difference_b = V::sub(m[3], m[4]);
  out[0] = V::add(V::add(m[0], sum_a), sum_b);
  out[1] = V::fma(V::set1(kWinogradA), difference_a, V::mul(V::set1(kWinogradB), difference_b));
  out[2] = V::fma(V::set1(kWinogradA2), sum_a, V::mul(V::set1(kWinogradB2), sum_b));
  out[3] = V::fma(V::set1(kWinogradA3), difference_a, V::fma(V::set1(kWinogradB3), difference_b, m[5]));
}

// out = G g
template <class V>
inline void winograd_weight(const typename V::reg (&g)[3], typename V::reg (&out)[6]) {
  out[0] = g[0];
  const auto even_a = V::mul(V::set1(kWinogradGA), V::fma(V::set1(kWinogradA2), g[2], g[0]));
  const auto odd_a = V::mul(V::set1(kWinogradGA * kWinogradA), g[1]);
  out[1] = V::add(even_a, odd_a);
  out[2] = V::sub(even_a, odd_a);
  const auto even_b = V::mul(V::set1(kWinogradGB), V::fma(V::set1(kWinogradB2), g[2], g[0]));
  const auto odd_b = V::mul(V::set1(kWinogradGB * kWinogradB), g[1]);
  out[3] = V::add(even_b, odd_b);
  out[4] = V::sub(even_b, odd_b);
  out[5] = g[2];
}

template <class V>
inline void winograd_weights(const WinogradWeightsArgs& a) {
  for (int c = 0; c < a.channels; ++c) {
    const float* w = a.w + c * 9 * kPanel;
    float* u = a.u + c * kPanel;
    for (int r = 0; r < kPanel; r += V::width) {
      typename V::reg half[3][6], out[6];
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        const float* row = w + i * 3 * kPanel + r;
        const typename V::reg g[3] = {V::load(row), V::load(row + kPanel), V::load(row + 2 * kPanel)};
        winograd_weight<V>(g, half[i]);
      }
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        const typename V::reg g[3] = {half[0][j], half[1][j], half[2][j]};
        winograd_weight<V>(g, out);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) V::store(u + (i * 6 + j) * a.u_stride + r, out[i]);
      }
    }
  }
}

// Columns 4t+q of a group are tile t of strip q: a vector of pixels per strip, transposed in blocks of 4x4.
template <class V>
inline void winograd_input(const WinogradInputArgs& a) {
  for (int group = 0; group < a.groups; ++group) {
    const WinogradStrip* strips = a.strips + 4 * group;
    for (int px = 0; px < kWinogradStrip; px += V::width) {
      typename V::reg half[6][6], out[6];
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) {
        typename V::reg near[4], far[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
          const float* x = a.x + strips[q].x + i * a.pitch + px;
          const int n = i < strips[q].in_rows ? strips[q].in_cols - px : 0;
          near[q] = V::load_first(x, n);
          far[q] = V::load_first(x + 4, n - 4);
        }
        V::transpose4(near);
        V::transpose4(far);
        const typename V::reg d[6] = {near[0], near[1], near[2], near[3], far[0], far[1]};
        winograd_forward<V>(d, half[i]);
      }
      float* u = a.u + group * kWinogradStrip + px;
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        const typename V::reg d[6] = {half[0][j], half[1][j], half[2][j], half[3][j], half[4][j], half[5][j]};
        winograd_forward<V>(d, out);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) V::store(u + (i * 6 + j) * a.u_stride, out[i]);
      }
    }
  }
}

template <class V>
inline void winograd_output(const WinogradOutputArgs& a) {
  for (int row = 0; row < a.rows; ++row) {
    const RowStore<V> store(a.epilogue, row, a.y_stride);
    float* y = a.y + row * a.y_stride;
    for (int group = 0; group < a.groups; ++group) {
      const WinogradStrip* strips = a.strips + 4 * group;
      for (int px = 0; px < kWinogradStrip; px += V::width) {
        const float* m = a.m + row * a.m_row + group * kWinogradStrip + px;
        typename V::reg half[6][4];
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) {
          typename V::reg sums[6];
#pragma GCC unroll 6
          for (int i = 0; i < 6; ++i) sums[i] = V::load(m + (i * 6 + j) * a.m_stride);
          winograd_backward<V>(sums, half[j]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          typename V::reg out[4];
          const typename V::reg sums[6] = {half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i]};
          winograd_backward<V>(sums, out);
          V::transpose4(out);
#pragma GCC unroll 4
          for (int q = 0; q < 4; ++q) {
            const WinogradStrip& s = strips[q];
            if (i >= s.out_rows || px >= s.out_cols + s.gap) continue;
            const int64_t at = s.y + i * a.pitch + px;
            const auto v = V::apply_mask(V::first(s.out_cols - px), store.finish_first(out[q], at, s.out_cols - px));
            V::store_first(y + at, v, s.out_cols + s.gap - px);
          }
        }
      }
      for (int q = 0; q < 4; ++q) {
        const WinogradStrip& s = strips[q];
        for (int i = 0; i < s.out_rows; ++i) {
          for (int c = kWinogradStrip; c < s.out_cols + s.gap; ++c) y[s.y + i * a.pitch + c] = 0.0f;
        }
      }
    }
  }
}

}  // namespace
}  // namespace pyrt
