// Products of bits: Tile sums a few columns of up to two panels into 16-bit numbers, which lie [column][64 rows] until
// a block of 16 columns is complete; then they become bits, or floats along the columns.
#pragma once

#include "kernels/binary/sums.h"
#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

inline void finish_bits(const BGemmArgs& a, const int16_t* sums, int c0, int n) {
  const uint8_t* mask = a.epilogue.rest.mask;
  for (int p = 0; p * kBitPanel < a.rows; ++p) {
    uint32_t* y = static_cast<uint32_t*>(a.y) + p * a.y_stride;
    const int left = a.rows - p * kBitPanel;
    const uint32_t rows = left < kBitPanel ? (1u << left) - 1 : ~0u;
    for (int c = 0; c < n; ++c) {
      const uint32_t bits = panel_bits(sums + c * kStep + p * kBitPanel, a.epilogue.at_least + p * kBitPanel) & rows;
      const int col = c0 + c;
      y[col] = !mask || (mask[col / 8] >> (col % 8)) & 1 ? bits : 0;
    }
  }
}

template <class V>
inline void finish_floats(const BGemmArgs& a, const int16_t* sums, int c0, int n) {
  alignas(64) int16_t rows[kStep * kBlock];
  for (int r = 0; r < a.rows; r += 8) {
    transpose_8x8(sums + r, rows + r * kBlock);
    if (n > 8) transpose_8x8(sums + 8 * kStep + r, rows + r * kBlock + 8);
  }
  const auto low = V::set1(a.epilogue.low);
  for (int r = 0; r < a.rows; ++r) {
    const RowStore<V> store(a.epilogue.rest, r, a.y_stride);
    float* y = static_cast<float*>(a.y) + r * a.y_stride + c0;
    for (int v = 0; v < n; v += V::width) {
      const auto s = V::max(V::widen(rows + r * kBlock + v), low);
      const int left = n - v;
      if (left >= V::width && !store.slow()) V::store(y + v, store.finish(s, c0 + v));
      else V::store_first(y + v, store.finish_first(s, c0 + v, left < V::width ? left : V::width), left);
    }
  }
}

template <class V, class Tile>
inline void bgemm(const BGemmArgs& a) {
  alignas(64) int16_t sums[kBlock * kStep];
  const int panels = a.rows > kBitPanel ? 2 : 1;
  for (int c0 = 0; c0 < a.cols; c0 += kBlock) {
    const int n = a.cols - c0 < kBlock ? a.cols - c0 : kBlock;
    for (int c = 0; c < n; ++c) {
      const ptrdiff_t zone = a.epilogue.zone ? a.epilogue.zone[c0 + c] : 0;
      std::memcpy(sums + c * kStep, a.epilogue.shift + zone * a.epilogue.shift_stride,
                  sizeof(int16_t) * kBitPanel * static_cast<size_t>(panels));
    }
    int c = 0;
    if (panels == 2) {
      for (; c + Tile::columns <= n; c += Tile::columns)
        Tile::template add<2, Tile::columns>(a, c0 + c, sums + c * kStep);
      for (; c < n; ++c) Tile::template add<2, 1>(a, c0 + c, sums + c * kStep);
    } else {
      for (; c + Tile::columns <= n; c += Tile::columns)
        Tile::template add<1, Tile::columns>(a, c0 + c, sums + c * kStep);
      for (; c < n; ++c) Tile::template add<1, 1>(a, c0 + c, sums + c * kStep);
    }
    if (a.to_bits) finish_bits(a, sums, c0, n);
    else finish_floats<V>(a, sums, c0, n);
  }
}

// Each vector of columns gathers a bit per row.
template <class V>
inline void binarize(const BinarizeArgs& a) {
  for (int64_t c = 0; c < a.cols; c += V::width) {
    const int n = a.cols - c < V::width ? static_cast<int>(a.cols - c) : V::width;
    typename V::ireg bits = V::iset1(0);
    for (int r = 0; r < a.rows; ++r) {
      bits = V::or_where_ge(V::load(a.x + r * a.x_stride + c), V::set1(a.at_least[r]), bits, 1u << r);
    }
    if (a.mask) bits = V::blend(a.mask, c, V::iset1(0), bits);
    if (n == V::width) V::istore(a.y + c, bits);
    else V::istore_first(a.y + c, bits, n);
  }
}

}  // namespace
}  // namespace pyrt
