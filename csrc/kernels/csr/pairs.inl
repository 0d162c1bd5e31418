// Two values of every four columns. In panels of 16 rows: the rows are the lanes of a vector, and a permutation within
// 128 bits, where four inputs lie, brings each row the one it wants. So an entry costs no load but its value's.
#pragma once

#include "kernels/csr/finish_rows.inl"

namespace pyrt {
namespace {

// NC columns of a panel, U groups of four columns of W at a time.
template <class V, int NC, int U>
inline void pairs_columns(const PairsArgs& a, int column) {
  constexpr int NL = 16 / V::width;
  typename V::reg acc[U][NC][NL];
#pragma GCC unroll 4
  for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
    for (int c = 0; c < NC; ++c)
#pragma GCC unroll 4
      for (int l = 0; l < NL; ++l) acc[u][c][l] = V::zero();
  const float *const x = a.x + column * a.x_stride, *val = a.val;
  const ptrdiff_t x_stride = a.x_stride;
  const uint32_t* places = a.places;
  const auto add = [&](typename V::reg(*sums)[NL], int64_t k) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int j = 0; j < 2; ++j)
#pragma GCC unroll 4
      for (int l = 0; l < NL; ++l) {
        const auto at = V::places(places[2 * k + j], l);
        const auto w = V::load(val + 32 * k + 16 * j + l * V::width);
#pragma GCC unroll 4
        for (int c = 0; c < NC; ++c) {
          sums[c][l] = V::fma(w, V::pick(V::repeat4(x + c * x_stride + 4 * k), at), sums[c][l]);
        }
      }
  };
  int64_t k = 0;
  for (; k + U <= a.fours; k += U) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) add(acc[u], k + u);
  }
  for (; k < a.fours; ++k) add(acc[0], k);
#pragma GCC unroll 4
  for (int c = 0; c < NC; ++c) {
    // A copy: sums whose address leaves the function would be stored in every turn of the loop.
    typename V::reg sums[NL];
#pragma GCC unroll 4
    for (int l = 0; l < NL; ++l) {
      sums[l] = acc[0][c][l];
#pragma GCC unroll 4
      for (int u = 1; u < U; ++u) sums[l] = V::add(sums[l], acc[u][c][l]);
    }
    finish_rows<V, V, NL>({a.epilogue, nullptr, a.y, a.y_stride}, 0, a.rows, column + c, sums);
  }
}

// widest: columns that share the places, 2 or 4.
template <class V, int widest>
inline void pairs_few(const PairsArgs& a) {
  int c = 0;
  for (; c + widest <= a.cols; c += widest) pairs_columns<V, widest, 1>(a, c);
  if (widest > 2 && c + 2 <= a.cols) {
    pairs_columns<V, 2, 2>(a, c);
    c += 2;
  }
  if (c < a.cols) pairs_columns<V, 1, V::width == 16 ? 4 : 2>(a, c);
}

// To the entries of CSR: as many entries of as many rows as a vector has lanes are a square to transpose.
template <class V>
inline void expand_pairs(const ExpandPairsArgs& a) {
  constexpr int W = V::width;
  const int n = 2 * a.fours;  // entries of a row
  const auto one = [&](int r, int e) {
    const int k = e / 2, j = e % 2;
    const auto col = static_cast<int32_t>(4 * k + ((a.places[e] >> 2 * r) & 3));
    a.off[r * n + e] = a.table ? a.table[col] : col * a.stride;
    a.out[r * n + e] = a.val[32 * k + 16 * j + r];
  };
  int e = 0;
  for (; e + W <= n; e += W) {
    for (int r0 = 0; r0 < a.rows; r0 += W) {
      typename V::reg values[W], cols[W];
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) {
        values[i] = V::load(a.val + 16 * static_cast<int64_t>(e + i) + r0);
        cols[i] = V::columns(V::places(a.places[e + i], r0 / W), (e + i) / 2 * 4);
      }
      V::transpose(values);
      V::transpose(cols);
      const int rows = a.rows - r0 < W ? a.rows - r0 : W;
#pragma GCC unroll 8
      for (int r = 0; r < W; ++r) {
        if (r >= rows) break;
        const int64_t to = static_cast<int64_t>(r0 + r) * n + e;
        V::store_offsets(a.off + to, cols[r], a.table, a.stride);
        V::store(a.out + to, values[r]);
      }
    }
  }
  for (int r = 0; r < a.rows; ++r) {
    for (int left = e; left < n; ++left) one(r, left);
  }
}

}  // namespace
}  // namespace pyrt
