#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/decode/bits.h"
#include "kernels/decode/prefix_avx2.h"

namespace pyrt {

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

void widen_f16_8__avx2(const WidenArgs& a) {
  int64_t i = 0;
  for (; i + 8 <= a.n; i += 8) {
    _mm256_storeu_ps(a.out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a.in + i))));
  }
  for (; i < a.n; ++i) a.out[i] = _cvtsh_ss(a.in[i]);
}

// The four bit strings advance side by side, so that one's table look-up hides behind the others'. Four symbols of at
// most 12 bits fit into what an unaligned 64-bit load gives past the first 7 bits.
void huffman_u8_4x4__avx2(const HuffmanArgs& a) {
  if (a.n == 0) return;
  uint16_t sizes[kHuffmanStrings - 1];
  std::memcpy(sizes, a.chunk, sizeof sizes);
  const uint8_t* in[kHuffmanStrings];
  in[0] = a.chunk + sizeof sizes;
  for (int j = 1; j < kHuffmanStrings; ++j) in[j] = in[j - 1] + sizes[j - 1];
  const size_t q = huffman_string_begin(a.n, 1);
  // The last string may be shorter than q, or the last ones empty; all four run together as far as it goes.
  const size_t last = a.n - huffman_string_begin(a.n, 3);
  const size_t together = a.n >= 3 * q ? last / 4 * 4 : 0;
  const uint16_t* const table = a.table.entries;
  const uint64_t mask = (1u << a.table.bits) - 1;
  const uint8_t *in0 = in[0], *in1 = in[1], *in2 = in[2], *in3 = in[3];
  uint8_t *out0 = a.out, *out1 = out0 + q, *out2 = out1 + q, *out3 = out2 + q;
  uint64_t bit0 = 0, bit1 = 0, bit2 = 0, bit3 = 0;
  // Plain variables instead of arrays: GCC would keep arrays in memory.
  const auto step = [&](uint64_t& window, uint64_t& bit, uint8_t* out) {
    const uint32_t entry = table[window & mask];
    *out = static_cast<uint8_t>(entry);
    window >>= entry >> 8;
    bit += entry >> 8;
  };
  for (size_t i = 0; i < together; i += 4) {
    uint64_t w0 = load64(in0 + bit0 / 8) >> (bit0 % 8), w1 = load64(in1 + bit1 / 8) >> (bit1 % 8);
    uint64_t w2 = load64(in2 + bit2 / 8) >> (bit2 % 8), w3 = load64(in3 + bit3 / 8) >> (bit3 % 8);
#pragma GCC unroll 4
    for (size_t k = i; k < i + 4; ++k) {
      step(w0, bit0, out0 + k);
      step(w1, bit1, out1 + k);
      step(w2, bit2, out2 + k);
      step(w3, bit3, out3 + k);
    }
  }
  const uint64_t bits[kHuffmanStrings] = {bit0, bit1, bit2, bit3};
  for (int j = 0; j < kHuffmanStrings; ++j) {
    uint64_t bit = bits[j];
    const size_t end = huffman_string_begin(a.n, j + 1);
    for (size_t i = huffman_string_begin(a.n, j) + together; i < end; ++i) {
      uint64_t window = load64(in[j] + bit / 8) >> (bit % 8);
      step(window, bit, a.out + i);
    }
  }
}

}  // namespace pyrt

#endif
