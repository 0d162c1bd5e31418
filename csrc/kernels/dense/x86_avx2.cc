#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/dense/gemm.inl"

namespace pyrt {

void gemm_f32_4x24__avx2(const GemmArgs& a) { gemm<Avx2, 4, 4, 8>(a); }

namespace {

template <class W>
void gemm_few(const GemmArgs& a) {
  int c0 = 0;
  for (; a.cols - c0 >= 4; c0 += 4) gemm_few_tile<Avx2, W, 4, 1>(a, c0);
  switch (a.cols - c0) {
    case 3: gemm_few_tile<Avx2, W, 3, 1>(a, c0); break;
    case 2: gemm_few_tile<Avx2, W, 2, 2>(a, c0); break;
    case 1: gemm_few_tile<Avx2, W, 1, 4>(a, c0); break;
    default: break;
  }
}

}  // namespace

void gemm_f32_few_16x4__avx2(const GemmArgs& a) { gemm_few<float>(a); }
void gemm_f16_few_16x4__avx2(const GemmArgs& a) { gemm_few<uint16_t>(a); }

}  // namespace pyrt

#endif
