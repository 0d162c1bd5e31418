// Product codebooks: a byte stands for d neighbouring weights of a row, 16 rows to a panel.
#pragma once

#include "kernels/decode/bits.h"
#include "kernels/dense/gemm.inl"

namespace pyrt {
namespace {

// V::expand4 and expand8 transpose four or eight neighbours of every row of the panel in registers. D: weights of a
// codeword, or 0 for any number.
template <class V, int D>
inline void expand_codewords(const ExpandCodewordsArgs& a) {
  const int d = D ? D : a.d;
  const uint8_t* index = a.index;
  float* out = a.out;
  for (int64_t j = 0; j < a.n; ++j, index += kPanel, out += d * kPanel) {
    const float* row[kPanel];
#pragma GCC unroll 16
    for (int r = 0; r < kPanel; ++r) row[r] = a.book + index[r] * d;
    int i = 0;
    for (; i + 8 <= d; i += 8) V::expand8(row, i, out + i * kPanel);
    if (i + 4 <= d) V::expand4(row, i, out + i * kPanel), i += 4;
    for (; i < d; ++i) {
      for (int r = 0; r < kPanel; ++r) out[i * kPanel + r] = row[r][i];
    }
  }
}

template <class V>
inline void expand_codewords(const ExpandCodewordsArgs& a) {
  if (a.d == 8) expand_codewords<V, 8>(a);
  else if (a.d == 4) expand_codewords<V, 4>(a);
  else if (a.d == 16) expand_codewords<V, 16>(a);
  else expand_codewords<V, 0>(a);
}

// What a tile of gemm_f32 is multiplied with: weights are broadcast from their codewords. D: as above; known, it leaves
// the pointers to them in registers.
template <int D>
struct CodewordWeights {
  const uint8_t* index;
  const float* book;
  int size;

  template <class V, int R, int NV>
  void multiply(const GemmArgs& a, int r0, const float* x, typename V::reg (&acc)[R][NV]) const {
    const int d = D ? D : size;
    const uint8_t* at = index + r0;
    const int32_t* off = a.off;
    for (int k = 0; k < a.k; k += d, at += kPanel, off += d) {
      const float* row[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) row[r] = book + static_cast<ptrdiff_t>(at[r]) * d;
      const auto step = [&](int i) {
        const float* xk = x + off[i];
        typename V::reg xv[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) xv[v] = V::load(xk + v * V::width);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const auto wr = V::set1(row[r][i]);
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) acc[r][v] = V::fma(wr, xv[v], acc[r][v]);
        }
      };
      // A tile of one vector is short of other work; a wider one has no register left to unroll.
      if constexpr (NV == 1) {
#pragma GCC unroll 8
        for (int i = 0; i < d; ++i) step(i);
      } else {
#pragma GCC unroll 1
        for (int i = 0; i < d; ++i) step(i);
      }
    }
  }
};

template <class V, int R3, int R2, int R1, int D>
inline void gemm_codewords(const GemmCodewordsArgs& a) {
  gemm<V, R3, R2, R1>(a.product, CodewordWeights<D>{a.index, a.book, a.d});
}

template <class V, int R3, int R2, int R1>
inline void gemm_codewords(const GemmCodewordsArgs& a) {
  if (a.d == 8) gemm_codewords<V, R3, R2, R1, 8>(a);
  else if (a.d == 4) gemm_codewords<V, R3, R2, R1, 4>(a);
  else if (a.d == 16) gemm_codewords<V, R3, R2, R1, 16>(a);
  else gemm_codewords<V, R3, R2, R1, 0>(a);
}

