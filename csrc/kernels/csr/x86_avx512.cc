#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/csr/csr.inl"

namespace pyrt {

void csr_f32_1x96__avx512(const CsrArgs& a) { csr<Avx512>(a); }
void split_rows_16__avx512(const SplitRowsArgs& a) { split_rows<Avx512>(a); }
void pack_rows_f32_16__avx512(const PackRowsArgs& a) { pack_rows<Avx512>(a); }

}  // namespace pyrt

#endif
