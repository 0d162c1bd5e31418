#if defined(__aarch64__)

#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/csr/block_dot.inl"
#include "kernels/csr/csr.inl"
#include "kernels/csr/deltas.inl"
#include "kernels/decode/prefix_neon.h"

// GCC would schedule the loads of an unrolled step before its sums, and spill them.
#pragma GCC push_options
#pragma GCC optimize("no-schedule-insns")
#include "kernels/csr/pairs.inl"
#pragma GCC pop_options

namespace pyrt {
namespace {

// x at four 16-bit distances.
Neon::reg load4(const float* x, uint64_t at) {
  auto v = vld1q_dup_f32(x + (at & 0xffff));
  v = vld1q_lane_f32(x + ((at >> 16) & 0xffff), v, 1);
  v = vld1q_lane_f32(x + ((at >> 32) & 0xffff), v, 2);
  return vld1q_lane_f32(x + (at >> 48), v, 3);
}

}  // namespace

void csr_f32_1x32__neon(const CsrArgs& a) { csr<Neon, 8>(a); }
void csr_lines_f32_1x32__neon(const CsrArgs& a) {
  if (a.line == 8) csr_lines<Neon, 8, 4, 12>(a);
  else csr_lines<Neon, 16, 2, 12>(a);
}
void csr_deltas_f32_1x32__neon(const CsrDeltasArgs& a) {
  if (a.cols > 16) csr_deltas_tile<Neon, 8, 1, 0>(a);
  else if (a.x_stride == 16) csr_deltas_tile<Neon, 4, 2, 16>(a);
  else csr_deltas_tile<Neon, 4, 2, 0>(a);
}
void csr_f32_few_1x8__neon(const CsrFewArgs& a) {
  if (a.cols > 4) csr_few<Neon, 2>(a);
  else csr_few<Neon, 1>(a);
}

// Eight entries at a time: their columns by a prefix sum of the deltas, their inputs by scalar loads.
void csr_f32_dot_8__neon(const CsrDotArgs& a) {
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    const uint32_t n = a.counts[r];
    const float* x = a.x - 1;  // at the column of the last entry
    auto low = Neon::zero(), high = Neon::zero();
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
      const uint64x2_t cols = vreinterpretq_u64_u16(prefix_sum8(deltas + i));
      const uint64_t near = vgetq_lane_u64(cols, 0), far = vgetq_lane_u64(cols, 1);
      low = Neon::fma(load4(x, near), Neon::load(val + i), low);
      high = Neon::fma(load4(x, far), Neon::load(val + i + 4), high);
      x += far >> 48;
    }
    float sum = vaddvq_f32(Neon::add(low, high));
    for (; i < n; ++i) {
      x += deltas[i] + 1;
      sum += *x * val[i];
    }
    const RowStore<Neon> store(a.epilogue, r, a.y_stride);
    Neon::store_first(a.y + r * a.y_stride, store.finish_first(Neon::set1(sum), 0, 1), 1);
    deltas += n;
    val += n;
  }
}

void bcsr_f32_4x16__neon(const CsrArgs& args) {
  for_tiles<Neon, 4>(args, [](const CsrArgs& a, int vectors) {
    if (vectors == 4) bcsr_tile<Neon, 4>(a);
    else if (vectors == 3) bcsr_tile<Neon, 3>(a);
    else if (vectors == 2) bcsr_tile<Neon, 2>(a);
    else bcsr_tile<Neon, 1>(a);
  });
}
void bcsr_f32_few_16x1__neon(const CsrFewArgs& a) {
  if (a.block == 16) bcsr_few_rows<Neon, Neon, 4, 2>(a);
  else if (a.block == 8) bcsr_few_rows<Neon, Neon, 2, 4>(a);
  else bcsr_few_rows<Neon, Neon, 1, 8>(a);
}

void bcsr_f32_dot_8__neon(const CsrDotArgs& a) {
  if (a.block == 16) bcsr_dot<Neon, Neon, Neon, 4>(a);
  else if (a.block == 8) bcsr_dot<Neon, Neon, Neon, 2>(a);
  else bcsr_dot<Neon, Neon, Neon, 1>(a);
}

void pairs_f32_few_16x4__neon(const PairsArgs& a) { pairs_few<Neon, 4>(a); }
void expand_pairs_f32_4__neon(const ExpandPairsArgs& a) { expand_pairs<Neon>(a); }
void split_rows_4__neon(const SplitRowsArgs& a) { split_rows<Neon>(a); }
void pack_rows_f32_4__neon(const PackRowsArgs& a) { pack_rows<Neon>(a); }

}  // namespace pyrt

#endif
