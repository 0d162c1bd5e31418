#if defined(__aarch64__)

// GCC would schedule all loads of a tile before its sums, and spill them.
#pragma GCC optimize("no-schedule-insns")
#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/depthwise/depthwise.inl"

namespace pyrt {

void depthwise_f32_4x8__neon(const DepthwiseArgs& a) { depthwise<Neon>(a); }

}  // namespace pyrt

#endif
