#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/decode/prefix_avx2.h"

namespace pyrt {
namespace {

uint64_t load64(const uint8_t* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

// Eight indices from the low 8*bits bits of a word.
__m256i unpack8(uint64_t window, uint64_t spread) {
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(_pdep_u64(window, spread))));
}

}  // namespace

void expand_cols_u8_8__avx2(const ExpandColsArgs& a) {
  const auto* deltas = static_cast<const uint8_t*>(a.deltas);
  int32_t* off = a.off;
  const __m256i stride = _mm256_set1_epi32(a.stride), seventh = _mm256_set1_epi32(7);
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    __m256i last = _mm256_set1_epi32(-1);
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
      const __m256i cols = _mm256_add_epi32(_mm256_cvtepu16_epi32(prefix_sum8(deltas + i)), last);
      last = _mm256_permutevar8x32_epi32(cols, seventh);
      const __m256i result = a.table ? _mm256_i32gather_epi32(a.table, cols, 4) : _mm256_mullo_epi32(cols, stride);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(off + i), result);
    }
    int32_t col = _mm256_extract_epi32(last, 0);
    for (; i < n; ++i) {
      col += 1 + deltas[i];
      off[i] = a.table ? a.table[col] : col * a.stride;
    }
    deltas += n;
    off += n;
  }
}

// pdep puts each index into a byte of its own; books of up to 8 entries are looked up inside a register, larger ones
// are gathered from L1.
void expand_index_f32_8__avx2(const ExpandIndexArgs& a) {
  const uint64_t spread = 0x0101010101010101ull * ((1u << a.bits) - 1);
  const auto bits = static_cast<uint64_t>(a.bits);
  uint64_t bit = a.first * bits;
  int64_t i = 0;
  // An unaligned word holds 57 bits from any bit position: enough for eight indices of 7 bits; of 8 bits they are aligned.
  if (a.bits <= 3) {
    float small[8] = {};
    std::memcpy(small, a.book, sizeof(float) << a.bits);
    const __m256 book = _mm256_loadu_ps(small);
    for (; i + 8 <= a.n; i += 8, bit += 8 * bits) {
      const __m256i index = unpack8(load64(a.packed + bit / 8) >> (bit % 8), spread);
      _mm256_storeu_ps(a.out + i, _mm256_permutevar8x32_ps(book, index));
    }
  } else {
    for (; i + 8 <= a.n; i += 8, bit += 8 * bits) {
      const __m256i index = unpack8(load64(a.packed + bit / 8) >> (bit % 8), spread);
      _mm256_storeu_ps(a.out + i, _mm256_i32gather_ps(a.book, index, 4));
    }
  }
  const uint32_t mask = (1u << a.bits) - 1;
  for (; i < a.n; ++i, bit += bits) a.out[i] = a.book[(load64(a.packed + bit / 8) >> (bit % 8)) & mask];
}

// The four bit strings advance side by side, so that one's table look-up hides behind the others'. 4 symbols of at most
// 12 bits fit into what an unaligned 64-bit load gives past the first 7 bits.
void huffman_u8_4__avx2(const HuffmanArgs& a) {
  if (a.n == 0) return;
  uint16_t sizes[kHuffmanStrings - 1];
  std::memcpy(sizes, a.chunk, sizeof sizes);
  const uint8_t* in[kHuffmanStrings];
  in[0] = a.chunk + sizeof sizes;
  for (int j = 1; j < kHuffmanStrings; ++j) in[j] = in[j - 1] + sizes[j - 1];
  const size_t q = huffman_string_begin(a.n, 1);
  const uint16_t* const table = a.table.entries;
  const uint32_t mask = (1u << a.table.bits) - 1;
  uint64_t bit[kHuffmanStrings] = {};
  uint8_t* out = a.out;
  // The last string may be shorter than q; all four run together as far as it goes.
  const size_t last = huffman_string_begin(a.n, kHuffmanStrings) - huffman_string_begin(a.n, 3);
  const size_t together = a.n >= 3 * q ? last / 4 * 4 : 0;
  for (size_t i = 0; i < together; i += 4) {
#pragma GCC unroll 4
    for (int j = 0; j < kHuffmanStrings; ++j) {
      uint64_t window = load64(in[j] + bit[j] / 8) >> (bit[j] % 8);
      uint64_t used = 0;
      uint32_t symbols = 0;
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        const uint32_t entry = table[window & mask];
        symbols |= (entry & 0xff) << (8 * s);
        window >>= entry >> 8;
        used += entry >> 8;
      }
      bit[j] += used;
      std::memcpy(out + static_cast<size_t>(j) * q + i, &symbols, 4);
    }
  }
  for (int j = 0; j < kHuffmanStrings; ++j) {
    const size_t begin = huffman_string_begin(a.n, j), end = huffman_string_begin(a.n, j + 1);
    for (size_t i = begin + together; i < end; ++i) {
      const uint32_t entry = table[(load64(in[j] + bit[j] / 8) >> (bit[j] % 8)) & mask];
      out[i] = static_cast<uint8_t>(entry);
      bit[j] += entry >> 8;
    }
  }
}

}  // namespace pyrt

#endif
