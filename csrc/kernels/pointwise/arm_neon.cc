#if defined(__aarch64__)

#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/pointwise/pointwise.inl"

namespace pyrt {

void affine_f32_4__neon(const AffineArgs& a) { affine<Neon>(a); }
void binary_f32_4__neon(const BinaryArgs& a) { binary<Neon>(a); }
void copy_rows_f32_4__neon(const CopyRowsArgs& a) { copy_rows<Neon>(a); }
void sum_f32_4__neon(const SumArgs& a) { sum_rows<Neon>(a); }
void transpose_f32_4__neon(const TransposeArgs& a) { transpose_rows<Neon>(a); }
void pool_f32_4__neon(const PoolArgs& a) { pool<Neon>(a); }
void reduce_rows_f32_4__neon(const ReduceRowsArgs& a) { reduce_rows<Neon>(a); }

}  // namespace pyrt

#endif
