#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx512.h"
// The templates use the vector type above.
#include "kernels/int8/vnni.inl"

namespace pyrt {
namespace {

struct V : Int8Avx512 {
  // Not the intrinsic: GCC 12 copies and spills the sums around it.
  static ireg dot(ireg acc, ireg x, ireg w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return acc;
  }
};

}  // namespace

void qgemm_u8_8x48__avx512vnni(const QGemmArgs& a) { qgemm_vnni<V, 8, 16>(a); }
void qgemm_u8_few_16x8__avx512vnni(const QGemmArgs& a) { qgemm_few_vnni<V, Dot<V>>(a); }
void qgemm_u8s4_few_16x8__avx512vnni(const QGemmArgs& a) { qgemm_few_vnni<V, DotNibbles<V>>(a); }
void qdepthwise_u8_4x16__avx512vnni(const QDepthwiseArgs& a) { qdepthwise<V, Dot<V>>(a); }

}  // namespace pyrt

#endif
