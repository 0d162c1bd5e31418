#if defined(__x86_64__)

#include "kernels/kernels.h"

#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/avx2.h"
// The templates use the vector type above.
#include "kernels/pointwise/pointwise.inl"

namespace pyrt {

void affine_f32_8__avx2(const AffineArgs& a) { affine<Avx2>(a); }
void binary_f32_8__avx2(const BinaryArgs& a) { binary<Avx2>(a); }
void copy_rows_f32_8__avx2(const CopyRowsArgs& a) { copy_rows<Avx2>(a); }
void sum_f32_8__avx2(const SumArgs& a) { sum_rows<Avx2>(a); }
void transpose_f32_8__avx2(const TransposeArgs& a) { transpose_rows<Avx2>(a); }
void pool_f32_8__avx2(const PoolArgs& a) { pool<Avx2>(a); }
void reduce_rows_f32_8__avx2(const ReduceRowsArgs& a) { reduce_rows<Avx2>(a); }

}  // namespace pyrt

#endif
