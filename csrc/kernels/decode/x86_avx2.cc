#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c,bmi2,lzcnt")
#include "kernels/decode/bits.h"
#include "kernels/decode/huffman.inl"
#include "kernels/decode/prefix_avx2.h"
#include "kernels/simd/avx2.h"
// It uses the vector type above.
#include "kernels/decode/offsets_avx2.h"

namespace pyrt {

namespace {

template <class Offsets>
inline void expand_cols(const ExpandColsArgs& a, const Offsets& offsets) {
  const auto* deltas = static_cast<const uint8_t*>(a.deltas);
  int32_t* off = a.off;
  const __m256i seventh = _mm256_set1_epi32(7);
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    __m256i last = _mm256_set1_epi32(-1);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
      const __m256i cols = _mm256_add_epi32(_mm256_cvtepu16_epi32(prefix_sum8(deltas + i)), last);
      last = _mm256_permutevar8x32_epi32(cols, seventh);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(off + i), offsets(cols));
    }
    expand_cols_from(a, _mm256_extract_epi32(last, 0), deltas + i, n - i, off + i);
    deltas += n;
    off += n;
  }
}

}  // namespace

void expand_cols_u8_8__avx2(const ExpandColsArgs& a) {
  if (!a.table) expand_cols(a, LinearOffsets(a));
  else if (TapOffsets::can(a)) expand_cols(a, TapOffsets(a));
  else expand_cols(a, TableOffsets(a));
}

// Books of up to 16 entries are looked up in registers; for larger ones eight scalar loads beat a gather.
void expand_index_f32_8__avx2(const ExpandIndexArgs& a) {
  const auto bits = static_cast<uint64_t>(a.bits);
  const uint32_t mask = (1u << a.bits) - 1;
  uint64_t bit = a.first * bits;
  int64_t i = 0;
  if (a.book_size <= 16) {
    float book[16] = {};
    std::memcpy(book, a.book, static_cast<size_t>(a.book_size) * sizeof(float));
    const __m256 low = _mm256_loadu_ps(book), high = _mm256_loadu_ps(book + 8);
    const uint64_t spread = 0x0101010101010101ull * mask;
    for (; i + 8 <= a.n; i += 8, bit += 8 * bits) {
      // pdep puts each index into a byte of its own.
      const uint64_t bytes = _pdep_u64(load64(a.packed + bit / 8) >> (bit % 8), spread);
      const __m256i index = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
      // Bit 3 of the index, moved to the sign, picks the half of the book.
      const __m256 half = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
      const __m256 values =
          _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index), half);
      _mm256_storeu_ps(a.out + i, values);
    }
  }
  expand_from(a, i);
}

namespace {

// 32 indices of one bit, in a byte each: 0 or 255. Each byte of the stream is repeated eight times.
inline __m256i spread_bits(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, 4);
  const __m256i bytes = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i repeated = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(word)), bytes);
  return _mm256_cmpeq_epi8(_mm256_and_si256(repeated, bit), bit);
}

// 32 indices of two bits: in bytes 4i and 4i + 1 two of them as a nibble, in 4i + 2 and 4i + 3 the next two.
inline __m256i spread_pairs(const uint8_t* p) {
  const __m256i bytes =
      _mm256_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707);
  const __m256i eight = _mm256_set1_epi64x(static_cast<long long>(load64(p)));
  const __m256i repeated = _mm256_shuffle_epi8(eight, bytes);
  const __m256i nibbles = _mm256_blend_epi16(repeated, _mm256_srli_epi16(repeated, 4), 0xaa);
  return _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
}

// As many as there are whole 32 of, from a whole byte of the stream.
inline int64_t expand_bits(const ExpandIndexS8Args& a) {
  const __m256i clear = _mm256_set1_epi8(a.book[0]), set = _mm256_set1_epi8(a.book[a.book_size - 1]);
  const uint8_t* p = a.packed + a.first / 8;
  int64_t i = 0;
  for (; i + 32 <= a.n; i += 32, p += 4) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(a.out + i), _mm256_blendv_epi8(clear, set, spread_bits(p)));
  }
  return i;
}

