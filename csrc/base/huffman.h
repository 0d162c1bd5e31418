// Canonical Huffman codes of at most 12 bits, sent as in deflate (docs/format.md, section 2).
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyrt {

constexpr int kHuffmanMaxLength = 12;
constexpr int kHuffmanStrings = 4;  // bit strings per chunk, decoded side by side to hide latency

// What a bit string begins with: one symbol, or two where the code of the second one lies in the bits looked at too.
// From bit 0: the length of these codes together, at 8 and 16 the symbols, at 24 the length of the first code, at 30
// the number of symbols.
class HuffmanEntry {
 public:
  HuffmanEntry() = default;
  HuffmanEntry(uint32_t symbol, uint32_t length) : bits_(length | symbol << 8 | length << 24 | 1u << 30) {}
  HuffmanEntry(HuffmanEntry a, HuffmanEntry b)
      : bits_((a.first_length() + b.first_length()) | (a.bits_ >> 8 & 255) << 8 | (b.bits_ >> 8 & 255) << 16 |
              a.first_length() << 24 | 2u << 30) {}

  uint32_t symbols() const { return bits_ >> 8; }  // in the lowest two bytes
  uint32_t count() const { return bits_ >> 30; }
  uint32_t length() const { return bits_ & 63; }  // of their codes
  // `window` without the symbols. The shift takes six bits of its operand, and above the length lie zeros.
  uint64_t shift_out(uint64_t window) const { return window >> (bits_ & 63); }
  uint8_t first() const { return static_cast<uint8_t>(bits_ >> 8); }
  uint32_t first_length() const { return bits_ >> 24 & 15; }

 private:
  uint32_t bits_;
};

// An entry for each value of the next `bits` bits.
struct HuffmanTable {
  const HuffmanEntry* entries;
  int bits;
};

// The bits that a table looks at: as many as the longest code has, but 8 at least, so that short codes find pairs. 0
// when the lengths do not form a complete code.
int huffman_table_bits(const uint8_t* lengths, int alphabet);
// Fills 2^bits entries; the lengths must have passed huffman_table_bits.
void huffman_build_table(const uint8_t* lengths, int alphabet, int bits, HuffmanEntry* entries);

// Number of symbols in the bit strings of a chunk of n: string j holds symbols [first(j), first(j + 1)).
inline size_t huffman_string_begin(size_t n, int j) {
  const size_t q = (n + kHuffmanStrings - 1) / kHuffmanStrings;
  return q * static_cast<size_t>(j) < n ? q * static_cast<size_t>(j) : n;
}

// Decodes one bit string with every check; false when it does not hold exactly n symbols in `size` bytes.
bool huffman_decode_checked(const HuffmanTable& table, const uint8_t* in, size_t size, size_t n, uint8_t* out);

}  // namespace pyrt
