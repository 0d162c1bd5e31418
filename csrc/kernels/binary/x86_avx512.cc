#if defined(__x86_64__)

#include <cstring>

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx512.h"
// The templates use the vector type above.
#include "kernels/binary/bgemm.inl"

namespace pyrt {

void binarize_32x16__avx512(const BinarizeArgs& a) { binarize<Int8Avx512>(a); }

}  // namespace pyrt

#endif
