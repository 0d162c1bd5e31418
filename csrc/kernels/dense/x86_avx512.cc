#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/dense/gemm.inl"

namespace pyrt {

void gemm_f32_8x48__avx512(const GemmArgs& a) { gemm<Avx512, 8, 8, 16>(a); }

namespace {

template <class W>
void gemm_few(const GemmArgs& a) {
  switch (a.cols) {
    case 8: gemm_few_tile<Avx512, W, 8, 1>(a, 0); break;
    case 7: gemm_few_tile<Avx512, W, 7, 1>(a, 0); break;
    case 6: gemm_few_tile<Avx512, W, 6, 2>(a, 0); break;
    case 5: gemm_few_tile<Avx512, W, 5, 2>(a, 0); break;
    case 4: gemm_few_tile<Avx512, W, 4, 2>(a, 0); break;
    case 3: gemm_few_tile<Avx512, W, 3, 4>(a, 0); break;
    case 2: gemm_few_tile<Avx512, W, 2, 4>(a, 0); break;
    case 1: gemm_few_tile<Avx512, W, 1, 8>(a, 0); break;
    default: break;
  }
}

}  // namespace

void gemm_f32_few_16x8__avx512(const GemmArgs& a) { gemm_few<float>(a); }
void gemm_f16_few_16x8__avx512(const GemmArgs& a) { gemm_few<uint16_t>(a); }

}  // namespace pyrt

#endif
