// Huffman decoding in plain C++. Include after the target pragma.
#pragma once

#include <algorithm>

#include "kernels/decode/bits.h"

namespace pyrt {
namespace {

// A bit string on its way to symbols. Its window is an unaligned 64-bit load whose highest bit is set: the zeros that
// shift in above it count the bits that were used.
class HuffmanString {
 public:
  HuffmanString(const HuffmanTable& table, const uint8_t* in, uint8_t* out, uint8_t* end)
      : entries_(table.entries), mask_((1u << table.bits) - 1), in_(in), out_(out), end_(end) {
    window_ = load64(in_) | kMark;
  }
  // One look-up: two bytes are written, of which one or two are symbols.
  __attribute__((always_inline)) void step() {
    const HuffmanEntry entry = entries_[window_ & mask_];
    const auto symbols = static_cast<uint16_t>(entry.symbols());
    std::memcpy(out_, &symbols, 2);
    out_ += entry.count();
    window_ = entry.shift_out(window_);
  }
  __attribute__((always_inline)) void reload() {
    const auto used = static_cast<uint32_t>(__builtin_clzll(window_));
    in_ += used / 8;
    window_ = (load64(in_) | kMark) >> (used % 8);
  }
  ptrdiff_t left() const { return end_ - out_; }
  void finish() {
    for (; left() >= 2; reload()) step();
    if (left() == 1) *out_ = entries_[window_ & mask_].first();
  }

 private:
  static constexpr uint64_t kMark = uint64_t{1} << 63;

  const HuffmanEntry* entries_;
  uint64_t mask_;
  const uint8_t* in_;
  uint8_t *out_, *end_;
  uint64_t window_;
};

// The four bit strings advance side by side, so that one's look-up hides behind the others'.
// looks: the look-ups that a window lasts for.
template <int looks>
inline void huffman_side_by_side(const HuffmanArgs& a) {
  uint16_t sizes[kHuffmanStrings - 1];
  std::memcpy(sizes, a.chunk, sizeof sizes);
  const uint8_t* in[kHuffmanStrings];
  in[0] = a.chunk + sizeof sizes;
  for (int j = 1; j < kHuffmanStrings; ++j) in[j] = in[j - 1] + sizes[j - 1];
  const auto string = [&](int j) {
    return HuffmanString(a.table, in[j], a.out + huffman_string_begin(a.n, j),
                         a.out + huffman_string_begin(a.n, j + 1));
  };
  HuffmanString s0 = string(0), s1 = string(1), s2 = string(2), s3 = string(3);
  for (;;) {
    // As many turns as no string ends in, whatever it holds.
    const ptrdiff_t left = std::min(std::min(s0.left(), s1.left()), std::min(s2.left(), s3.left()));
    if (left < 2 * looks) break;
    for (ptrdiff_t turns = left / (2 * looks); turns > 0; --turns) {
#pragma GCC unroll 5
      for (int i = 0; i < looks; ++i) s0.step(), s1.step(), s2.step(), s3.step();
      s0.reload(), s1.reload(), s2.reload(), s3.reload();
    }
  }
  s0.finish(), s1.finish(), s2.finish(), s3.finish();
}

inline void huffman_four_strings(const HuffmanArgs& a) {
  if (a.n == 0) return;
  // Of 63 bits up to 7 are before the string's own.
  if (a.table.bits <= 11) huffman_side_by_side<5>(a);
  else huffman_side_by_side<4>(a);
}

}  // namespace
}  // namespace pyrt
