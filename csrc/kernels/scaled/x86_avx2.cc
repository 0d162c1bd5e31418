#if defined(__x86_64__)

#include <algorithm>

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx2.h"
// The templates use the vector type above.
#include "kernels/scaled/scaled.inl"

namespace pyrt {
namespace {

using V = Int8Avx2;

// As many columns at a time as the registers hold beside the weights; of one column three sums, for two would wait for
// each other's multiply-adds.
template <class Q, class S>
void scaled(const ScaledArgs& a) {
  int c0 = 0;
  for (; a.product.cols - c0 >= 2; c0 += 2) scaled_tile<V, Q, S, 2, 1>(a, c0);
  if (c0 < a.product.cols) scaled_tile<V, Q, S, 1, 3>(a, c0);
}

template <class Q>
void scaled(const ScaledArgs& a) {
  if (a.halves) scaled<Q, uint16_t>(a);
  else scaled<Q, float>(a);
}

}  // namespace

void gemm_q8_few_16x2__avx2(const ScaledArgs& a) { scaled<Bytes<V>>(a); }
void gemm_q4_few_16x2__avx2(const ScaledArgs& a) { scaled<Nibbles<V>>(a); }
void widen_q8_8__avx2(const WidenScaledArgs& a) { widen_scaled<V, Bytes<V>>(a); }
void widen_q4_8__avx2(const WidenScaledArgs& a) { widen_scaled<V, Nibbles<V>>(a); }

}  // namespace pyrt

#endif
