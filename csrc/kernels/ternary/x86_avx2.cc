#if defined(__x86_64__)

#include <algorithm>

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx2.h"
// The templates use the vector type above.
#include "kernels/ternary/ternary.inl"

namespace pyrt {

void gemm_binary_few_48x1__avx2(const TernaryArgs& a) { ternary<Int8Avx2, RegisterTables<Int8Avx2>, 1, 6>(a); }
void gemm_ternary_few_16x1__avx2(const TernaryArgs& a) { ternary<Int8Avx2, RegisterTables<Int8Avx2>, 2, 4>(a); }
void widen_binary_8__avx2(const WidenTernaryArgs& a) { widen_ternary<Int8Avx2, 1>(a); }
void widen_ternary_8__avx2(const WidenTernaryArgs& a) { widen_ternary<Int8Avx2, 2>(a); }

}  // namespace pyrt

#endif
