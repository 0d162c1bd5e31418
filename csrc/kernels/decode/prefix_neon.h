#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace pyrt {
namespace {

// Distances of eight entries from the entry before them: running sums of (delta + 1).
inline uint16x8_t prefix_sum8(const uint8_t* deltas) {
  const uint16x8_t zero = vdupq_n_u16(0);
  uint16x8_t s = vaddw_u8(vdupq_n_u16(1), vld1_u8(deltas));
  s = vaddq_u16(s, vextq_u16(zero, s, 7));
  s = vaddq_u16(s, vextq_u16(zero, s, 6));
  return vaddq_u16(s, vextq_u16(zero, s, 4));
}

}  // namespace
}  // namespace pyrt
