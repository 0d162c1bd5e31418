#include "kernels/ref.h"

namespace pyrt {

void depthwise_f32__ref(const DepthwiseArgs& a) {
  for (int c = 0; c < a.cols; ++c) {
    double sum = 0;
    for (int t = 0; t < a.taps; ++t) {
      sum += static_cast<double>(a.w[t]) * static_cast<double>(a.x[a.off[t] + c]);
    }
    a.y[c] = ref_finish(a.epilogue, sum, 0, c, 0);
  }
}

}  // namespace pyrt