inline int64_t expand_pairs(const ExpandIndexS8Args& a) {
  alignas(16) int8_t low[16], high[16];  // what a nibble's two indices find
  for (int n = 0; n < 16; ++n) {
    low[n] = n % 4 < a.book_size ? a.book[n % 4] : int8_t{0};
    high[n] = n / 4 < a.book_size ? a.book[n / 4] : int8_t{0};
  }
  const __m256i first = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(low)));
  const __m256i second = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(high)));
  const __m256i odd = _mm256_set1_epi16(static_cast<int16_t>(0x8000)), even = _mm256_set1_epi16(0x80);
  const uint8_t* p = a.packed + a.first / 4;
  int64_t i = 0;
  for (; i + 32 <= a.n; i += 32, p += 8) {
    const __m256i nibbles = spread_pairs(p);  // a byte with its highest bit set finds 0
    const __m256i values = _mm256_or_si256(_mm256_shuffle_epi8(first, _mm256_or_si256(nibbles, odd)),
                                           _mm256_shuffle_epi8(second, _mm256_or_si256(nibbles, even)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(a.out + i), values);
  }
  return i;
}

}  // namespace

// 32 indices at a time, each in a byte of its own; those of one and two bits by less than others; every 16 entries of
// the book are a shuffle, that leaves zeros where an index is not theirs.
void expand_index_s8_32__avx2(const ExpandIndexS8Args& a) {
  if (a.bits == 1 && a.first % 8 == 0) return expand_s8_from(a, expand_bits(a));
  if (a.bits == 2 && a.first % 4 == 0) return expand_s8_from(a, expand_pairs(a));
  const S8Tables tables(a);
  const auto bits = static_cast<uint64_t>(a.bits);
  const uint64_t spread = 0x0101010101010101ull * ((1u << a.bits) - 1);
  const auto table = [&](int t) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(tables.at + 16 * t)));
  };
  const __m256i first = table(0), low = _mm256_set1_epi8(15), past = _mm256_set1_epi8(0x70);
  const bool nibbles = a.bits == 4 && a.first % 2 == 0;
  uint64_t bit = a.first * bits;
  int64_t i = 0;
  for (; i + 32 <= a.n; i += 32, bit += 32 * bits) {
    const uint8_t* p = a.packed + bit / 8;
    __m256i index;
    if (nibbles) {
      const __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
      index = _mm256_and_si256(_mm256_or_si256(words, _mm256_slli_epi16(words, 4)), low);
    } else if (bits == 8) {
      index = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    } else {
      const auto eight = [&](uint64_t at) {
        return static_cast<long long>(_pdep_u64(load64(a.packed + at / 8) >> (at % 8), spread));
      };
      index = _mm256_setr_epi64x(eight(bit), eight(bit + 8 * bits), eight(bit + 16 * bits), eight(bit + 24 * bits));
    }
    __m256i values = _mm256_shuffle_epi8(first, _mm256_adds_epu8(index, past));
    for (int t = 1; t < tables.count; ++t) {
      const __m256i of_table = _mm256_sub_epi8(index, _mm256_set1_epi8(static_cast<char>(16 * t)));
      values = _mm256_or_si256(values, _mm256_shuffle_epi8(table(t), _mm256_adds_epu8(of_table, past)));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(a.out + i), values);
  }
  expand_s8_from(a, i);
}

void widen_f16_8__avx2(const WidenArgs& a) {
  int64_t i = 0;
  for (; i + 8 <= a.n; i += 8) {
    _mm256_storeu_ps(a.out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a.in + i))));
  }
  for (; i < a.n; ++i) a.out[i] = _cvtsh_ss(a.in[i]);
}

void huffman_u8_4x4__avx2(const HuffmanArgs& a) { huffman_four_strings(a); }

}  // namespace pyrt

#endif
