#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/dense/gemm.inl"

namespace pyrt {

void gemm_f32_4x24__avx2(const GemmArgs& a) { gemm<Avx2, 4, 4, 8>(a); }

void gemm_f32_few_16x4__avx2(const GemmArgs& a) {
  int c0 = 0;
  for (; a.cols - c0 >= 4; c0 += 4) gemm_few_tile<Avx2, 4, 1>(a, c0);
  switch (a.cols - c0) {
    case 3: gemm_few_tile<Avx2, 3, 1>(a, c0); break;
    case 2: gemm_few_tile<Avx2, 2, 2>(a, c0); break;
    case 1: gemm_few_tile<Avx2, 1, 4>(a, c0); break;
    default: break;
  }
}

}  // namespace pyrt

#endif
