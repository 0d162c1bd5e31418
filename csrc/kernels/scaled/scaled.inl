// Integers of 8 or 4 bits that share scales, widened to float in registers.
#pragma once

#include "kernels/dense/gemm.inl"

namespace pyrt {
namespace {

// q8: a column is 16 bytes. load(w, h) is vector h of the rows of a step.
template <class V>
struct Bytes {
  static constexpr int columns = 4;  // of a step
  static constexpr int zero = 0;
  using Words = const int8_t*;
  static Words load(const uint8_t* w, int h) { return reinterpret_cast<const int8_t*>(w + h * V::width); }
  template <int J>
  static typename V::reg field(Words w) {
    return V::load(w + J * kPanel);
  }
  static constexpr float factor(int) { return 1.0f; }
};

// q4: eight columns are 16 words. A field is masked where it lies in its half of the word and converted there, as a
// multiple of a power of two by which X has been divided; what a field has too much, 8, is taken off a group's sum at
// once. So a vector of weights costs an `and`, a conversion and an FMA.
template <class V>
struct Nibbles {
  static constexpr int columns = 8;
  static constexpr int zero = 8;
  using Words = typename V::ireg;
  static Words load(const uint8_t* w, int h) { return V::iload(w + h * 4 * V::width); }
  template <int J>
  static typename V::reg field(Words w) {
    // Of the last four the words are shifted once, when the first four are done: both forms would not fit the
    // registers.
    return V::to_f32(V::iand(J < 4 ? w : V::high_halves(w), V::iset1(15 << (4 * (J % 4)))));
  }
  static constexpr float factor(int j) { return 1.0f / static_cast<float>(1 << (4 * (j % 4))); }
};

template <class V, class Q, int N, int U, int J>
__attribute__((always_inline)) inline void scaled_column(const ScaledArgs& a,
                                                         const typename Q::Words (&words)[kPanel / V::width],
                                                         const float* x,
                                                         typename V::reg (&acc)[U][N][kPanel / V::width]) {
  constexpr int H = kPanel / V::width;
  if constexpr (J < Q::columns) {
    typename V::reg v[H];
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) v[h] = Q::template field<J>(words[h]);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const Broadcast<V, 4> xs(x + static_cast<ptrdiff_t>(n) * a.product.k + J / 4 * 4);
      const auto xn = xs[J % 4];
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) acc[J % U][n][h] = V::fma(xn, v[h], acc[J % U][n][h]);
    }
    scaled_column<V, Q, N, U, J + 1>(a, words, x, acc);
  }
}

template <class V, class Q, class S, int N, int U>
inline void scaled_tile(const ScaledArgs& a, int c0) {
  constexpr int H = kPanel / V::width;
  const GemmArgs& p = a.product;
  const auto* w = static_cast<const uint8_t*>(p.w);
  const S* scales = static_cast<const S*>(a.scales);
  const float* x = p.x + static_cast<ptrdiff_t>(c0) * p.k;
  const float* sums = a.sums + static_cast<ptrdiff_t>(c0) * a.groups;
  typename V::reg total[1][N][H];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) total[0][n][h] = V::zero();
  for (int k = 0, g = 0; k < p.k; ++g, scales += kPanel) {
    typename V::reg acc[U][N][H];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) {
        acc[0][n][h] = Q::zero ? V::set1(-sums[n * a.groups + g]) : V::zero();
#pragma GCC unroll 8
        for (int u = 1; u < U; ++u) acc[u][n][h] = V::zero();
      }
    const int end = p.k - k < a.group ? p.k : k + a.group;
    for (; k < end; k += Q::columns, w += 64) {
      __builtin_prefetch(w + 64 * 64);  // the hardware does not look past a 4 KB page
      typename Q::Words words[H];
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) words[h] = Q::load(w, h);
      scaled_column<V, Q, N, U, 0>(a, words, x + k, acc);
    }
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      const auto scale = V::load(scales + h * V::width);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        auto sum = acc[0][n][h];
#pragma GCC unroll 8
        for (int u = 1; u < U; ++u) sum = V::add(sum, acc[u][n][h]);
        total[0][n][h] = V::fma(scale, sum, total[0][n][h]);
      }
    }
  }
  if constexpr (N == 1) {
    if (p.y_stride == 1 && !p.epilogue.mask) return finish_column<V, 1>(p, c0, total);
  }
  float out[N][kPanel];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) V::store(out[n] + h * V::width, total[0][n][h]);
  finish_few<V, N>(p, c0, out);
}

// fma(field * 2^j, scale / 2^j, -zero * scale) rounds scale * integer once: both factors are exact.
template <class V, class Q, int J>
inline void widen_column(const typename Q::Words& words, const typename V::reg (&scale)[4], typename V::reg zero,
                         float* out) {
  if constexpr (J < Q::columns) {
    V::store(out + J * kPanel, V::fma(Q::template field<J>(words), scale[J % 4], zero));
    widen_column<V, Q, J + 1>(words, scale, zero, out);
  }
}

template <class V, class Q, class S>
inline void widen_scaled(const WidenScaledArgs& a) {
  const uint8_t* w = a.w;
  float* out = a.out;
  for (int64_t k = a.first, end = a.first + a.n; k < end;) {
    const S* scales = static_cast<const S*>(a.scales) + k / a.group * kPanel;
    const int64_t next = std::min(end, (k / a.group + 1) * a.group);
    const uint8_t* group_w = w;
    float* group_out = out;
#pragma GCC unroll 4
    for (int h = 0; h < kPanel / V::width; ++h) {
      const auto s = V::load(scales + h * V::width), zero = V::mul(s, V::set1(-static_cast<float>(Q::zero)));
      typename V::reg scale[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) scale[j] = V::mul(s, V::set1(Q::factor(j)));
      w = group_w, out = group_out;
      for (int64_t i = k; i < next; i += Q::columns, w += 64, out += Q::columns * kPanel) {
        widen_column<V, Q, 0>(Q::load(w, h), scale, zero, out + h * V::width);
      }
    }
    k = next;
  }
}

template <class V, class Q>
inline void widen_scaled(const WidenScaledArgs& a) {
  if (a.halves) widen_scaled<V, Q, uint16_t>(a);
  else widen_scaled<V, Q, float>(a);
}

}  // namespace
}  // namespace pyrt
