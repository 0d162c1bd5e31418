#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/csr/csr.inl"

namespace pyrt {
namespace {

float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// One column: eight entries at a time, their inputs gathered. Two sums hide the latency of the multiply-add.
float dot(const int32_t* off, const float* val, uint32_t n, const float* x) {
  __m256 s0 = _mm256_setzero_ps(), s1 = s0;
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i o0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(off + i));
    const __m256i o1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(off + i + 8));
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(val + i), _mm256_i32gather_ps(x, o0, 4), s0);
    s1 = _mm256_fmadd_ps(_mm256_loadu_ps(val + i + 8), _mm256_i32gather_ps(x, o1, 4), s1);
  }
  if (i + 8 <= n) {
    const __m256i o = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(off + i));
    s0 = _mm256_fmadd_ps(_mm256_loadu_ps(val + i), _mm256_i32gather_ps(x, o, 4), s0);
    i += 8;
  }
  float sum = sum_lanes(_mm256_add_ps(s0, s1));
  for (; i < n; ++i) sum += val[i] * x[off[i]];
  return sum;
}

}  // namespace

void csr_f32_1x64__avx2(const CsrArgs& a) { csr<Avx2>(a); }

void csr_f32_few_1x8__avx2(const CsrArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    __m256 sum;
    if (a.cols == 1) {
      sum = _mm256_castps128_ps256(_mm_set_ss(dot(off, val, n, a.x)));
    } else {
      // Eight columns are read and summed whatever their number; the extra ones are not stored.
      __m256 acc[4];
      for (auto& s : acc) s = _mm256_setzero_ps();
      uint32_t i = 0;
      for (; i + 4 <= n; i += 4) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) {
          acc[u] = _mm256_fmadd_ps(_mm256_set1_ps(val[i + u]), _mm256_loadu_ps(a.x + off[i + u]), acc[u]);
        }
      }
      for (; i < n; ++i) acc[0] = _mm256_fmadd_ps(_mm256_set1_ps(val[i]), _mm256_loadu_ps(a.x + off[i]), acc[0]);
      sum = _mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3]));
    }
    const RowStore<Avx2> store(a.epilogue, r, a.y_stride);
    Avx2::store_first(a.y + r * a.y_stride, store.finish_first(sum, 0, a.cols), a.cols);
    off += n;
    val += n;
  }
}

}  // namespace pyrt

#endif
