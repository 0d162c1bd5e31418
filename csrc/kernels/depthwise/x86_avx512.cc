#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/depthwise/depthwise.inl"

namespace pyrt {

void depthwise_f32_4x32__avx512(const DepthwiseArgs& a) { depthwise<Avx512>(a); }

}  // namespace pyrt

#endif
