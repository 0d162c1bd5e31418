#if defined(__aarch64__)

#include <algorithm>

// GCC would schedule the loads of an unrolled step before its sums, and spill them.
#pragma GCC optimize("no-schedule-insns")
#include "kernels/simd/neon.h"
// The templates use the vector type above.
#include "kernels/ternary/ternary.inl"

namespace pyrt {
namespace {

struct V : Neon {
  using ireg = uint32x4_t;
  static ireg iload(const uint32_t* p) { return vld1q_u32(p); }
  template <int N>
  static ireg shift_right(ireg v) {
    return vshrq_n_u32(v, N);
  }
  static reg where_odd(ireg v, reg a, reg b) { return vbslq_f32(vtstq_u32(v, vdupq_n_u32(1)), a, b); }
};

// 16 sums of 4 elements, apart in four registers: byte b of each. So half a byte of the weights of each of 16 rows is
// the index of four lookups, and what they find is put together again by zips.
struct PlaneTables {
  static constexpr int floats = kWord * 4;  // of a word
  static constexpr int kSlots = kPanel / V::width;

  static void make(const float* x, int k, bool signs, float* tables) {
    const auto counts = kCounts.of[signs];
    for (const float* end = x + k; x < end; x += 4, tables += kPanel) {
      const auto four = V::load4(x);
      uint8x16_t sums[4];
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        auto sum = V::mul(V::splat<0>(four), V::load(counts[0] + 4 * v));
        sum = V::fma(V::splat<1>(four), V::load(counts[1] + 4 * v), sum);
        sum = V::fma(V::splat<2>(four), V::load(counts[2] + 4 * v), sum);
        sum = V::fma(V::splat<3>(four), V::load(counts[3] + 4 * v), sum);
        sums[v] = vreinterpretq_u8_f32(sum);
      }
      const uint8x16_t even0 = vuzp1q_u8(sums[0], sums[1]), even1 = vuzp1q_u8(sums[2], sums[3]);
      const uint8x16_t odd0 = vuzp2q_u8(sums[0], sums[1]), odd1 = vuzp2q_u8(sums[2], sums[3]);
      auto* bytes = reinterpret_cast<uint8_t*>(tables);
      vst1q_u8(bytes, vuzp1q_u8(even0, even1));
      vst1q_u8(bytes + 16, vuzp1q_u8(odd0, odd1));
      vst1q_u8(bytes + 32, vuzp2q_u8(even0, even1));
      vst1q_u8(bytes + 48, vuzp2q_u8(odd0, odd1));
    }
  }

  // As RegisterTables does.
  template <int N, int S, class At>
  static void add(const At& at, ptrdiff_t step, const float* tables, ptrdiff_t column, V::reg (&acc)[N][S]) {
    (void)step;
    uint8x16x4_t bits[S / kSlots];  // byte j of the words of 16 rows
#pragma GCC unroll 4
    for (int s = 0; s < S / kSlots; ++s) bits[s] = vld4q_u8(reinterpret_cast<const uint8_t*>(at(s * kSlots)));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) {
          const auto* table = reinterpret_cast<const uint8_t*>(tables + n * column + (2 * j + half) * kPanel);
          const uint8x16_t b0 = vld1q_u8(table), b1 = vld1q_u8(table + 16);
          const uint8x16_t b2 = vld1q_u8(table + 32), b3 = vld1q_u8(table + 48);
#pragma GCC unroll 4
          for (int s = 0; s < S / kSlots; ++s) {
            const uint8x16_t byte = bits[s].val[j];
            const uint8x16_t index = half == 0 ? vandq_u8(byte, vdupq_n_u8(15)) : vshrq_n_u8(byte, 4);
            const uint8x16_t s0 = vqtbl1q_u8(b0, index), s1 = vqtbl1q_u8(b1, index);
            const uint8x16_t s2 = vqtbl1q_u8(b2, index), s3 = vqtbl1q_u8(b3, index);
            add_four(vzip1q_u8(s0, s1), vzip1q_u8(s2, s3), &acc[n][s * kSlots]);
            add_four(vzip2q_u8(s0, s1), vzip2q_u8(s2, s3), &acc[n][s * kSlots + 2]);
          }
        }
      }
    }
  }

 private:
  // Else GCC would look up all sums of a word before it adds them, and spill them.
  static V::reg pinned(V::reg v) {
    V::pin(v);
    return v;
  }

  // Bytes 0 and 1, and bytes 2 and 3, of eight sums.
  static void add_four(uint8x16_t low, uint8x16_t high, V::reg* acc) {
    const uint16x8_t a = vreinterpretq_u16_u8(low), b = vreinterpretq_u16_u8(high);
    acc[0] = pinned(V::add(acc[0], vreinterpretq_f32_u16(vzip1q_u16(a, b))));
    acc[1] = pinned(V::add(acc[1], vreinterpretq_f32_u16(vzip2q_u16(a, b))));
  }
};

}  // namespace

void gemm_binary_few_32x1__neon(const TernaryArgs& a) { ternary<V, PlaneTables, 1, 8>(a); }
void gemm_ternary_few_16x1__neon(const TernaryArgs& a) { ternary<V, PlaneTables, 2, 8>(a); }
void widen_binary_4__neon(const WidenTernaryArgs& a) { widen_ternary<V, 1>(a); }
void widen_ternary_4__neon(const WidenTernaryArgs& a) { widen_ternary<V, 2>(a); }

}  // namespace pyrt

#endif
