#include <cstring>

#include "kernels/ref.h"

namespace pyrt {
namespace {

template <class Delta>
void expand_cols(const ExpandColsArgs& a) {
  const auto* deltas = static_cast<const Delta*>(a.deltas);
  int32_t* off = a.off;
  for (int r = 0; r < a.rows; ++r) {
    int32_t col = -1;
    for (uint32_t i = 0; i < a.counts[r]; ++i) {
      col += 1 + *deltas++;
      *off++ = a.table ? a.table[col] : col * a.stride;
    }
  }
}

template <class Delta>
void expand_csr_s8(const ExpandCsrS8Args& a) {
  const auto* deltas = static_cast<const Delta*>(a.w.deltas);
  const int8_t* values = a.w.values;
  for (int r = 0; r < a.w.rows; ++r) {
    int8_t* row = a.out + 4 * r;
    uint32_t col = ~0u;
    const uint32_t n = a.w.counts[r];
    for (uint32_t i = 0; i < n; ++i) {
      col += 1u + *deltas++;
      row[(col & ~3u) * kPanel + (col & 3)] = *values++;
    }
  }
}

// Entries of a book of f32 or of s8.
template <class Args>
void expand_index(const Args& a) {
  const uint32_t mask = (1u << a.bits) - 1;
  uint64_t bit = a.first * static_cast<uint64_t>(a.bits);
  for (int64_t i = 0; i < a.n; ++i, bit += static_cast<uint64_t>(a.bits)) {
    uint64_t window;
    std::memcpy(&window, a.packed + bit / 8, 8);
    a.out[i] = a.book[(window >> (bit % 8)) & mask];
  }
}

}  // namespace

void expand_cols_u8__ref(const ExpandColsArgs& a) { expand_cols<uint8_t>(a); }
void expand_cols_u16__ref(const ExpandColsArgs& a) { expand_cols<uint16_t>(a); }

void expand_index_f32__ref(const ExpandIndexArgs& a) { expand_index(a); }
void expand_index_s8__ref(const ExpandIndexS8Args& a) { expand_index(a); }

void expand_csr_s8__ref(const ExpandCsrS8Args& a) {
  std::memset(a.out, 0, static_cast<size_t>(a.k * kPanel));
  if (a.w.delta_bits == 8) expand_csr_s8<uint8_t>(a);
  else expand_csr_s8<uint16_t>(a);
}

void widen_f16__ref(const WidenArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) a.out[i] = ref_widen(a.in[i]);
}

void huffman_u8__ref(const HuffmanArgs& a) {
  if (a.n == 0) return;
  uint16_t sizes[kHuffmanStrings - 1];
  std::memcpy(sizes, a.chunk, sizeof sizes);
  const uint8_t* in = a.chunk + sizeof sizes;
  for (int j = 0; j < kHuffmanStrings; ++j) {
    const size_t size = j < kHuffmanStrings - 1 ? sizes[j] : static_cast<size_t>(a.chunk + a.size - in);
    const size_t begin = huffman_string_begin(a.n, j), end = huffman_string_begin(a.n, j + 1);
    huffman_decode_checked(a.table, in, size, end - begin, a.out + begin);
    in += size;
  }
}

}  // namespace pyrt
