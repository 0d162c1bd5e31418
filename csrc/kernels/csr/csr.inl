// Sparse rows times columns: every entry costs one row of X, loaded as operand of the multiply-adds.
//
// Those loads are the limit, so nothing else is loaded that could be had otherwise: four weights come with one load
// and are spread by shuffles, two offsets with one.
#pragma once

#include <cstring>

#include "kernels/csr/block.inl"
#include "kernels/csr/finish.inl"

namespace pyrt {
namespace {

// One pass over all rows for NV vectors of columns from column 0. U independent sums per vector hide the latency of the
// multiply-add (4 cycles, 2 a cycle: 8 in flight), which rows of a narrow tile could not fill.
// half: of the last vector only the first half is multiplied.
// line: columns of a line in y; those of X are 16 apart. 0 if the vectors lie side by side.
template <class V, int NV, int U, int line = 0, bool half = false>
inline void csr_tile(const CsrArgs& a) {
  // Held in registers: the compiler must think that a store to y changes `a`.
  const float *const x = a.x, *const all_values = a.val;
  const int32_t* const all_off = a.off;
  const uint32_t *const begin = a.begin, *const end = a.end;
  const ptrdiff_t y_stride = a.y_stride;
  const int rows = a.rows;
  const bool first = a.first, last = a.last;
  constexpr int kAhead = 2;  // rows
  float* y = a.y;
  const RowFinish<V> finish(a.epilogue);
  const Place<V, line> place(a);
  for (int r = 0; r < rows; ++r, y += y_stride) {
    const int32_t* off = all_off + begin[r];
    const float* val = all_values + begin[r];
    uint32_t n = end[r] - begin[r];
    if (!(first && last)) {
      // A block of columns jumps from row to row, where no hardware prefetcher follows.
      const uint32_t next = begin[r + kAhead < rows ? r + kAhead : rows - 1];
#pragma GCC unroll 4
      for (int i = 0; i < 3 * 16; i += 16) {
        __builtin_prefetch(all_off + next + i);
        __builtin_prefetch(all_values + next + i);
      }
    }
    typename V::reg acc[U][NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[0][v] = V::zero();
    if (!first) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[0][v] = V::load(y + place(v));
    }
#pragma GCC unroll 8
    for (int u = 1; u < U; ++u)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[u][v] = V::zero();
    const auto add = [&](typename V::reg* sums, typename V::reg w, int64_t at) __attribute__((always_inline)) {
      const float* xk = x + at;
#pragma GCC unroll 8
      for (int v = 0; v < NV - half; ++v) sums[v] = V::fma(w, V::load(xk + Place<V, line>::at(v, 16)), sums[v]);
      if constexpr (half) sums[NV - 1] = V::fma_low(w, xk + (NV - 1) * V::width, sums[NV - 1]);
    };
    const auto two_offsets = [&](const int32_t* p) {
      int64_t pair;
      std::memcpy(&pair, p, 8);
      return pair;
    };
    for (; n >= 4; n -= 4, off += 4, val += 4) {
      const auto w = V::load4(val);
      const int64_t low = two_offsets(off), high = two_offsets(off + 2);
      add(acc[0], V::template splat<0>(w), static_cast<int32_t>(low));
      add(acc[1 % U], V::template splat<1>(w), low >> 32);
      add(acc[2 % U], V::template splat<2>(w), static_cast<int32_t>(high));
      add(acc[3 % U], V::template splat<3>(w), high >> 32);
    }
    if (n & 2) {
      add(acc[0], V::set1(val[0]), off[0]);
      add(acc[1 % U], V::set1(val[1]), off[1]);
      off += 2, val += 2;
    }
    if (n & 1) add(acc[0], V::set1(val[0]), off[0]);
#pragma GCC unroll 8
    for (int u = 1; u < U; ++u)
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[0][v] = V::add(acc[0][v], acc[u][v]);
    if (!last) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) place.store(y, v, acc[0][v]);
      continue;
    }
    finish.template store<NV>(acc[0], r, y, y_stride, place);
    if (!line && finish.slow()) apply_act<V>(a.epilogue.act, y, 0, 1, NV, a.epilogue.mask, 0);
  }
}

// Calls tile(columns from 0, vectors) for all columns, at most `widest` vectors at a time.
template <class V, int widest, class Tile>
inline void for_tiles(CsrArgs a, const Tile& tile) {
  for (;;) {
    const int left = (a.cols + V::width - 1) / V::width;
    tile(a, left < widest ? left : widest);
    if (left <= widest) return;
    constexpr int done = widest * V::width;
    a.cols -= done;
    a.x += done;
    a.y += done;
    if (a.epilogue.residual) a.epilogue.residual += done;
    if (a.epilogue.mask) a.epilogue.mask += done / 8;
  }
}

