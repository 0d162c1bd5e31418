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

// One column: a codeword is multiplied where it lies. D: its size, or 0 for any multiple of the width of L; R rows have
// sums of their own, the lanes of vectors V.
template <class V, class L, int D, int R>
inline void codeword_rows(const CodewordDotArgs& a, int r0, typename V::reg* sums) {
  typename L::reg acc[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) acc[r] = L::zero();
  const int d = D ? D : a.d;
  const uint8_t* index = a.index + r0;
  const float* x = a.x;
  for (int64_t j = 0; j < a.n; ++j, index += kPanel) {
    uint64_t eight[R / 8];
#pragma GCC unroll 2
    for (int h = 0; h < R / 8; ++h) eight[h] = load64(index + 8 * h);
    for (int i = 0; i < d; i += L::width, x += L::width) {
      const auto xv = L::load(x);
      const float* book = a.book + i;
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto at = static_cast<ptrdiff_t>((eight[r / 8] >> (8 * (r % 8))) & 255);
        acc[r] = L::fma(L::load(book + at * d), xv, acc[r]);
      }
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < R / V::width; ++h) sums[h] = L::sum_each(acc + V::width * h);
}

template <class V, class L, int D, int R>
inline void codeword_panel(const CodewordDotArgs& a) {
  typename V::reg acc[1][1][kPanel / V::width];
#pragma GCC unroll 2
  for (int r0 = 0; r0 < kPanel; r0 += R) codeword_rows<V, L, D, R>(a, r0, acc[0][0] + r0 / V::width);
  const GemmArgs finish{nullptr, nullptr, 0, nullptr, a.y, a.y_stride, a.rows, 1, true, true, a.epilogue};
  if (a.y_stride == 1 && !a.epilogue.mask) return finish_column<V, 1>(finish, a.col, acc);
  float sums[1][kPanel];
#pragma GCC unroll 4
  for (int h = 0; h < kPanel / V::width; ++h) V::store(sums[0] + V::width * h, acc[0][0][h]);
  finish_few<V, 1>(finish, a.col, sums);
}

// L8 and L4 hold eight and four floats of a codeword; where there is nothing as wide as eight, both are the same.
template <class V, class L8, class L4, int R>
inline void codeword_dot(const CodewordDotArgs& a) {
  if (a.d == 8) codeword_panel<V, L8, 8, R>(a);
  else if (a.d == 4) codeword_panel<V, L4, 4, R>(a);
  else if (a.d == 16) codeword_panel<V, L8, 16, R>(a);
  else if (a.d % 8 == 0) codeword_panel<V, L8, 0, R>(a);
  else codeword_panel<V, L4, 0, R>(a);
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
