// Weights of one or two bits times columns of float, by tables: of a few neighbouring elements of x a register holds
// every sum that bits may ask for, and the bits of a row are the index of its own.
#pragma once

#include <algorithm>

#include "kernels/dense/gemm.inl"

namespace pyrt {
namespace {

constexpr int kWord = 32;  // columns of a row in a word

// What an element counts in sum i, whose bits i are set: one where it has its bit, else nothing, or minus one.
struct Counts {
  constexpr Counts() : of() {
    for (int clear = 0; clear < 2; ++clear)
      for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 16; ++i) of[clear][j][i] = i >> j & 1 ? 1.0f : clear ? -1.0f : 0.0f;
  }
  alignas(64) float of[2][4][16];
};
constexpr Counts kCounts;

// A table is a register: 16 sums of 4 elements, or 8 of 3. The last table of a word has what is left.
template <class V>
struct RegisterTables {
  static constexpr int elements = V::width == 16 ? 4 : 3;
  static constexpr int count = (kWord + elements - 1) / elements;  // of a word
  static constexpr int floats = count * V::width;                  // of a word

  // Those of k elements. signs: a clear bit is -1.
  static void make(const float* x, int k, bool signs, float* tables) {
    typename V::reg counts[4];
#pragma GCC unroll 4
    for (int j = 0; j < elements; ++j) counts[j] = V::load(kCounts.of[signs][j]);
    for (const float* end = x + k; x < end; x += kWord) {
#pragma GCC unroll 16
      for (int t = 0; t < count; ++t, tables += V::width) {
        const float* first = x + t * elements;
        auto sum = V::mul(V::set1(first[0]), counts[0]);
#pragma GCC unroll 4
        for (int j = 1; j < elements; ++j) {
          if (t * elements + j < kWord) sum = V::fma(V::set1(first[j]), counts[j], sum);
        }
        V::store(tables, sum);
      }
    }
  }

  // Adds what a word of each of S vectors of rows asks for. at(s): where the words of vector s lie; `column` floats
  // between the tables of columns; `step` words to the next 32 columns of the weight.
  template <int N, int S, class At>
  static void add(const At& at, ptrdiff_t step, const float* tables, ptrdiff_t column, typename V::reg (&acc)[N][S]) {
    typename V::ireg index[S];
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      if (s % (kPanel / V::width) == 0) __builtin_prefetch(at(s) + 16 * step);
      index[s] = V::iload(at(s));
    }
// Unrolled, this loop would keep the sums on the stack.
#pragma GCC unroll 1
    for (int t = 0; t < count; ++t, tables += V::width) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const auto table = V::load(tables + n * column);
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) acc[n][s] = V::add(acc[n][s], V::lookup(table, index[s]));
      }
#pragma GCC unroll 8
      for (int s = 0; s < S; ++s) index[s] = V::template shift_right<elements>(index[s]);
    }
  }
};

template <class V, int N>
inline void finish_panel(const TernaryArgs& a, int panel, int c0,
                         const typename V::reg (&sums)[1][N][kPanel / V::width]) {
  GemmArgs y = a.product;
  const int row = panel * kPanel;
  y.y += row * y.y_stride;
  y.rows = std::min(kPanel, y.rows - row);
  if (y.epilogue.scale) y.epilogue.scale += row;
  if (y.epilogue.bias) y.epilogue.bias += row;
  if (y.epilogue.residual) y.epilogue.residual += row * y.y_stride;
  if constexpr (N == 1) {
    if (y.y_stride == 1 && !y.epilogue.mask) return finish_column<V, 1>(y, c0, sums);
  }
  float out[N][kPanel];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
    for (int h = 0; h < kPanel / V::width; ++h) V::store(out[n] + h * V::width, sums[0][n][h]);
  finish_few<V, N>(y, c0, out);
}

