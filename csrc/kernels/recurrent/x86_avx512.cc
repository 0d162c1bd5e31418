#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/recurrent/recurrent.inl"

namespace pyrt {

void lstm_f32_16__avx512(const CellArgs& a) { lstm<Avx512>(a); }
void gru_f32_16__avx512(const CellArgs& a) { gru<Avx512>(a); }

}  // namespace pyrt

#endif
