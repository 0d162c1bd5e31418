#include "kernels/ref.h"

namespace pyrt {
namespace {

void csr_ref(const CsrArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.cols; ++c) {
      double sum = 0;
      for (uint32_t i = 0; i < a.counts[r]; ++i) {
        sum += static_cast<double>(val[i]) * static_cast<double>(a.x[off[i] + c]);
      }
      a.y[r * a.y_stride + c] = ref_finish(a.epilogue, sum, r, c, a.y_stride);
    }
    off += a.counts[r];
    val += a.counts[r];
  }
}

}  // namespace

void csr_f32__ref(const CsrArgs& a) { csr_ref(a); }
void csr_f32_few__ref(const CsrArgs& a) { csr_ref(a); }

void csr_f32_dot__ref(const CsrDotArgs& a) {
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    double sum = 0;
    int32_t col = -1;
    for (uint32_t i = 0; i < a.counts[r]; ++i) {
      col += 1 + deltas[i];
      sum += static_cast<double>(val[i]) * static_cast<double>(a.x[col]);
    }
    a.y[r * a.y_stride] = ref_finish(a.epilogue, sum, r, 0, a.y_stride);
    deltas += a.counts[r];
    val += a.counts[r];
  }
}

}  // namespace pyrt
