#include "kernels/ref.h"

namespace pyrt {

void depthwise_f32__ref(const DepthwiseArgs& a) {
  for (int r = 0; r < a.y_rows; ++r) {
    for (int c = 0; c < a.y_cols; ++c) {
      double sum = 0;
      for (int t = 0; t < a.taps; ++t) {
        const int64_t col = int64_t{c} * a.col_step + a.tap_col[t];
        if (col < 0 || col >= a.width) continue;
        const float* row = a.x_rows[int64_t{r} * a.row_step + a.tap_row[t]];
        sum += static_cast<double>(a.w[t]) * static_cast<double>(row[col]);
      }
      const ptrdiff_t at = r * a.y_pitch + c;
      a.y[at] = ref_finish(a.epilogue, sum, 0, static_cast<int>(at), 0);
    }
  }
}

}  // namespace pyrt
