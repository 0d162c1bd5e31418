#if defined(__aarch64__)

// GCC would schedule the loads of an unrolled step before its sums, and spill them.
#pragma GCC optimize("no-schedule-insns")
#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/decode/indices_neon.h"
#include "kernels/product/product.inl"

namespace pyrt {
namespace {

struct Quads : Neon {
  static void expand4(const float* const* row, int i, float* out) {
#pragma GCC unroll 4
    for (int r0 = 0; r0 < kPanel; r0 += 4) {
      reg r[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) r[q] = load(row[r0 + q] + i);
      transpose4(r);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) store(out + q * kPanel + r0, r[q]);
    }
  }
  static void expand8(const float* const* row, int i, float* out) {
    expand4(row, i, out);
    expand4(row, i + 4, out + 4 * kPanel);
  }
};

// Four floats of a row.
struct Lane4 : Neon {
  static constexpr int rows = 1, sums = 24, columns = 4;
  static reg repeat(const float* p) { return Neon::load(p); }
  template <class At>
  static reg load(const At& at) {
    return Neon::load(at(0));
  }
  static void store_sums(float* out, reg a, reg b, reg c, reg d) {
    store(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
  }
};

}  // namespace

void expand_codewords_f32_4x4__neon(const ExpandCodewordsArgs& a) { expand_codewords<Quads>(a); }
void gemm_codewords_f32_8x12__neon(const GemmCodewordsArgs& a) { gemm_codewords<Neon, 8, 8, 16>(a); }
void codeword_dot_f32_4__neon(const CodewordDotArgs& a) { codeword_dot<Neon, Lane4, Lane4>(a); }

void unpack_index_u8_8__neon(const UnpackIndexArgs& a) {
  const Indices indices(a.packed, a.first, a.bits);
  int64_t i = 0;
  for (; i + 8 <= a.n; i += 8) vst1_u8(a.out + i, vmovn_u16(indices.at(i)));
  for (; i < a.n; ++i) {
    a.out[i] = static_cast<uint8_t>(index_at(a.packed, a.first + static_cast<uint64_t>(i), a.bits));
  }
}

void widen_s8_4__neon(const WidenS8Args& a) { widen_s8<Neon>(a); }

}  // namespace pyrt

#endif
