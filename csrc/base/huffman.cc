#include "base/huffman.h"

#include <algorithm>
#include <cstring>

namespace pyrt {

int huffman_table_bits(const uint8_t* lengths, int alphabet) {
  int bits = 8;
  uint32_t kraft = 0;  // in units of 2^-12
  for (int s = 0; s < alphabet; ++s) {
    if (lengths[s] > kHuffmanMaxLength) return 0;
    if (lengths[s] == 0) continue;
    if (lengths[s] > bits) bits = lengths[s];
    kraft += 1u << (kHuffmanMaxLength - lengths[s]);
  }
  return kraft == 1u << kHuffmanMaxLength ? bits : 0;
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
  const uint64_t mask = (1u << table.bits) - 1;
  uint64_t bit = 0;
  // What follows the bits that were used, with zeros past the end.
  const auto window = [&] {
    uint64_t bytes = 0;
    const size_t at = bit / 8;
    if (at < size) std::memcpy(&bytes, in + at, std::min(size - at, sizeof bytes));
    return bytes >> bit % 8;
  };
  size_t i = 0;
  // Far from both ends nothing can run over: four look-ups find at most eight symbols and use at most 48 bits.
  while (n - i >= 8 && bit / 8 + 8 <= size) {
    uint64_t bytes;
    std::memcpy(&bytes, in + bit / 8, sizeof bytes);
    bytes >>= bit % 8;
    for (int look = 0; look < 4; ++look) {
      const HuffmanEntry entry = table.entries[bytes & mask];
      const auto symbols = static_cast<uint16_t>(entry.symbols());
      std::memcpy(out + i, &symbols, sizeof symbols);
      i += entry.count();
      bit += entry.length();
      bytes = entry.shift_out(bytes);
    }
  }
  for (; i < n; ++i) {
    const HuffmanEntry entry = table.entries[window() & mask];
    bit += entry.first_length();
    if (bit > 8 * size) return false;
    out[i] = entry.first();
  }
  return (bit + 7) / 8 == size && window() == 0;
}

}  // namespace pyrt
