// Packed indices, eight at a time.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace pyrt {
namespace {

// Eight indices of b bits fill b bytes, so any eight begin at the same bit of a byte: where each lies in its bytes is
// looked up once.
class Indices {
 public:
  Indices(const uint8_t* packed, uint64_t first, int bits)
      : packed_(packed + first * static_cast<uint64_t>(bits) / 8),
        bits_(bits),
        mask_(vdupq_n_u16(static_cast<uint16_t>((1 << bits) - 1))) {
    uint8_t bytes[16];
    int16_t shift[8];
    for (int k = 0, bit = static_cast<int>(first * static_cast<uint64_t>(bits) % 8); k < 8; ++k, bit += bits) {
      bytes[2 * k] = static_cast<uint8_t>(bit / 8);
      bytes[2 * k + 1] = static_cast<uint8_t>(bit / 8 + 1);
      shift[k] = static_cast<int16_t>(-(bit % 8));
    }
    bytes_ = vld1q_u8(bytes);
    shift_ = vld1q_s16(shift);
  }
  // Numbers i .. i + 7, i a multiple of 8.
  uint16x8_t at(int64_t i) const {
    const uint8x16_t eight = vcombine_u8(vld1_u8(packed_ + i / 8 * bits_), vdup_n_u8(0));
    return vandq_u16(vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(eight, bytes_)), shift_), mask_);
  }

 private:
  const uint8_t* packed_;
  int64_t bits_;
  uint16x8_t mask_;
  uint8x16_t bytes_;
  int16x8_t shift_;
};

}  // namespace
}  // namespace pyrt
