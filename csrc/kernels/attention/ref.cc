#include <cmath>
#include <limits>

#include "kernels/ref.h"

namespace pyrt {

void norm_f32__ref(const NormArgs& a) {
  for (int64_t i = 0; i < a.cols; ++i) {
    double mean = 0, sum = 0;
    for (int64_t c = 0; c < a.channels && !a.rms; ++c) mean += a.x[c * a.x_stride + i];
    mean /= static_cast<double>(a.channels);
    for (int64_t c = 0; c < a.channels; ++c) {
      const double d = a.x[c * a.x_stride + i] - mean;
      sum += d * d;
    }
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(a.channels) + a.eps);
    for (int64_t c = 0; c < a.channels; ++c) {
      const double d = a.x[c * a.x_stride + i] - mean;
      a.y[c * a.y_stride + i] = static_cast<float>(d * scale * a.gain[c] + a.shift[c]);
    }
  }
}

void softmax_f32__ref(const SoftmaxArgs& a) {
  const float lowest = -std::numeric_limits<float>::infinity();
  for (int c = 0; c < a.cols; ++c) {
    const float before = a.first ? lowest : a.max[c];
    float top = before;
    for (int r = 0; r < a.rows; ++r) {
      a.x[r * a.stride + c] += a.bias ? a.bias[r] : 0.0f;
      top = std::fmax(top, a.x[r * a.stride + c]);
    }
    const float shift = top > lowest ? top : 0.0f;
    const float factor = std::exp(before - shift);
    double sum = a.first ? 0.0 : static_cast<double>(a.sum[c]) * factor;
    for (int r = 0; r < a.rows; ++r) sum += a.x[r * a.stride + c] = std::exp(a.x[r * a.stride + c] - shift);
    a.max[c] = top;
    a.sum[c] = static_cast<float>(sum);
    a.factor[c] = factor;
  }
}

}  // namespace pyrt