// N columns times codewords where they lie. A register of L has L::width neighbours of each of L::rows rows: those of
// the g-th are 4s + g % 4 of the (g / 4)-th 4 * L::rows rows, s < L::rows. D: weights of a codeword, or 0 for any
// multiple of the width.
template <class V, class L, int D, int N>
inline void dot_columns(const CodewordDotArgs& a, int c0) {
  constexpr int fours = 4 * L::rows;
  constexpr int fit = L::sums / N * L::rows;  // rows whose sums fit the registers
  constexpr int R = L::rows > 1 && fit >= 16 ? 16 : fit >= 8 ? 8 : 4, G = R / L::rows;
  static_assert((G == 4 || G == 8) && G * N <= L::sums);
  const int d = D ? D : a.d;
  const int64_t k = a.n * d;
  float sums[N][kPanel];
  for (int r0 = 0; r0 < kPanel; r0 += R) {
    typename L::reg acc[N][G];
#pragma GCC unroll 16
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[n][g] = L::zero();
    const uint8_t* index = a.index + r0;
    const float* x = a.x + c0 * k;
    for (int64_t j = 0; j < a.n; ++j, index += kPanel) {
      // Of one column loads take the time, and an index costs none if eight come at once; of more it is less work
      // alone.
      const uint64_t low = N == 1 ? load64(index) : 0, high = N == 1 && R > 8 ? load64(index + 8) : 0;
      // Copies: with references in it, GCC 12 keeps sums in memory on ARM.
      const auto at = [=](int r) {
        if (N > 1) return static_cast<ptrdiff_t>(index[r]);
        return static_cast<ptrdiff_t>((r < 8 ? low : high) >> (8 * (r % 8)) & 255);
      };
#pragma GCC unroll 1
      for (int i = 0; i < d; i += L::width, x += L::width) {
        typename L::reg xv[N];
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) xv[n] = L::repeat(x + n * k);
#pragma GCC unroll 16
        for (int g = 0; g < G; ++g) {
          const auto w = L::load([=](int s) { return a.book + i + at(g / 4 * fours + g % 4 + 4 * s) * d; });
#pragma GCC unroll 8
          for (int n = 0; n < N; ++n) acc[n][g] = L::fma(w, xv[n], acc[n][g]);
        }
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      L::store_sums(sums[n] + r0, acc[n][0], acc[n][1], acc[n][2], acc[n][3]);
      if constexpr (G > 4) L::store_sums(sums[n] + r0 + fours, acc[n][4], acc[n][5], acc[n][6], acc[n][7]);
    }
  }
  const GemmArgs finish{nullptr, nullptr, 0, nullptr, a.y, a.y_stride, a.rows, N, true, true, a.epilogue};
  if constexpr (N == 1) {
    if (a.y_stride == 1 && !a.epilogue.mask) {
      typename V::reg rows[1][1][kPanel / V::width];
#pragma GCC unroll 4
      for (int h = 0; h < kPanel / V::width; ++h) rows[0][0][h] = V::load(sums[0] + h * V::width);
      return finish_column<V, 1>(finish, c0, rows);
    }
  }
  finish_few<V, N>(finish, c0, sums);
}

// As equal groups of columns as can be, of at most L::columns.
template <class V, class L, int D>
inline void dot_all(const CodewordDotArgs& a) {
  int groups = (a.cols + L::columns - 1) / L::columns;
  for (int c0 = 0; groups > 0; --groups) {
    const int n = (a.cols - c0 + groups - 1) / groups;
    switch (n) {
      case 1: dot_columns<V, L, D, 1>(a, c0); break;
      case 2: dot_columns<V, L, D, 2>(a, c0); break;
      case 3: dot_columns<V, L, D, 3>(a, c0); break;
      default:
        if constexpr (L::columns >= 4) {
          if (n == 4) dot_columns<V, L, D, 4>(a, c0);
        }
        if constexpr (L::columns >= 6) {
          if (n == 5) dot_columns<V, L, D, 5>(a, c0);
          if (n == 6) dot_columns<V, L, D, 6>(a, c0);
        }
    }
    c0 += n;
  }
}

// L8 and L4 hold eight and four floats of a codeword; where there is nothing as wide as eight, both are the same.
template <class V, class L8, class L4>
inline void codeword_dot(const CodewordDotArgs& a) {
  if (a.d == 8) dot_all<V, L8, 8>(a);
  else if (a.d == 4) dot_all<V, L4, 4>(a);
  else if (a.d % L8::width == 0) dot_all<V, L8, 0>(a);
  else dot_all<V, L4, 0>(a);
}

template <class V>
inline void widen_s8(const WidenS8Args& a) {
  const auto scale = V::set1(a.scale);
  int64_t i = 0;
  for (; i + V::width <= a.n; i += V::width) V::store(a.out + i, V::mul(V::load(a.in + i), scale));
  for (; i < a.n; ++i) a.out[i] = static_cast<float>(a.in[i]) * a.scale;
}

}  // namespace
}  // namespace pyrt
