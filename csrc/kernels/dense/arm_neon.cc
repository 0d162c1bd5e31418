#if defined(__aarch64__)

#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/dense/gemm.inl"

namespace pyrt {

void gemm_f32_8x12__neon(const GemmArgs& a) { gemm<Neon, 8, 8, 16>(a); }

namespace {

template <class W>
void gemm_few(const GemmArgs& a) {
  int c0 = 0;
  for (; a.cols - c0 >= 4; c0 += 4) gemm_few_tile<Neon, W, 4, 1>(a, c0);
  switch (a.cols - c0) {
    case 3: gemm_few_tile<Neon, W, 3, 1>(a, c0); break;
    case 2: gemm_few_tile<Neon, W, 2, 2>(a, c0); break;
    case 1: gemm_few_tile<Neon, W, 1, 2>(a, c0); break;
    default: break;
  }
}

}  // namespace

void gemm_f32_few_16x4__neon(const GemmArgs& a) { gemm_few<float>(a); }
void gemm_f16_few_16x4__neon(const GemmArgs& a) { gemm_few<uint16_t>(a); }

}  // namespace pyrt

#endif
