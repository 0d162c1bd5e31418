#if defined(__aarch64__)

#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/recurrent/recurrent.inl"

namespace pyrt {

void lstm_f32_4__neon(const CellArgs& a) { lstm<Neon>(a); }
void gru_f32_4__neon(const CellArgs& a) { gru<Neon>(a); }

}  // namespace pyrt

#endif
