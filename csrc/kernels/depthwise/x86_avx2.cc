#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/depthwise/depthwise.inl"

namespace pyrt {

void depthwise_f32_4x16__avx2(const DepthwiseArgs& a) { depthwise<Avx2>(a); }

}  // namespace pyrt

#endif
