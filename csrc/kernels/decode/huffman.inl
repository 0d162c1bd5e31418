// Huffman decoding in plain C++. Include after the target pragma.
#pragma once

#include "kernels/decode/bits.h"

namespace pyrt {
namespace {

// The four bit strings advance side by side, so that one's table look-up hides behind the others'. Four symbols of at
// most 12 bits fit into what an unaligned 64-bit load gives past the first 7 bits.
inline void huffman_four_strings(const HuffmanArgs& a) {
  if (a.n == 0) return;
  uint16_t sizes[kHuffmanStrings - 1];
  std::memcpy(sizes, a.chunk, sizeof sizes);
  const uint8_t* in[kHuffmanStrings];
  in[0] = a.chunk + sizeof sizes;
  for (int j = 1; j < kHuffmanStrings; ++j) in[j] = in[j - 1] + sizes[j - 1];
  const size_t q = huffman_string_begin(a.n, 1);
  // The last string may be shorter than q, or the last ones empty; all four run together as far as it goes.
  const size_t last = a.n - huffman_string_begin(a.n, 3);
  const size_t together = a.n >= 3 * q ? last / 4 * 4 : 0;
  const uint16_t* const table = a.table.entries;
  const uint64_t mask = (1u << a.table.bits) - 1;
  const uint8_t *in0 = in[0], *in1 = in[1], *in2 = in[2], *in3 = in[3];
  uint8_t *out0 = a.out, *out1 = out0 + q, *out2 = out1 + q, *out3 = out2 + q;
  uint64_t bit0 = 0, bit1 = 0, bit2 = 0, bit3 = 0;
  // Plain variables instead of arrays: GCC would keep arrays in memory.
  const auto step = [&](uint64_t& window, uint64_t& bit, uint8_t* out) {
    const uint32_t entry = table[window & mask];
    *out = static_cast<uint8_t>(entry);
    window >>= entry >> 8;
    bit += entry >> 8;
  };
  for (size_t i = 0; i < together; i += 4) {
    uint64_t w0 = load64(in0 + bit0 / 8) >> (bit0 % 8), w1 = load64(in1 + bit1 / 8) >> (bit1 % 8);
    uint64_t w2 = load64(in2 + bit2 / 8) >> (bit2 % 8), w3 = load64(in3 + bit3 / 8) >> (bit3 % 8);
#pragma GCC unroll 4
    for (size_t k = i; k < i + 4; ++k) {
      step(w0, bit0, out0 + k);
      step(w1, bit1, out1 + k);
      step(w2, bit2, out2 + k);
      step(w3, bit3, out3 + k);
    }
  }
  const uint64_t bits[kHuffmanStrings] = {bit0, bit1, bit2, bit3};
  for (int j = 0; j < kHuffmanStrings; ++j) {
    uint64_t bit = bits[j];
    const size_t end = huffman_string_begin(a.n, j + 1);
    for (size_t i = huffman_string_begin(a.n, j) + together; i < end; ++i) {
      uint64_t window = load64(in[j] + bit / 8) >> (bit % 8);
      step(window, bit, a.out + i);
    }
  }
}

}  // namespace
}  // namespace pyrt
