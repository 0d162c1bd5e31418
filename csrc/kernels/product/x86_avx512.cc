#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector types above.
#include "kernels/product/product.inl"

namespace pyrt {
namespace {

struct Quads : Avx512 {
  // A masked broadcast is a load, where an insert would take the port of the shuffles.
  static void expand4(const float* const* row, int i, float* out) {
    reg r[4];
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      r[q] = _mm512_castps128_ps512(_mm_loadu_ps(row[q] + i));
      r[q] = _mm512_mask_broadcast_f32x4(r[q], 0x00f0, _mm_loadu_ps(row[q + 4] + i));
      r[q] = _mm512_mask_broadcast_f32x4(r[q], 0x0f00, _mm_loadu_ps(row[q + 8] + i));
      r[q] = _mm512_mask_broadcast_f32x4(r[q], 0xf000, _mm_loadu_ps(row[q + 12] + i));
    }
    transpose4(r);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) store(out + q * kPanel, r[q]);
  }
  static void expand8(const float* const* row, int i, float* out) {
    reg r[8];  // row q and row q + 8
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      r[q] = _mm512_castps256_ps512(_mm256_loadu_ps(row[q] + i));
      r[q] = _mm512_mask_broadcast_f32x8(r[q], 0xff00, _mm256_loadu_ps(row[q + 8] + i));
    }
    transpose4(r);
    transpose4(r + 4);
    // Columns q and q + 4 of rows 0-3 and 8-11 are in r[q], those of the other rows in r[q + 4].
    const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13),
                  odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const __m512d low = _mm512_castps_pd(r[q]), high = _mm512_castps_pd(r[q + 4]);
      store(out + q * kPanel, _mm512_castpd_ps(_mm512_permutex2var_pd(low, even, high)));
      store(out + (q + 4) * kPanel, _mm512_castpd_ps(_mm512_permutex2var_pd(low, odd, high)));
    }
  }
};

// Eight floats of each of two rows, and four of each of four. Masked broadcasts, as above.
struct Rows2 : Avx512 {
  static constexpr int width = 8, rows = 2, sums = 24, columns = 6;
  static reg repeat(const float* p) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(p)); }
  template <class At>
  static reg load(const At& at) {
    const reg first = _mm512_castps256_ps512(_mm256_loadu_ps(at(0)));
    return _mm512_mask_broadcast_f32x8(first, 0xff00, _mm256_loadu_ps(at(1)));
  }
  static void store_sums(float* out, reg a, reg b, reg c, reg d) {
    const reg s = add_transposed(a, b, c, d);
    const reg sums = add(_mm512_shuffle_f32x4(s, s, 0x88), _mm512_shuffle_f32x4(s, s, 0xdd));
    _mm256_storeu_ps(out, _mm512_castps512_ps256(sums));
  }
  // Elements of a quarter are the sums of that quarter of a, b, c and d.
  static reg add_transposed(reg a, reg b, reg c, reg d) {
    reg t[4] = {a, b, c, d};
    transpose4(t);
    return add(add(t[0], t[1]), add(t[2], t[3]));
  }
};
struct Rows4 : Rows2 {
  static constexpr int width = 4, rows = 4;
  static reg repeat(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
  template <class At>
  static reg load(const At& at) {
    reg v = _mm512_castps128_ps512(_mm_loadu_ps(at(0)));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(at(1)));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(at(2)));
    return _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(at(3)));
  }
  static void store_sums(float* out, reg a, reg b, reg c, reg d) { store(out, add_transposed(a, b, c, d)); }
};

}  // namespace

void expand_codewords_f32_16x4__avx512(const ExpandCodewordsArgs& a) { expand_codewords<Quads>(a); }
void gemm_codewords_f32_8x48__avx512(const GemmCodewordsArgs& a) { gemm_codewords<Avx512, 8, 8, 8>(a); }
void codeword_dot_f32_16__avx512(const CodewordDotArgs& a) { codeword_dot<Avx512, Rows2, Rows4>(a); }

}  // namespace pyrt

#endif
