#if defined(__aarch64__)

#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/attention/attention.inl"

namespace pyrt {

void norm_f32_16__neon(const NormArgs& a) { norm<Neon>(a); }
void softmax_f32_4__neon(const SoftmaxArgs& a) { softmax_columns<Neon>(a); }

}  // namespace pyrt

#endif
