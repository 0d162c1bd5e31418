// Columns of W to offsets in X, sixteen at a time. Include after the vector type.
#pragma once

#include "kernels/kernels.h"

namespace pyrt {
namespace {

// Without a table: columns are `stride` apart.
class LinearOffsets {
 public:
  explicit LinearOffsets(const ExpandColsArgs& a) : stride_(_mm512_set1_epi32(a.stride)) {}
  __m512i operator()(__m512i cols) const { return _mm512_mullo_epi32(cols, stride_); }

 private:
  __m512i stride_;
};

// With a table that repeats itself every 2 to 16 columns: its first entries lie in a register, where sixteen loads
// would take longer than all else.
class TapOffsets {
 public:
  static bool can(const ExpandColsArgs& a) { return a.taps > 0 && a.taps <= 16; }
  explicit TapOffsets(const ExpandColsArgs& a)
      : first_(Avx512::load_first(reinterpret_cast<const float*>(a.table), a.taps)),
        taps_(_mm512_set1_epi32(a.taps)),
        stride_(_mm512_set1_epi32(a.stride)),
        inverse_(Avx512::set1(1.0f / static_cast<float>(a.taps))),
        half_(Avx512::set1(0.5f / static_cast<float>(a.taps))) {}
  __m512i operator()(__m512i cols) const {
    // (column + 1/2) / taps is far enough from a whole number for the rounding of floats.
    const __m512i channel = _mm512_cvttps_epi32(Avx512::fma(_mm512_cvtepi32_ps(cols), inverse_, half_));
    const __m512i tap = _mm512_sub_epi32(cols, _mm512_mullo_epi32(channel, taps_));
    return _mm512_add_epi32(_mm512_castps_si512(_mm512_permutexvar_ps(tap, first_)),
                            _mm512_mullo_epi32(channel, stride_));
  }

 private:
  __m512 first_;
  __m512i taps_, stride_;
  __m512 inverse_, half_;
};

}  // namespace
}  // namespace pyrt
