#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/decode/bits.h"
#include "kernels/simd/avx512.h"
// It uses the vector type above.
#include "kernels/decode/offsets_avx512.h"

namespace pyrt {

void expand_cols_u8_8__avx2(const ExpandColsArgs& a);

namespace {

// Sixteen columns at a time by a prefix sum, the last ones of a row too.
template <class Offsets>
inline void expand_cols(const ExpandColsArgs& a, const Offsets& offsets) {
  const auto* deltas = static_cast<const uint8_t*>(a.deltas);
  int32_t* off = a.off;
  const __m512i fifteenth = _mm512_set1_epi32(15);
  const __m256i one = _mm256_set1_epi16(1);
  const __m256i seventh = _mm256_set1_epi16(0x0f0e);  // bytes of the last word of each half
  for (int r = 0; r < a.rows; ++r) {
    const auto n = static_cast<int64_t>(a.counts[r]);
    __m512i last = _mm512_set1_epi32(-1);
    for (int64_t i = 0; i < n; i += 16) {
      const __mmask16 live = Avx512::first(static_cast<int>(n - i < 16 ? n - i : 16));
      __m256i s = _mm256_add_epi16(_mm256_cvtepu8_epi16(_mm_maskz_loadu_epi8(live, deltas + i)), one);
      s = _mm256_add_epi16(s, _mm256_slli_si256(s, 2));
      s = _mm256_add_epi16(s, _mm256_slli_si256(s, 4));
      s = _mm256_add_epi16(s, _mm256_slli_si256(s, 8));
      // The sum of the low half goes to all of the high one.
      s = _mm256_add_epi16(s, _mm256_permute2x128_si256(_mm256_shuffle_epi8(s, seventh), s, 0x08));
      const __m512i cols = _mm512_add_epi32(_mm512_cvtepu16_epi32(s), last);
      last = _mm512_permutexvar_epi32(fifteenth, cols);
      _mm512_mask_storeu_epi32(off + i, live, offsets(cols));
    }
    deltas += n;
    off += n;
  }
}

}  // namespace

void expand_cols_u8_16__avx512(const ExpandColsArgs& a) {
  if (!a.table) expand_cols(a, LinearOffsets(a));
  else if (TapOffsets::can(a)) expand_cols(a, TapOffsets(a));
  else expand_cols_u8_8__avx2(a);
}

// Books of up to 64 entries are looked up in registers; for larger ones scalar loads beat a gather.
void expand_index_f32_16__avx512(const ExpandIndexArgs& a) {
  const auto bits = static_cast<uint64_t>(a.bits);
  const uint32_t mask = (1u << a.bits) - 1;
  const uint64_t spread = 0x0101010101010101ull * mask;
  uint64_t bit = a.first * bits;
  int64_t i = 0;
  // Sixteen indices, each put into a byte of its own by pdep and then widened.
  const auto indices = [&](uint64_t at) {
    const uint64_t next = at + 8 * bits;
    const uint64_t low = _pdep_u64(load64(a.packed + at / 8) >> (at % 8), spread);
    const uint64_t high = _pdep_u64(load64(a.packed + next / 8) >> (next % 8), spread);
    return _mm512_cvtepu8_epi32(_mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low)));
  };
  const auto book = [&](int part) {
    const int left = a.book_size - 16 * part;
    return left > 0 ? Avx512::load_first(a.book + 16 * part, left) : Avx512::zero();
  };
  if (a.book_size <= 16) {
    const __m512 b0 = book(0);
    for (; i + 16 <= a.n; i += 16, bit += 16 * bits)
      _mm512_storeu_ps(a.out + i, _mm512_permutexvar_ps(indices(bit), b0));
  } else if (a.book_size <= 32) {
    const __m512 b0 = book(0), b1 = book(1);
    for (; i + 16 <= a.n; i += 16, bit += 16 * bits) {
      _mm512_storeu_ps(a.out + i, _mm512_permutex2var_ps(b0, indices(bit), b1));
    }
  } else if (a.book_size <= 64) {
    const __m512 b0 = book(0), b1 = book(1), b2 = book(2), b3 = book(3);
    for (; i + 16 <= a.n; i += 16, bit += 16 * bits) {
      const __m512i index = indices(bit);
      const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
      _mm512_storeu_ps(a.out + i, _mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(b0, index, b1),
                                                       _mm512_permutex2var_ps(b2, index, b3)));
    }
  }
  expand_from(a, i);
}

}  // namespace pyrt

#endif
