#include "base/huffman.h"

#include <cstring>

namespace pyrt {

int huffman_table_bits(const uint8_t* lengths, int alphabet) {
  int longest = 8;
  uint32_t kraft = 0;  // in units of 2^-12
  for (int s = 0; s < alphabet; ++s) {
    if (lengths[s] > kHuffmanMaxLength) return 0;
    if (lengths[s] == 0) continue;
    if (lengths[s] > longest) longest = lengths[s];
    kraft += 1u << (kHuffmanMaxLength - lengths[s]);
  }
  return kraft == 1u << kHuffmanMaxLength ? longest : 0;
}

void huffman_build_table(const uint8_t* lengths, int alphabet, int bits, HuffmanEntry* entries) {
  uint32_t next = 0;  // next code, left-aligned to `bits`
  for (int length = 1; length <= bits; ++length) {
    for (int s = 0; s < alphabet; ++s) {
      if (lengths[s] != length) continue;
      // Bits arrive least significant first, so the table index is the reversed code plus any higher bits.
      uint32_t reversed = 0;
      for (int i = 0; i < length; ++i) reversed |= ((next >> (bits - 1 - i)) & 1) << i;
      const HuffmanEntry entry(static_cast<uint32_t>(s), static_cast<uint32_t>(length));
      for (uint32_t i = reversed; i < 1u << bits; i += 1u << length) entries[i] = entry;
      next += 1u << (bits - length);
    }
  }
  for (uint32_t i = 0; i < 1u << bits; ++i) {
    const HuffmanEntry entry = entries[i], after = entries[i >> entry.first_length()];
    if (entry.first_length() + after.first_length() <= static_cast<uint32_t>(bits)) entries[i] = {entry, after};
  }
}

bool huffman_decode_checked(const HuffmanTable& table, const uint8_t* in, size_t size, size_t n, uint8_t* out) {
  uint64_t window = 0;
  int held = 0;
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    while (held <= 56 && at < size) {
      window |= static_cast<uint64_t>(in[at++]) << held;
      held += 8;
    }
    const HuffmanEntry entry = table.entries[window & ((1u << table.bits) - 1)];
    const auto length = static_cast<int>(entry.first_length());
    if (length > held) return false;
    out[i] = entry.first();
    window >>= length;
    held -= length;
  }
  return at == size && held < 8 && window == 0;
}

}  // namespace pyrt
