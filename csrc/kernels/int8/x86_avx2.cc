#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx2.h"
// The templates use the vector type above.
#include "kernels/int8/qdepthwise.inl"
#include "kernels/int8/qgemm.inl"
#include "kernels/int8/qpointwise.inl"

namespace pyrt {
namespace {

using V = Int8Avx2;

// vpmaddubsw adds two products in 16 bits and saturates. These three ways never let it: by the Fit of a step.

// Sums of neighbours in 32 bits. The ones stay in memory: the tile needs all registers.
alignas(32) constexpr int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
inline __m256i widen(__m256i v) {
  __asm__("vpmaddwd %1, %0, %0" : "+x"(v) : "m"(kOnes));
  return v;
}

// Two products fit.
struct DotOne : DotOfLanes<V> {
  using Single = DotOne;
  using X = __m256i;
  static constexpr int groups = 1, panel_bytes = 64;
  static X bytes(__m256i x) { return x; }
  static __m256i weights(__m256i w) { return w; }
  static X columns(const uint8_t* x, const int32_t* off) { return V::iload(x + 4 * static_cast<ptrdiff_t>(off[0])); }
  static __m256i row(const int8_t* rows, int r) { return V::iset1(load_four(rows + 4 * r)); }
  static __m256i panel(const int8_t* w) { return V::iload(w); }
  static __m256i add(__m256i acc, X x, __m256i w) { return V::iadd(acc, widen(_mm256_maddubs_epi16(x, w))); }
  static X column(const uint8_t* x, const int32_t* off) {
    return V::iset1(load_four(x + 4 * static_cast<ptrdiff_t>(off[0])));
  }
};

// Four products fit: two groups share the widening.
struct DotTwo : DotOfLanes<V> {
  using Single = DotOne;
  struct X {
    __m256i first, second;
  };
  static constexpr int groups = 2, panel_bytes = 128;
  static X columns(const uint8_t* x, const int32_t* off) {
    return {DotOne::columns(x, off), DotOne::columns(x, off + 1)};
  }
  static X row(const int8_t* rows, int r) { return {DotOne::row(rows, r), DotOne::row(rows + 64, r)}; }
  static X panel(const int8_t* w) { return {V::iload(w), V::iload(w + 64)}; }
  static __m256i add(__m256i acc, const X& x, const X& w) {
    const __m256i four =
        _mm256_add_epi16(_mm256_maddubs_epi16(x.first, w.first), _mm256_maddubs_epi16(x.second, w.second));
    return V::iadd(acc, widen(four));
  }
  static X column(const uint8_t* x, const int32_t* off) { return {DotOne::column(x, off), DotOne::column(x, off + 1)}; }
};

// s4: group 2i in the low nibbles, 2i + 1 in the high ones, + 8.
struct DotLow : DotOne {
  static __m256i panel(const int8_t* w) { return V::low_nibbles(V::iload(w)); }
};
struct DotNibbles : DotTwo {
  using Single = DotLow;
  static constexpr int panel_bytes = 64;
  static X panel(const int8_t* w) {
    const __m256i both = V::iload(w);
    return {V::low_nibbles(both), V::high_nibbles(both)};
  }
};

// Not even two: even and odd bytes are widened first, at about twice the cost.
struct DotWide : DotOfLanes<V> {
  using Single = DotWide;
  struct X {
    __m256i even, odd;
  };
  static constexpr int groups = 1, panel_bytes = 64;
  // By shifts: a mask would take a register.
  static X bytes(__m256i x) { return {_mm256_srli_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srli_epi16(x, 8)}; }
  static X weights(__m256i w) { return {_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)}; }
  static X columns(const uint8_t* x, const int32_t* off) { return bytes(DotOne::columns(x, off)); }
  static X row(const int8_t* rows, int r) { return weights(DotOne::row(rows, r)); }
  static X panel(const int8_t* w) { return weights(V::iload(w)); }
  static __m256i add(__m256i acc, const X& x, const X& w) {
    acc = V::iadd(acc, _mm256_madd_epi16(x.even, w.even));
    return V::iadd(acc, _mm256_madd_epi16(x.odd, w.odd));
  }
  static X column(const uint8_t* x, const int32_t* off) { return bytes(DotOne::column(x, off)); }
};

// Adds steps of two groups, those of the set bits. First groups and second groups have loops of their own if they are
// not added together: both in one would spill sums.
template <class Dot, int NV>
inline void add_steps(__m256i (&acc)[4][NV], const uint8_t* x, const int32_t* off, const int8_t* w, uint64_t steps) {
  for (int group = 0; group < 2; group += Dot::groups) {
    for (uint64_t rest = steps; rest; rest &= rest - 1) {
      const auto k = 2 * static_cast<ptrdiff_t>(__builtin_ctzll(rest)) + group;
      __builtin_prefetch(w + 64 * (k + 64));  // the hardware does not look past a 4 KB page
      add_groups<V, Dot, 4, NV>(acc, x, off + k, w + 64 * k);
    }
  }
}

// Every step by the cheapest way that its weights allow. The order of an exact sum is free: so the steps of one way
// come after the other, without a branch from step to step.
template <int NV>
inline void fit_tile(const QGemmArgs& a, int r0, int c0) {
  __m256i acc[4][NV];
  start_tile<V, DotOne, 4, NV>(a, acc, r0);
  const int8_t* w = static_cast<const int8_t*>(a.w) + 4 * r0;
  const uint8_t* x = a.x + 4 * static_cast<ptrdiff_t>(c0);
  const int32_t* off = a.off;
  const Fit* fit = a.fits;
  for (int steps = a.k / 2; steps > 0; steps -= Fit::steps, off += 2 * Fit::steps, w += 128 * Fit::steps, ++fit) {
    const uint64_t all = _bzhi_u64(~uint64_t{0}, static_cast<unsigned>(std::min(steps, Fit::steps)));
    const uint64_t two = fit->two[r0 / 4] & all, one = fit->one[r0 / 4] & all;
    add_steps<DotTwo, NV>(acc, x, off, w, two);
    add_steps<DotOne, NV>(acc, x, off, w, one & ~two);
    add_steps<DotWide, NV>(acc, x, off, w, all & ~one);
  }
  if (a.k % 2 != 0) {
    off = a.off + a.k - 1;
    w = static_cast<const int8_t*>(a.w) + 64 * static_cast<ptrdiff_t>(a.k - 1) + 4 * r0;
    add_groups<V, DotWide, 4, NV>(acc, x, off, w);
  }
  store_tile<V, 4, NV>(a, acc, r0, c0);
}

// What all of a panel allows.
bool all_fit(const QGemmArgs& a, bool two) {
  for (int i = 0; a.fits && i < (a.k + 2 * Fit::steps - 1) / (2 * Fit::steps); ++i) {
    const Fit& f = a.fits[i];
    const uint64_t* bits = two ? f.two : f.one;
    if ((bits[0] & bits[1] & bits[2] & bits[3]) != ~uint64_t{0}) return false;
  }
  return true;
}

template <class Dot>
void qgemm(const QGemmArgs& a) {
  int c0 = 0;
  for (; c0 + 8 < a.cols; c0 += 16) qgemm_column<V, Dot, 4, 2>(a, c0);
  for (; c0 < a.cols; c0 += 8) qgemm_column<V, Dot, 4, 1>(a, c0);
}

void qgemm_fit(const QGemmArgs& a) {
  for (int c0 = 0; c0 < a.cols; c0 += 16) {
    for (int r0 = 0; r0 < a.rows; r0 += 4) {
      if (a.cols - c0 > 8) fit_tile<2>(a, r0, c0);
      else fit_tile<1>(a, r0, c0);
    }
  }
}

// As many columns at a time as the registers hold beside the weights.
template <class Dot>
void qgemm_few(const QGemmArgs& a) {
  int c0 = 0;
  for (; a.cols - c0 >= 2; c0 += 2) qgemm_few_tile<V, Dot, 2, 1>(a, c0);
  if (c0 < a.cols) qgemm_few_tile<V, Dot, 1, 2>(a, c0);
}

// The sum of lane j of sums[j].
int32_t sum_diagonal(const __m256i* sums) {
  const __m256i low =
      _mm256_blend_epi32(_mm256_blend_epi32(sums[0], sums[1], 0x02), _mm256_blend_epi32(sums[2], sums[3], 0x08), 0x0c);
  const __m256i high =
      _mm256_blend_epi32(_mm256_blend_epi32(sums[4], sums[5], 0x20), _mm256_blend_epi32(sums[6], sums[7], 0x80), 0xc0);
  const __m256i eight = _mm256_blend_epi32(low, high, 0xf0);
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// Entries of a row times a column, eight at a time as in csr_f32_dot_8__avx2: each input is broadcast and meets all
// eight values, and lane j of the j-th sum is of use. Values are words beside zero words, so that a pair of inputs does
// for one.
template <class Delta>
int32_t csr_dot(const Delta* deltas, const int8_t* values, uint32_t n, const uint16_t* x) {
  --x;  // at the column of the last entry
  __m256i sums[8];
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) sums[j] = _mm256_setzero_si256();
  const Delta* const end = deltas + n;
  for (; end - deltas >= 8; deltas += 8, values += 8) {
    const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
    const __m256i w = _mm256_cvtepu16_epi32(_mm_cvtepi8_epi16(eight));
    uint64_t at = 0;
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      at += deltas[j];
      const __m256i products = _mm256_madd_epi16(w, V::iset1(load_four(x + at + j + 1)));
      __asm__("vpaddd %1, %0, %0" : "+x"(sums[j]) : "x"(products));  // GCC 12 copies and spills the sums around V::iadd
    }
    if constexpr (sizeof(Delta) == 1) {  // the next eight do not wait for these additions
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(deltas));
      at = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_sad_epu8(bytes, _mm_setzero_si128())));
    }
    x += at + 8;
  }
  auto sum = static_cast<uint32_t>(sum_diagonal(sums));
  for (; deltas < end; ++deltas, ++values) {
    x += *deltas + 1;
    sum += static_cast<uint32_t>(*x * *values);
  }
  return static_cast<int32_t>(sum);
}

