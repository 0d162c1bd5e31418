#if defined(__x86_64__)

#include <algorithm>

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx512.h"
// The templates use the vector type above.
#include "kernels/ternary/ternary.inl"

namespace pyrt {

void gemm_binary_few_64x1__avx512(const TernaryArgs& a) { ternary<Int8Avx512, RegisterTables<Int8Avx512>, 1, 4>(a); }
void gemm_ternary_few_48x1__avx512(const TernaryArgs& a) { ternary<Int8Avx512, RegisterTables<Int8Avx512>, 2, 6>(a); }
void widen_binary_16__avx512(const WidenTernaryArgs& a) { widen_ternary<Int8Avx512, 1>(a); }
void widen_ternary_16__avx512(const WidenTernaryArgs& a) { widen_ternary<Int8Avx512, 2>(a); }

}  // namespace pyrt

#endif
