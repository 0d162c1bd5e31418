// Blocks of 4, 8 or 16 sparse rows with the same columns, times one column, by the deltas of their entries: what an
// entry costs is loads, and an offset made beforehand would be one more, besides the pass that makes it.
#pragma once

#include <cstring>

#include "kernels/csr/finish_rows.inl"

namespace pyrt {
namespace {

// The values of a block are NL vectors Q. Where a vector L is twice as wide as Q, two blocks come with one load, and
// both meet the input of either: the half of a sum that belongs to the other is left out in the end.
template <class V, class L, class Q, int NL>
inline void bcsr_dot(const CsrDotArgs& a) {
  constexpr bool two = L::width > Q::width;
  constexpr int block = NL * Q::width, kSums = 8 / NL;
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const uint8_t* const end = deltas + a.counts[r];
    const float* x = a.x - 1;  // at the column of the last entry
    typename L::reg sums[kSums][NL];
#pragma GCC unroll 8
    for (int s = 0; s < kSums; ++s)
#pragma GCC unroll 4
      for (int l = 0; l < NL; ++l) sums[s][l] = L::zero();
    for (; end - deltas >= 8; deltas += 8, val += 8 * block) {
      const auto distance = static_cast<int64_t>(V::sum8(deltas)) + 8;
      uint64_t eight, at = 0;
      std::memcpy(&eight, deltas, 8);
      typename L::reg values;
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        at += eight >> 8 * j & 255;
        const auto xs = L::set1(j < 7 ? x[at + j + 1] : x[distance]);
#pragma GCC unroll 4
        for (int l = 0; l < NL; ++l) {
          if (!two || j % 2 == 0) values = L::load(val + block * j + l * L::width);
          if (two) L::pin(values);  // the compiler would load it twice
          sums[j % kSums][l] = L::fma(values, xs, sums[j % kSums][l]);
        }
      }
      x += distance;
    }
    typename Q::reg rest[NL];
#pragma GCC unroll 4
    for (int l = 0; l < NL; ++l) {
#pragma GCC unroll 8
      for (int s = two ? 2 : 1; s < kSums; ++s) sums[s % 2 * two][l] = L::add(sums[s % 2 * two][l], sums[s][l]);
      if constexpr (two) rest[l] = L::low_plus_high(sums[0][l], sums[1][l]);
      else rest[l] = sums[0][l];
    }
    for (; deltas < end; ++deltas, val += block) {
      x += *deltas + 1;
#pragma GCC unroll 4
      for (int l = 0; l < NL; ++l) rest[l] = Q::fma(Q::load(val + l * Q::width), Q::set1(*x), rest[l]);
    }
    finish_rows<V, Q, NL>({a.epilogue, a.order, a.y, a.y_stride}, block * r, block, 0, rest);
  }
}

}  // namespace
}  // namespace pyrt
