#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/attention/attention.inl"

namespace pyrt {

void norm_f32_16__avx512(const NormArgs& a) { norm<Avx512>(a); }
void softmax_f32_16__avx512(const SoftmaxArgs& a) { softmax_columns<Avx512>(a); }

}  // namespace pyrt

#endif
