#include "kernels/ref.h"

namespace pyrt {
namespace {

// Sums in double: the reference that the fast kernels are held against.
void gemm_ref(const GemmArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    float* y = a.y + r * a.y_stride;
    for (int c = 0; c < a.cols; ++c) {
      double sum = a.first ? 0.0 : static_cast<double>(y[c]);
      for (int k = 0; k < a.k; ++k) {
        sum += static_cast<double>(a.w[k * kPanel + r]) * static_cast<double>(a.x[a.off[k] + c]);
      }
      y[c] = a.last ? ref_finish(a.epilogue, sum, r, c, a.y_stride) : static_cast<float>(sum);
    }
  }
}

}  // namespace

void gemm_f32__ref(const GemmArgs& a) { gemm_ref(a); }
void gemm_f32_few__ref(const GemmArgs& a) { gemm_ref(a); }

}  // namespace pyrt
