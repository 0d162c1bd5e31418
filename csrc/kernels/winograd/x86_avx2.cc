#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/winograd/winograd.inl"

namespace pyrt {

void winograd_weights_f32_8__avx2(const WinogradWeightsArgs& a) { winograd_weights<Avx2>(a); }
void winograd_input_f32_8__avx2(const WinogradInputArgs& a) { winograd_input<Avx2>(a); }
void winograd_output_f32_8__avx2(const WinogradOutputArgs& a) { winograd_output<Avx2>(a); }

}  // namespace pyrt

#endif
