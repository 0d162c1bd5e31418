#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
#include "kernels/simd/sse.h"
// The templates use the vector type above.
#include "kernels/csr/csr.inl"
#include "kernels/csr/pairs.inl"
#include "kernels/decode/prefix_avx2.h"

namespace pyrt {
namespace {

float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// x at four 16-bit distances.
__m128 load4(const float* x, uint64_t at) {
  __m128 v = _mm_load_ss(x + (at & 0xffff));
  v = _mm_insert_ps(v, _mm_load_ss(x + ((at >> 16) & 0xffff)), 0x10);
  v = _mm_insert_ps(v, _mm_load_ss(x + ((at >> 32) & 0xffff)), 0x20);
  return _mm_insert_ps(v, _mm_load_ss(x + (at >> 48)), 0x30);
}

}  // namespace

void csr_f32_1x32__avx2(const CsrArgs& a) { csr<Avx2, 4>(a); }
void bcsr_f32_4x16__avx2(const CsrArgs& args) {
  for_tiles<Avx2, 2>(args, [](const CsrArgs& a, int vectors) {
    if (vectors == 2) bcsr_tile<Avx2, 2>(a);
    else bcsr_tile<Avx2, 1>(a);
  });
}

void bcsr_f32_few_16x1__avx2(const CsrFewArgs& a) {
  if (a.block == 16) bcsr_few_rows<Avx2, Avx2, 2, 4>(a);
  else if (a.block == 8) bcsr_few_rows<Avx2, Avx2, 1, 8>(a);
  else bcsr_few_rows<Avx2, Sse, 1, 8>(a);
}

void pairs_f32_few_16x2__avx2(const PairsArgs& a) { pairs_few<Avx2, 2>(a); }
void expand_pairs_f32_8__avx2(const ExpandPairsArgs& a) { expand_pairs<Avx2>(a); }
void split_rows_8__avx2(const SplitRowsArgs& a) { split_rows<Avx2>(a); }
void pack_rows_f32_8__avx2(const PackRowsArgs& a) { pack_rows<Avx2>(a); }

void csr_f32_few_1x8__avx2(const CsrFewArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    // Eight columns are read and summed whatever their number; the extra ones are not stored.
    __m256 acc[4];
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) acc[u] = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) {
        acc[u] = _mm256_fmadd_ps(_mm256_set1_ps(val[i + u]), _mm256_loadu_ps(a.x + off[i + u]), acc[u]);
      }
    }
    for (; i < n; ++i) acc[0] = _mm256_fmadd_ps(_mm256_set1_ps(val[i]), _mm256_loadu_ps(a.x + off[i]), acc[0]);
    const __m256 sum = _mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3]));
    const RowStore<Avx2> store(a.epilogue, r, a.y_stride);
    Avx2::store_first(a.y + r * a.y_stride, store.finish_first(sum, 0, a.cols), a.cols);
    off += n;
    val += n;
  }
}

// Eight entries at a time: their columns by a prefix sum of the deltas, their inputs by scalar loads (on Zen 5 half as
// long again as this takes the form with vgatherdps, and twice as long the 16-wide one).
void csr_f32_dot_8__avx2(const CsrDotArgs& a) {
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    const float* x = a.x - 1;  // at the column of the last entry
    __m256 acc = _mm256_setzero_ps();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
      const __m128i cols = prefix_sum8(deltas + i);
      const auto low = static_cast<uint64_t>(_mm_cvtsi128_si64(cols));
      const auto high = static_cast<uint64_t>(_mm_extract_epi64(cols, 1));
      const __m256 xs = _mm256_set_m128(load4(x, high), load4(x, low));
      acc = _mm256_fmadd_ps(xs, _mm256_loadu_ps(val + i), acc);
      x += high >> 48;
    }
    float sum = sum_lanes(acc);
    for (; i < n; ++i) {
      x += deltas[i] + 1;
      sum += *x * val[i];
    }
    const RowStore<Avx2> store(a.epilogue, r, a.y_stride);
    Avx2::store_first(a.y + r * a.y_stride, store.finish_first(_mm256_castps128_ps256(_mm_set_ss(sum)), 0, 1), 1);
    deltas += n;
    val += n;
  }
}

}  // namespace pyrt

#endif
