#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/csr/csr.inl"
#include "kernels/decode/prefix_avx2.h"

namespace pyrt {
namespace {

float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

float lane(__m256 v, int i) { return _mm256_cvtss_f32(_mm256_permutevar8x32_ps(v, _mm256_set1_epi32(i))); }

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

// Four rows are the lanes, column after column: each entry costs the broadcast of an input.
void bcsr_f32_few_4x1__avx2(const CsrFewArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const auto n = static_cast<int64_t>(a.counts[r]);
    for (int c = 0; c < a.cols; ++c) {
      const float* x = a.x + c;
      __m128 acc[4];
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) acc[u] = _mm_setzero_ps();
      int64_t i = 0;
      for (; i + 4 <= n; i += 4) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) {
          acc[u] = _mm_fmadd_ps(_mm_loadu_ps(val + 4 * (i + u)), _mm_set1_ps(x[off[i + u]]), acc[u]);
        }
      }
      for (; i < n; ++i) acc[0] = _mm_fmadd_ps(_mm_loadu_ps(val + 4 * i), _mm_set1_ps(x[off[i]]), acc[0]);
      float sums[4];
      _mm_storeu_ps(sums, _mm_add_ps(_mm_add_ps(acc[0], acc[1]), _mm_add_ps(acc[2], acc[3])));
      for (int j = 0; j < 4; ++j) {
        const int row = 4 * r + j;
        const RowStore<Avx2> store(a.epilogue, row, a.y_stride);
        // The masks and residuals of a vector begin at its first column, so all columns up to c take part.
        const __m256 sum = _mm256_set1_ps(sums[j]);
        const __m256 result = store.finish_first(sum, 0, c + 1);
        a.y[row * a.y_stride + c] = lane(result, c);
      }
    }
    off += n;
    val += 4 * n;
  }
}

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
