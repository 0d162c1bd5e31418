#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/recurrent/recurrent.inl"

namespace pyrt {

void lstm_f32_8__avx2(const CellArgs& a) { lstm<Avx2>(a); }
void gru_f32_8__avx2(const CellArgs& a) { gru<Avx2>(a); }

}  // namespace pyrt

#endif