// R panels of P planes times N columns, with the tables T.
template <class V, class T, int P, int N, int R>
inline void ternary_tile(const TernaryArgs& a, int panel, int c0) {
  constexpr int H = kPanel / V::width;
  const int words = a.product.k / kWord;
  const ptrdiff_t panel_words = static_cast<ptrdiff_t>(words) * P * kPanel;
  const ptrdiff_t column = static_cast<ptrdiff_t>(words) * T::floats;
  const auto* w = static_cast<const uint32_t*>(a.product.w) + panel * panel_words;
  const float* tables = a.tables + c0 * column;
  // Vector s is part s % H of plane s / H % P of panel s / H / P.
  constexpr int S = R * P * H;
  const auto at = [&](int s) { return w + s / H / P * panel_words + s / H % P * kPanel + s % H * V::width; };
  typename V::reg acc[N][S];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) acc[n][s] = V::zero();
  for (int i = 0; i < words; ++i, w += P * kPanel, tables += T::floats) T::add(at, P * kPanel, tables, column, acc);
  // In memory from here on; in the loop above they must not be.
  typename V::reg sums[R][1][N][H];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const float* scales = a.scales + (panel + r) * P * kPanel;
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) {
        auto sum = V::mul(acc[n][r * P * H + h], V::load(scales + h * V::width));
        if (P == 2) sum = V::fma(acc[n][(r * P + P - 1) * H + h], V::load(scales + kPanel + h * V::width), sum);
        sums[r][0][n][h] = sum;
      }
  }
  for (int r = 0; r < R; ++r) finish_panel<V, N>(a, panel + r, c0, sums[r]);
}

// R panels at a time, as many as the registers hold the sums of.
template <class V, class T, int P, int N, int R>
inline void ternary_columns(const TernaryArgs& a, int c0) {
  const int panels = (a.product.rows + kPanel - 1) / kPanel;
  int panel = 0;
  for (; panels - panel >= R; panel += R) ternary_tile<V, T, P, N, R>(a, panel, c0);
  for (; panel < panels; ++panel) ternary_tile<V, T, P, N, 1>(a, panel, c0);
}

// `Sums`: registers of sums.
template <class V, class T, int P, int Sums>
inline void ternary(const TernaryArgs& a) {
  constexpr int kOne = Sums / (P * kPanel / V::width);  // panels at a time of one column
  const GemmArgs& p = a.product;
  for (int c = 0; c < p.cols; ++c) {
    T::make(p.x + static_cast<ptrdiff_t>(c) * p.k, p.k, P == 1,
            a.tables + static_cast<ptrdiff_t>(c) * (p.k / kWord) * T::floats);
  }
  int c0 = 0;
  if constexpr (kOne >= 2) {
    for (; p.cols - c0 >= 2; c0 += 2) ternary_columns<V, T, P, 2, kOne / 2>(a, c0);
  }
  for (; c0 < p.cols; ++c0) ternary_columns<V, T, P, 1, kOne>(a, c0);
}

// The next 32 columns at a time, from their lowest bit.
template <class V, int P>
inline void widen_ternary(const WidenTernaryArgs& a) {
  for (int h = 0; h < kPanel; h += V::width) {
    const auto first = V::load(a.scales + h),
               second = P == 1 ? V::sub(V::zero(), first) : V::load(a.scales + kPanel + h);
    const uint32_t* w = a.w + h;
    float* out = a.out + h;
    for (int k = 0; k < a.n; k += kWord, w += P * kPanel) {
      auto plane = V::iload(w), other = P == 1 ? plane : V::iload(w + kPanel);
      for (int j = 0; j < kWord; ++j, out += kPanel) {
        const auto clear = P == 1 ? second : V::where_odd(other, second, V::zero());
        V::store(out, V::where_odd(plane, first, clear));
        plane = V::template shift_right<1>(plane);
        if (P == 2) other = V::template shift_right<1>(other);
      }
    }
  }
}

}  // namespace
}  // namespace pyrt
