// Columns of W to offsets in X, eight at a time. Include after the vector type.
#pragma once

#include "kernels/kernels.h"

namespace pyrt {
namespace {

// Without a table: columns are `stride` apart.
class LinearOffsets {
 public:
  explicit LinearOffsets(const ExpandColsArgs& a) : stride_(_mm256_set1_epi32(a.stride)) {}
  __m256i operator()(__m256i cols) const { return _mm256_mullo_epi32(cols, stride_); }

 private:
  __m256i stride_;
};

class TableOffsets {
 public:
  explicit TableOffsets(const ExpandColsArgs& a) : table_(a.table) {}
  __m256i operator()(__m256i cols) const { return _mm256_i32gather_epi32(table_, cols, 4); }

 private:
  const int32_t* table_;
};

// With a table that repeats itself every 2 to 16 columns: its first entries lie in registers, where a gather would take
// longer than all else.
class TapOffsets {
 public:
  static bool can(const ExpandColsArgs& a) { return a.taps > 0 && a.taps <= 16; }
  explicit TapOffsets(const ExpandColsArgs& a)
      : low_(Avx2::load_first(reinterpret_cast<const float*>(a.table), a.taps)),
        high_(Avx2::load_first(reinterpret_cast<const float*>(a.table + 8), a.taps - 8)),
        taps_(_mm256_set1_epi32(a.taps)),
        stride_(_mm256_set1_epi32(a.stride)),
        inverse_(Avx2::set1(1.0f / static_cast<float>(a.taps))),
        half_(Avx2::set1(0.5f / static_cast<float>(a.taps))) {}
  __m256i operator()(__m256i cols) const {
    // (column + 1/2) / taps is far enough from a whole number for the rounding of floats.
    const __m256i channel = _mm256_cvttps_epi32(Avx2::fma(_mm256_cvtepi32_ps(cols), inverse_, half_));
    const __m256i tap = _mm256_sub_epi32(cols, _mm256_mullo_epi32(channel, taps_));
    // Bit 3 of the tap, moved to the sign, picks the half of the entries.
    const __m256 first = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low_, tap), _mm256_permutevar8x32_ps(high_, tap),
                                          _mm256_castsi256_ps(_mm256_slli_epi32(tap, 28)));
    return _mm256_add_epi32(_mm256_castps_si256(first), _mm256_mullo_epi32(channel, stride_));
  }

 private:
  __m256 low_, high_;
  __m256i taps_, stride_;
  __m256 inverse_, half_;
};

}  // namespace
}  // namespace pyrt
