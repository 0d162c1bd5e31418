#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx512.h"
// The templates use the vector type above.
#include "kernels/int8/qdepthwise.inl"
#include "kernels/int8/qgemm.inl"

namespace pyrt {

void qdepthwise_u8__ref(const QDepthwiseArgs& a);

namespace {

using V = Int8Avx512;

// vpdpbusd: four u8 x s8 products added in 32 bits, exact for any weights.
struct Dot {
  using Single = Dot;
  using X = __m512i;
  static constexpr int groups = 1, panel_bytes = 64;
  static X bytes(__m512i x) { return x; }
  static __m512i weights(__m512i w) { return w; }
  static X columns(const uint8_t* x, const int32_t* off) { return V::iload(x + 4 * static_cast<ptrdiff_t>(off[0])); }
  static __m512i row(const int8_t* w) { return V::iset1(load_four(w)); }
  static __m512i panel(const int8_t* w) { return V::iload(w); }
  // Not the intrinsic: GCC 12 copies and spills the sums around it.
  static __m512i add(__m512i acc, X x, __m512i w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
  }
  static X column(const uint8_t* x, const int32_t* off) {
    return V::iset1(load_four(x + 4 * static_cast<ptrdiff_t>(off[0])));
  }
};

// s4: group 2i in the low nibbles, 2i + 1 in the high ones, + 8.
struct DotLow : Dot {
  static __m512i panel(const int8_t* w) { return low(V::iload(w)); }
  static __m512i low(__m512i both) { return _mm512_sub_epi8(_mm512_and_si512(both, V::bset1(15)), V::bset1(8)); }
};
struct DotNibbles {
  using Single = DotLow;
  struct X {
    __m512i first, second;
  };
  static constexpr int groups = 2, panel_bytes = 64;
  static X panel(const int8_t* w) {
    const __m512i both = V::iload(w);
    return {DotLow::low(both), DotLow::low(_mm512_srli_epi16(both, 4))};
  }
  static X column(const uint8_t* x, const int32_t* off) { return {Dot::column(x, off), Dot::column(x, off + 1)}; }
  static __m512i add(__m512i acc, const X& x, const X& w) {
    return Dot::add(Dot::add(acc, x.first, w.first), x.second, w.second);
  }
};

template <class Product>
void qgemm_few(const QGemmArgs& a) {
  switch (a.cols) {
    case 8: qgemm_few_tile<V, Product, 8, 1>(a, 0); break;
    case 7: qgemm_few_tile<V, Product, 7, 1>(a, 0); break;
    case 6: qgemm_few_tile<V, Product, 6, 2>(a, 0); break;
    case 5: qgemm_few_tile<V, Product, 5, 2>(a, 0); break;
    case 4: qgemm_few_tile<V, Product, 4, 2>(a, 0); break;
    case 3: qgemm_few_tile<V, Product, 3, 4>(a, 0); break;
    case 2: qgemm_few_tile<V, Product, 2, 4>(a, 0); break;
    case 1: qgemm_few_tile<V, Product, 1, 8>(a, 0); break;
    default: break;
  }
}

}  // namespace

void qgemm_u8_8x48__avx512vnni(const QGemmArgs& a) {
  int left = (a.cols + V::width - 1) / V::width;
  for (int c0 = 0; left > 0;) {
    const int take = left == 4 ? 2 : left < 3 ? left : 3;  // 4 = 2 + 2
    if (take == 3) qgemm_column<V, Dot, 8, 3>(a, c0);
    else if (take == 2) qgemm_column<V, Dot, 8, 2>(a, c0);
    else qgemm_column<V, Dot, 16, 1>(a, c0);
    c0 += take * V::width;
    left -= take;
  }
}

void qgemm_u8_few_16x8__avx512vnni(const QGemmArgs& a) { qgemm_few<Dot>(a); }
void qgemm_u8s4_few_16x8__avx512vnni(const QGemmArgs& a) { qgemm_few<DotNibbles>(a); }

void qdepthwise_u8_4x16__avx512vnni(const QDepthwiseArgs& a) {
  if (a.cols <= kFewColumns) qdepthwise_u8__ref(a);
  else qdepthwise<V, Dot>(a);
}

}  // namespace pyrt

#endif
