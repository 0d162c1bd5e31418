#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx2.h"
// The templates use the vector type above.
#include "kernels/int8/vnni.inl"

namespace pyrt {
namespace {

// tests/cpp/avxvnni.cc has the same with the instruction of AVX-512 VNNI.
struct V : Int8Avx2 {
  static ireg dot(ireg acc, ireg x, ireg w) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w));
    return acc;
  }
};

}  // namespace

void qgemm_u8_4x24__avxvnni(const QGemmArgs& a) { qgemm_vnni<V, 4, 8>(a); }
void qgemm_u8_few_16x4__avxvnni(const QGemmArgs& a) { qgemm_few_vnni<V, Dot<V>>(a); }
void qgemm_u8s4_few_16x4__avxvnni(const QGemmArgs& a) { qgemm_few_vnni<V, DotNibbles<V>>(a); }
void qdepthwise_u8_4x8__avxvnni(const QDepthwiseArgs& a) { qdepthwise<V, Dot<V>>(a); }

}  // namespace pyrt

#endif
