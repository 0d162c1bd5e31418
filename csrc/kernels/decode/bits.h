// Reading packed bits. Include after the target pragma: what is here is compiled for the kernel that uses it.
#pragma once

#include <cstring>

#include "kernels/kernels.h"

namespace pyrt {
namespace {

inline uint64_t load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

// The columns of n more entries of a row, after one in column `col`.
inline void expand_cols_from(const ExpandColsArgs& a, int32_t col, const uint8_t* deltas, uint32_t n, int32_t* off) {
  for (uint32_t i = 0; i < n; ++i) {
    col += 1 + deltas[i];
    off[i] = a.table ? a.table[col] : col * a.stride;
  }
}

// Index i of a stream.
inline uint64_t index_at(const uint8_t* packed, uint64_t i, int bits) {
  const uint64_t bit = i * static_cast<uint64_t>(bits);
  return (load64(packed + bit / 8) >> (bit % 8)) & ((1u << bits) - 1);
}

// The book of s8 as tables of 16 bytes.
struct S8Tables {
  alignas(16) int8_t at[256] = {};
  int count;  // tables

  explicit S8Tables(const ExpandIndexS8Args& a) : count((a.book_size + 15) / 16) {
    std::memcpy(at, a.book, static_cast<size_t>(a.book_size));
  }
};

// Indices i.. of a book of s8, one by one.
inline void expand_s8_from(const ExpandIndexS8Args& a, int64_t i) {
  for (; i < a.n; ++i) a.out[i] = a.book[index_at(a.packed, a.first + static_cast<uint64_t>(i), a.bits)];
}

// Looks up indices i.. of any book one by one, eight from a word: an unaligned one holds 57 bits from any bit position,
// enough for eight indices of 7 bits; those of 8 bits are aligned. For books in L1 this beats a gather.
inline void expand_from(const ExpandIndexArgs& a, int64_t i) {
  const auto bits = static_cast<uint64_t>(a.bits);
  const uint32_t mask = (1u << a.bits) - 1;
  uint64_t bit = (a.first + static_cast<uint64_t>(i)) * bits;
  for (; i + 8 <= a.n; i += 8, bit += 8 * bits) {
    uint64_t window = load64(a.packed + bit / 8) >> (bit % 8);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k, window >>= bits) a.out[i + k] = a.book[window & mask];
  }
  for (; i < a.n; ++i, bit += bits) a.out[i] = a.book[(load64(a.packed + bit / 8) >> (bit % 8)) & mask];
}

}  // namespace
}  // namespace pyrt
