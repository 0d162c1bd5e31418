// Canonical Huffman codes of at most 12 bits, sent as in deflate (docs/format.md, section 2).
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyrt {

constexpr int kHuffmanMaxLength = 12;
constexpr int kHuffmanStrings = 4;  // bit strings per chunk, decoded side by side to hide latency

// One table entry per value of the next `bits` bits: symbol | length << 8.
struct HuffmanTable {
  const uint16_t* entries;
  int bits;
};

// The longest code length, or 0 when the lengths do not form a complete code.
int huffman_table_bits(const uint8_t* lengths, int alphabet);
// Fills 2^bits entries; the lengths must have passed huffman_table_bits.
void huffman_build_table(const uint8_t* lengths, int alphabet, int bits, uint16_t* entries);

// Number of symbols in the bit strings of a chunk of n: string j holds symbols [first(j), first(j + 1)).
inline size_t huffman_string_begin(size_t n, int j) {
  const size_t q = (n + kHuffmanStrings - 1) / kHuffmanStrings;
  return q * static_cast<size_t>(j) < n ? q * static_cast<size_t>(j) : n;
}

// Decodes one bit string with every check; false when it does not hold exactly n symbols in `size` bytes.
bool huffman_decode_checked(const HuffmanTable& table, const uint8_t* in, size_t size, size_t n, uint8_t* out);

}  // namespace pyrt
