#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#include "kernels/simd/avx512.h"
// The templates use the vector type above.
#include "kernels/pointwise/pointwise.inl"

namespace pyrt {

void affine_f32_16__avx512(const AffineArgs& a) { affine<Avx512>(a); }
void binary_f32_16__avx512(const BinaryArgs& a) { binary<Avx512>(a); }
void copy_rows_f32_16__avx512(const CopyRowsArgs& a) { copy_rows<Avx512>(a); }
void sum_f32_16__avx512(const SumArgs& a) { sum_rows<Avx512>(a); }
void transpose_f32_16__avx512(const TransposeArgs& a) { transpose_rows<Avx512>(a); }
void pool_f32_16__avx512(const PoolArgs& a) { pool<Avx512>(a); }
void reduce_rows_f32_16__avx512(const ReduceRowsArgs& a) { reduce_rows<Avx512>(a); }

}  // namespace pyrt

#endif
