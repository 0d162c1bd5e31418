#include "kernels/ref.h"

namespace pyrt {
namespace {

double scale(const void* scales, bool halves, int64_t i) {
  return static_cast<double>(halves ? ref_widen(static_cast<const uint16_t*>(scales)[i])
                                    : static_cast<const float*>(scales)[i]);
}

// The integer in column k of row r.
int integer(const void* w, int bits, int64_t k, int r) {
  if (bits == 8) return static_cast<const int8_t*>(w)[k * kPanel + r];
  const int both = static_cast<const uint8_t*>(w)[(k / 8 * kPanel + r) * 4 + k % 8 / 2];
  return (k % 2 ? both >> 4 : both & 15) - 8;
}

void gemm_few(const ScaledArgs& a, int bits) {
  const GemmArgs& p = a.product;
  for (int c = 0; c < p.cols; ++c) {
    for (int r = 0; r < p.rows; ++r) {
      double sum = 0;
      for (int k = 0; k < p.k; ++k) {
        const double x =
            std::ldexp(static_cast<double>(p.x[c * static_cast<int64_t>(p.k) + k]), bits == 4 ? k % 4 * 4 : 0);
        sum += scale(a.scales, a.halves, k / a.group * kPanel + r) * integer(p.w, bits, k, r) * x;
      }
      p.y[r * p.y_stride + c] = ref_finish(p.epilogue, sum, r, c, p.y_stride);
    }
  }
}

void widen(const WidenScaledArgs& a, int bits) {
  for (int k = 0; k < a.n; ++k) {
    for (int r = 0; r < kPanel; ++r) {
      const double s = scale(a.scales, a.halves, (a.first + k) / a.group * kPanel + r);
      a.out[k * kPanel + r] = static_cast<float>(s * integer(a.w, bits, k, r));
    }
  }
}

}  // namespace

void gemm_q8_few__ref(const ScaledArgs& a) { gemm_few(a, 8); }
void gemm_q4_few__ref(const ScaledArgs& a) { gemm_few(a, 4); }
void widen_q8__ref(const WidenScaledArgs& a) { widen(a, 8); }
void widen_q4__ref(const WidenScaledArgs& a) { widen(a, 4); }

}  // namespace pyrt
