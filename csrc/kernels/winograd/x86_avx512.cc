#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/winograd/winograd.inl"

namespace pyrt {

void winograd_weights_f32_16__avx512(const WinogradWeightsArgs& a) { winograd_weights<Avx512>(a); }
void winograd_input_f32_16__avx512(const WinogradInputArgs& a) { winograd_input<Avx512>(a); }
void winograd_output_f32_16__avx512(const WinogradOutputArgs& a) { winograd_output<Avx512>(a); }

}  // namespace pyrt

#endif
