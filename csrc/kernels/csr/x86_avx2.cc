#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
#include "kernels/simd/sse.h"
// The templates use the vector type above.
#include "kernels/csr/block_dot.inl"
#include "kernels/csr/csr.inl"
#include "kernels/csr/deltas.inl"
#include "kernels/csr/finish_rows.inl"
#include "kernels/csr/pairs.inl"

namespace pyrt {
namespace {

// Lines are stored without a mask, which Zen cores do by microcode: halves that overlap.
struct Line : Avx2 {
  static void store_first(float* p, reg v, int n) {
    if (n >= 8) return store(p, v);
    const __m128 low = _mm256_castps256_ps128(v);
    if (n >= 4) {
      const __m256i last = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3), _mm256_set1_epi32(n - 4));
      _mm_storeu_ps(p, low);
      _mm_storeu_ps(p + n - 4, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(v, last)));
      return;
    }
    if (n >= 2) _mm_storel_pi(reinterpret_cast<__m64*>(p), low);
    if (n == 1) _mm_store_ss(p, low);
    if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(low, low));
  }
};

float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// Lane j of sums[j], all added up.
float sum_diagonal(const __m256* sums) {
  const __m256 low =
      _mm256_blend_ps(_mm256_blend_ps(sums[0], sums[1], 0x02), _mm256_blend_ps(sums[2], sums[3], 0x08), 0x0c);
  const __m256 high =
      _mm256_blend_ps(_mm256_blend_ps(sums[4], sums[5], 0x20), _mm256_blend_ps(sums[6], sums[7], 0x80), 0xc0);
  return sum_lanes(_mm256_blend_ps(low, high, 0xf0));
}

}  // namespace

void csr_f32_1x32__avx2(const CsrArgs& a) { csr<Avx2, 4>(a); }
void csr_lines_f32_1x64__avx2(const CsrArgs& a) {
  if (a.line == 8) csr_lines<Line, 8, 8, 16>(a);
  else csr_lines<Line, 16, 4, 16>(a);
}
void csr_deltas_f32_1x32__avx2(const CsrDeltasArgs& a) {
  if (a.cols > 16) csr_deltas_tile<Avx2, 4, 2, 0>(a);
  else if (a.x_stride == 16) csr_deltas_tile<Avx2, 2, 4, 16>(a);
  else csr_deltas_tile<Avx2, 2, 4, 0>(a);
}
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

void bcsr_f32_dot_8__avx2(const CsrDotArgs& a) {
  if (a.block == 16) bcsr_dot<Avx2, Avx2, Avx2, 2>(a);
  else if (a.block == 8) bcsr_dot<Avx2, Avx2, Avx2, 1>(a);
  else bcsr_dot<Avx2, Avx2, Sse, 1>(a);
}

void pairs_f32_few_16x2__avx2(const PairsArgs& a) { pairs_few<Avx2, 2>(a); }
void expand_pairs_f32_8__avx2(const ExpandPairsArgs& a) { expand_pairs<Avx2>(a); }
void split_rows_8__avx2(const SplitRowsArgs& a) { split_rows<Avx2>(a); }
void pack_rows_f32_8__avx2(const PackRowsArgs& a) { pack_rows<Avx2>(a); }

void csr_f32_few_1x8__avx2(const CsrFewArgs& a) { csr_few<Avx2, 1>(a); }

// Eight entries at a time. An input is broadcast and meets all eight values; of the j-th product only lane j is of use,
// so each has sums of its own. That takes a load and a multiply-add per entry where a vector of eight inputs takes a
// load and a shuffle; and the columns are plain additions, from a start that does not wait for the entries before.
void csr_f32_dot_8__avx2(const CsrDotArgs& a) {
  constexpr int kAhead = 2048;  // bytes of values; the hardware's prefetcher stops at the end of a page
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  float done[8] = {};  // rows, which end together
  for (int r = 0; r < a.rows; ++r) {
    const uint8_t* const end = deltas + a.counts[r];
    const float* x = a.x - 1;  // at the column of the last entry
    __m256 sums[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sums[j] = _mm256_setzero_ps();
    // distance: of the last of these entries, less 8
    const auto eight = [&](int64_t distance) __attribute__((always_inline)) {
      const __m256 values = _mm256_loadu_ps(val);
      uint64_t at = 0;
#pragma GCC unroll 8
      for (int j = 0; j < 7; ++j) {
        at += deltas[j];
        sums[j] = _mm256_fmadd_ps(values, _mm256_broadcast_ss(x + at + j + 1), sums[j]);
      }
      x += distance + 8;
      sums[7] = _mm256_fmadd_ps(values, _mm256_broadcast_ss(x), sums[7]);
      deltas += 8;
      val += 8;
    };
    while (end - deltas >= 16) {
      __builtin_prefetch(reinterpret_cast<const char*>(val) + kAhead);
      const __m128i distances =
          _mm_sad_epu8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(deltas)), _mm_setzero_si128());
      eight(_mm_cvtsi128_si64(distances));
      eight(_mm_extract_epi64(distances, 1));
    }
    if (end - deltas >= 8) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(deltas));
      eight(_mm_cvtsi128_si64(_mm_sad_epu8(bytes, _mm_setzero_si128())));
    }
    float rest = 0;
    for (; deltas < end; ++deltas, ++val) {
      x += *deltas + 1;
      rest += *x * *val;
    }
    done[r % 8] = sum_diagonal(sums) + rest;
    if (r % 8 < 7 && r + 1 < a.rows) continue;
    __m256 sum = _mm256_loadu_ps(done);
    finish_rows<Avx2, Avx2, 1>({a.epilogue, nullptr, a.y, a.y_stride}, r / 8 * 8, r % 8 + 1, 0, &sum);
  }
}

}  // namespace pyrt

#endif
