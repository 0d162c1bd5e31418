#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/attention/attention.inl"

namespace pyrt {

void norm_f32_8__avx2(const NormArgs& a) { norm<Avx2>(a); }
void softmax_f32_8__avx2(const SoftmaxArgs& a) { softmax_columns<Avx2>(a); }

}  // namespace pyrt

#endif
