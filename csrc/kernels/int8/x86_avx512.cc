#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx512.h"
// The templates use the vector type above.
#include "kernels/int8/qpointwise.inl"

namespace pyrt {

void quantize_u8_4x16__avx512(const QuantizeArgs& a) { quantize<Int8Avx512>(a); }
void dequantize_u8_4x16__avx512(const DequantizeArgs& a) { dequantize<Int8Avx512>(a); }
void qadd_u8_4x16__avx512(const QAddArgs& a) { qadd<Int8Avx512>(a); }
void max_u8_64__avx512(const MaxBytesArgs& a) { max_bytes<Int8Avx512>(a); }

}  // namespace pyrt

#endif