template <class Delta>
void csr_dots(const QCsrDotArgs& a) {
  const auto* deltas = static_cast<const Delta*>(a.w.deltas);
  const int8_t* values = a.w.values;
  for (int r = 0; r < a.w.rows; ++r) {
    const uint32_t n = a.w.counts[r];
    for (int c = 0; c < a.cols; ++c) {
      const int32_t sum = csr_dot(deltas, values, n, a.x + c * a.x_stride);
      store_sum(a.epilogue, a.to_f32, a.y, a.y_stride, r, c, sum);
    }
    deltas += n;
    values += n;
  }
}

}  // namespace

void qgemm_u8_4x16__avx2(const QGemmArgs& a) {
  constexpr int kShort = 16;  // steps of a sum that is too short to be worth sorting
  if (all_fit(a, true)) qgemm<DotTwo>(a);
  else if (a.k < 2 * kShort && all_fit(a, false)) qgemm<DotOne>(a);
  else qgemm_fit(a);
}
void qgemm_u8_few_16x2__avx2(const QGemmArgs& a) {
  if (all_fit(a, true)) qgemm_few<DotTwo>(a);
  else if (all_fit(a, false)) qgemm_few<DotOne>(a);
  else qgemm_few<DotWide>(a);
}
void qgemm_u8s4_few_16x2__avx2(const QGemmArgs& a) { qgemm_few<DotNibbles>(a); }
void qcsr_dot_u8_8__avx2(const QCsrDotArgs& a) {
  if (a.w.delta_bits == 8) csr_dots<uint8_t>(a);
  else csr_dots<uint16_t>(a);
}
void unpack_s4_64__avx2(const UnpackArgs& a) { unpack_nibbles<V>(a); }
void qdepthwise_u8_4x8__avx2(const QDepthwiseArgs& a) {
  if (a.fits) qdepthwise<V, DotOne>(a);
  else qdepthwise<V, DotWide>(a);
}
void quantize_u8_4x8__avx2(const QuantizeArgs& a) { quantize<V>(a); }
void dequantize_u8_4x8__avx2(const DequantizeArgs& a) { dequantize<V>(a); }
void qadd_u8_4x8__avx2(const QAddArgs& a) { qadd<V>(a); }
void max_u8_32__avx2(const MaxBytesArgs& a) { max_bytes<V>(a); }

}  // namespace pyrt

#endif
