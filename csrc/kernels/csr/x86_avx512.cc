#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
#include "kernels/simd/avx512.h"
#include "kernels/simd/sse.h"
// The templates use the vector type above.
#include "kernels/csr/block_dot.inl"
#include "kernels/csr/csr.inl"
#include "kernels/csr/deltas.inl"
#include "kernels/csr/pairs.inl"

namespace pyrt {
namespace {

// Eight columns of a line, stored by a mask register.
struct Line : Avx2 {
  static void store_first(float* p, reg v, int n) { _mm256_mask_storeu_ps(p, static_cast<__mmask8>((1u << n) - 1), v); }
};

}  // namespace

void csr_f32_1x96__avx512(const CsrArgs& a) { csr<Avx512, 6>(a); }
void csr_lines_f32_1x96__avx512(const CsrArgs& a) {
  if (a.line == 8) csr_lines<Line, 8, 8, 32>(a);
  else csr_lines<Avx512, 16, 6, 32>(a);
}
// One line of X by halves: to spread a weight over eight lanes takes half as long, and that is what limits it.
void csr_deltas_f32_1x32__avx512(const CsrDeltasArgs& a) {
  if (a.cols > 16) csr_deltas_tile<Avx512, 2, 4, 0>(a);
  else if (a.x_stride == 16) csr_deltas_tile<Avx2, 2, 4, 16>(a);
  else csr_deltas_tile<Avx512, 1, 4, 0>(a);
}
void bcsr_f32_4x96__avx512(const CsrArgs& args) {
  for_tiles<Avx512, 6>(args, [](const CsrArgs& a, int vectors) {
    if (a.cols <= 16 * vectors - 8) {
      switch (vectors) {
        case 2: return bcsr_tile<Avx512, 2, true>(a);
        case 3: return bcsr_tile<Avx512, 3, true>(a);
        case 4: return bcsr_tile<Avx512, 4, true>(a);
        case 5: return bcsr_tile<Avx512, 5, true>(a);
        case 6: return bcsr_tile<Avx512, 6, true>(a);
      }
    }
    if (vectors == 6) bcsr_tile<Avx512, 6>(a);
    else if (vectors == 5) bcsr_tile<Avx512, 5>(a);
    else if (vectors == 4) bcsr_tile<Avx512, 4>(a);
    else if (vectors == 3) bcsr_tile<Avx512, 3>(a);
    else if (vectors == 2) bcsr_tile<Avx512, 2>(a);
    else bcsr_tile<Avx512, 1>(a);
  });
}
void bcsr_f32_few_16x1__avx512(const CsrFewArgs& a) {
  if (a.block == 16) bcsr_few_rows<Avx512, Avx512, 1, 8>(a);
  else if (a.block == 8) bcsr_few_rows<Avx512, Avx2, 1, 8>(a);
  else bcsr_few_rows<Avx512, Sse, 1, 8>(a);
}
// Vectors of AVX2, whose multiply-adds broadcast their operand here.
void bcsr_f32_dot_8__avx512(const CsrDotArgs& a) {
  if (a.block == 16) bcsr_dot<Avx2, Avx512, Avx512, 1>(a);
  else if (a.block == 8) bcsr_dot<Avx2, Avx2, Avx2, 1>(a);
  else bcsr_dot<Avx2, Avx2, Sse, 1>(a);
}
void pairs_f32_few_16x4__avx512(const PairsArgs& a) { pairs_few<Avx512, 4>(a); }
void split_rows_16__avx512(const SplitRowsArgs& a) { split_rows<Avx512>(a); }
void pack_rows_f32_16__avx512(const PackRowsArgs& a) { pack_rows<Avx512>(a); }

}  // namespace pyrt

#endif
