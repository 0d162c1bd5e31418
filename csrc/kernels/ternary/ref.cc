#include "kernels/ref.h"

namespace pyrt {
namespace {

// The words of 32 columns, [k/32][planes][16]: the weight in column k of row r.
double weight(const uint32_t* w, const float* scales, int planes, int64_t k, int r) {
  const auto bit = [&](int plane) { return w[(k / 32 * planes + plane) * kPanel + r] >> k % 32 & 1; };
  const auto scale = [&](int plane) { return static_cast<double>(scales[plane * kPanel + r]); };
  if (planes == 1) return bit(0) ? scale(0) : -scale(0);
  return bit(0) ? scale(0) : bit(1) ? scale(1) : 0.0;
}

void gemm_few(const TernaryArgs& a, int planes) {
  const GemmArgs& p = a.product;
  for (int row = 0; row < p.rows; ++row) {
    const int panel = row / kPanel, r = row % kPanel;
    const uint32_t* w = static_cast<const uint32_t*>(p.w) + static_cast<int64_t>(panel) * (p.k / 32) * planes * kPanel;
    for (int c = 0; c < p.cols; ++c) {
      double sum = 0;
      for (int k = 0; k < p.k; ++k) {
        sum += weight(w, a.scales + panel * planes * kPanel, planes, k, r) *
               static_cast<double>(p.x[c * static_cast<int64_t>(p.k) + k]);
      }
      p.y[row * p.y_stride + c] = ref_finish(p.epilogue, sum, row, c, p.y_stride);
    }
  }
}

void widen(const WidenTernaryArgs& a, int planes) {
  for (int k = 0; k < a.n; ++k) {
    for (int r = 0; r < kPanel; ++r) a.out[k * kPanel + r] = static_cast<float>(weight(a.w, a.scales, planes, k, r));
  }
}

}  // namespace

void gemm_binary_few__ref(const TernaryArgs& a) { gemm_few(a, 1); }
void gemm_ternary_few__ref(const TernaryArgs& a) { gemm_few(a, 2); }
void widen_binary__ref(const WidenTernaryArgs& a) { widen(a, 1); }
void widen_ternary__ref(const WidenTernaryArgs& a) { widen(a, 2); }

}  // namespace pyrt
