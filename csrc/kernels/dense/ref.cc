#include "kernels/ref.h"

namespace pyrt {
namespace {

double value(float w) { return static_cast<double>(w); }
double value(uint16_t w) { return static_cast<double>(ref_widen(w)); }

// Sums in double: the reference that the fast kernels are held against.
template <class W>
void gemm_ref(const GemmArgs& a) {
  const W* w = static_cast<const W*>(a.w);
  for (int r = 0; r < a.rows; ++r) {
    float* y = a.y + r * a.y_stride;
    for (int c = 0; c < a.cols; ++c) {
      double sum = a.first ? 0.0 : static_cast<double>(y[c]);
      for (int k = 0; k < a.k; ++k) sum += value(w[k * kPanel + r]) * value(a.x[a.off[k] + c]);
      y[c] = a.last ? ref_finish(a.epilogue, sum, r, c, a.y_stride) : static_cast<float>(sum);
    }
  }
}

}  // namespace

void gemm_f32__ref(const GemmArgs& a) { gemm_ref<float>(a); }
void gemm_f32_few__ref(const GemmArgs& a) { gemm_ref<float>(a); }
void gemm_f16_few__ref(const GemmArgs& a) { gemm_ref<uint16_t>(a); }

}  // namespace pyrt