// widest: 4, or 6 or 8 where there are 32 registers.
template <class V, int widest>
inline void csr(const CsrArgs& args) {
  for_tiles<V, widest>(args, [](const CsrArgs& a, int vectors) {
    if constexpr (V::width == 16) {
      if (a.cols <= 16 * vectors - 8) {
        switch (vectors) {
          case 2: return csr_tile<V, 2, 4, 0, true>(a);
          case 3: return csr_tile<V, 3, 2, 0, true>(a);
          case 4: return csr_tile<V, 4, 2, 0, true>(a);
          case 5: return csr_tile<V, 5, 2, 0, true>(a);
          case 6: return csr_tile<V, 6, 2, 0, true>(a);
        }
      }
    }
    if constexpr (widest > 6) {
      if (vectors == 8) return csr_tile<V, 8, 1>(a);
      if (vectors == 7) return csr_tile<V, 7, 1>(a);
    }
    if constexpr (widest > 4) {
      if (vectors == 6) return csr_tile<V, 6, 2>(a);
      if (vectors == 5) return csr_tile<V, 5, 2>(a);
    }
    if (vectors == 4) csr_tile<V, 4, 2>(a);
    else if (vectors == 3) csr_tile<V, 3, 2>(a);
    else if (vectors == 2) csr_tile<V, 2, 4>(a);
    else csr_tile<V, 1, 4>(a);
  });
}

// A tile of up to `most` lines, with that many vector registers.
template <class V, int line, int most, int registers>
inline void csr_line_tile(const CsrArgs& a) {
  if constexpr (most > 1) {
    if (a.cols < most * line) return csr_line_tile<V, line, most - 1, registers>(a);
  }
  constexpr int vectors = most * line / V::width;
  constexpr int sums = vectors <= 2 ? 4 : 2 * vectors + 4 <= registers ? 2 : 1;
  csr_tile<V, vectors, sums, line>(a);
}

// Any number of lines, in tiles of about the same size.
template <class V, int line, int widest, int registers>
inline void csr_lines(CsrArgs a) {
  const int lines = a.cols / line, passes = (lines + widest - 1) / widest, each = (lines + passes - 1) / passes;
  for (int left = lines; left > 0; left -= each) {
    a.cols = (left < each ? left : each) * line;
    csr_line_tile<V, line, widest, registers>(a);
    a.x += each * 16;
    a.y += each * a.y_line;
    if (a.epilogue.residual) a.epilogue.residual += each * a.y_line;
  }
}

// NV vectors of columns are read and summed whatever their number; the extra ones are not stored.
template <class V, int NV>
inline void csr_few(const CsrFewArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    typename V::reg acc[4][NV];
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u)
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[u][v] = V::zero();
    const auto add = [&](typename V::reg* sums, uint32_t i) __attribute__((always_inline)) {
      const auto w = V::set1(val[i]);
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) sums[v] = V::fma(w, V::load(a.x + off[i] + v * V::width), sums[v]);
    };
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) add(acc[u], i + u);
    }
    for (; i < n; ++i) add(acc[0], i);
    const RowStore<V> store(a.epilogue, r, a.y_stride);
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
      const auto sum = V::add(V::add(acc[0][v], acc[1][v]), V::add(acc[2][v], acc[3][v]));
      const int c = v * V::width;
      V::store_first(a.y + r * a.y_stride + c, store.finish_first(sum, c, a.cols - c), a.cols - c);
    }
    off += n;
    val += n;
  }
}

template <class V>
inline void split_rows(const SplitRowsArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    uint32_t at = a.begin[r];
    while (at < a.end[r]) {
      const int n = a.end[r] - at < V::width ? static_cast<int>(a.end[r] - at) : V::width;
      const int below = V::count_below(a.off + at, n, a.bound);
      at += static_cast<uint32_t>(below);
      if (below < n) break;
    }
    a.at[r] = at;
  }
}

// Copies of NV vectors a row, four rows at a time so that loads that straddle cache lines overlap.
template <class V, int NV>
inline void pack_lines(const float* x, const int32_t* off, int k, float* out, ptrdiff_t stride) {
  const auto copy = [&](int i, int count) __attribute__((always_inline)) {
    typename V::reg v[4][NV];
#pragma GCC unroll 4
    for (int u = 0; u < count; ++u)
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) v[u][n] = V::load(x + off[i + u] + n * V::width);
#pragma GCC unroll 4
    for (int u = 0; u < count; ++u)
#pragma GCC unroll 4
      for (int n = 0; n < NV; ++n) V::store(out + (i + u) * stride + n * V::width, v[u][n]);
  };
  int i = 0;
  for (; i + 4 <= k; i += 4) copy(i, 4);
  for (; i < k; ++i) copy(i, 1);
}

template <class V>
inline void pack_rows(const PackRowsArgs& a) {
  constexpr int vectors = 16 / V::width;
  for (int c = 0; c < a.cols;) {
    if (a.cols - c > 16 && V::width == 16) {
      pack_lines<V, 2>(a.x + c, a.off, a.k, a.out + c, a.stride);
      c += 32;
    } else {
      pack_lines<V, vectors>(a.x + c, a.off, a.k, a.out + c, a.stride);
      c += 16;
    }
  }
}

}  // namespace
}  // namespace pyrt
