#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/csr/csr.inl"

namespace pyrt {

void csr_f32_1x96__avx512(const CsrArgs& a) { csr<Avx512, 6>(a); }
void bcsr_f32_4x96__avx512(const CsrArgs& args) {
  for_tiles<Avx512, 6>(args, [](const CsrArgs& a, int vectors) {
    if (vectors == 6) bcsr_tile<Avx512, 6>(a);
    else if (vectors == 5) bcsr_tile<Avx512, 5>(a);
    else if (vectors == 4) bcsr_tile<Avx512, 4>(a);
    else if (vectors == 3) bcsr_tile<Avx512, 3>(a);
    else if (vectors == 2) bcsr_tile<Avx512, 2>(a);
    else bcsr_tile<Avx512, 1>(a);
  });
}
void split_rows_16__avx512(const SplitRowsArgs& a) { split_rows<Avx512>(a); }
void pack_rows_f32_16__avx512(const PackRowsArgs& a) { pack_rows<Avx512>(a); }

}  // namespace pyrt

#endif
