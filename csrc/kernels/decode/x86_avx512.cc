#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/decode/bits.h"
#include "kernels/simd/avx512.h"

namespace pyrt {

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
