// Products of bits: Tile sums a few columns of up to two panels into 16-bit numbers, which lie [column][64 rows] until
// a block of 16 columns is complete; then they become bits, or floats along the columns.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

constexpr int kBlock = 16;            // columns
constexpr int kStep = 2 * kBitPanel;  // rows between columns of a block

inline void transpose_8x8(const int16_t* from, int16_t* to) {
  const auto load = [&](int c) { return _mm_load_si128(reinterpret_cast<const __m128i*>(from + c * kStep)); };
  const auto store = [&](int r, __m128i v) { _mm_store_si128(reinterpret_cast<__m128i*>(to + r * kBlock), v); };
  const __m128i a0 = _mm_unpacklo_epi16(load(0), load(1)), a1 = _mm_unpackhi_epi16(load(0), load(1));
  const __m128i b0 = _mm_unpacklo_epi16(load(2), load(3)), b1 = _mm_unpackhi_epi16(load(2), load(3));
  const __m128i c0 = _mm_unpacklo_epi16(load(4), load(5)), c1 = _mm_unpackhi_epi16(load(4), load(5));
  const __m128i d0 = _mm_unpacklo_epi16(load(6), load(7)), d1 = _mm_unpackhi_epi16(load(6), load(7));
  const auto four = [&](int r, __m128i a, __m128i b, __m128i c, __m128i d) {
    const __m128i low = _mm_unpacklo_epi32(a, b), high = _mm_unpackhi_epi32(a, b);
    const __m128i low2 = _mm_unpacklo_epi32(c, d), high2 = _mm_unpackhi_epi32(c, d);
    store(r, _mm_unpacklo_epi64(low, low2));
    store(r + 1, _mm_unpackhi_epi64(low, low2));
    store(r + 2, _mm_unpacklo_epi64(high, high2));
    store(r + 3, _mm_unpackhi_epi64(high, high2));
  };
  four(0, a0, b0, c0, d0);
  four(4, a1, b1, c1, d1);
}

// One bit per row of a panel: sums >= at_least, whose least value is above the least of 16 bits.
inline uint32_t panel_bits(const int16_t* sums, const int16_t* at_least) {
  const __m256i one = _mm256_set1_epi16(1);
  const auto above = [&](int r) {
    const __m256i s = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + r));
    const __m256i t = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at_least + r));
    return _mm256_cmpgt_epi16(s, _mm256_sub_epi16(t, one));
  };
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(above(0), above(16)), 0xd8);
  return static_cast<uint32_t>(_mm256_movemask_epi8(bytes));
}

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
