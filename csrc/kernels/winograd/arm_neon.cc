#if defined(__aarch64__)

#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/winograd/winograd.inl"

namespace pyrt {

void winograd_weights_f32_4__neon(const WinogradWeightsArgs& a) { winograd_weights<Neon>(a); }
void winograd_input_f32_4__neon(const WinogradInputArgs& a) { winograd_input<Neon>(a); }
void winograd_output_f32_4__neon(const WinogradOutputArgs& a) { winograd_output<Neon>(a); }

}  // namespace pyrt

#endif
