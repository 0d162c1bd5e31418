#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/product/lanes_avx2.h"
// The templates use the vector type above.
#include "kernels/product/product.inl"

namespace pyrt {
namespace {

struct Quads : Avx2 {
  static void expand4(const float* const* row, int i, float* out) {
#pragma GCC unroll 2
    for (int half = 0; half < kPanel; half += 8) {
      reg r[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) {
        const __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(row[half + q] + i));
        r[q] = _mm256_insertf128_ps(low, _mm_loadu_ps(row[half + q + 4] + i), 1);
      }
      transpose4(r);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) store(out + q * kPanel + half, r[q]);
    }
  }
  static void expand8(const float* const* row, int i, float* out) {
    expand4(row, i, out);
    expand4(row, i + 4, out + 4 * kPanel);
  }
};

}  // namespace

void expand_codewords_f32_8x4__avx2(const ExpandCodewordsArgs& a) { expand_codewords<Quads>(a); }
void gemm_codewords_f32_4x24__avx2(const GemmCodewordsArgs& a) { gemm_codewords<Avx2, 4, 4, 8>(a); }
void codeword_dot_f32_8__avx2(const CodewordDotArgs& a) { codeword_dot<Avx2, Lane8, Lane4>(a); }

// pdep puts each index into a byte of its own.
void unpack_index_u8_8__avx2(const UnpackIndexArgs& a) {
  const auto bits = static_cast<uint64_t>(a.bits);
  const uint64_t mask = (1u << a.bits) - 1, spread = 0x0101010101010101ull * mask;
  uint64_t bit = a.first * bits;
  int64_t i = 0;
  for (; i + 8 <= a.n; i += 8, bit += 8 * bits) {
    const uint64_t bytes = _pdep_u64(load64(a.packed + bit / 8) >> (bit % 8), spread);
    std::memcpy(a.out + i, &bytes, 8);
  }
  for (; i < a.n; ++i) {
    a.out[i] = static_cast<uint8_t>(index_at(a.packed, a.first + static_cast<uint64_t>(i), a.bits));
  }
}

void widen_s8_8__avx2(const WidenS8Args& a) { widen_s8<Avx2>(a); }

}  // namespace pyrt

#endif
