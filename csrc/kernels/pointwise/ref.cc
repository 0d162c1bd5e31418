#include "kernels/ref.h"

namespace pyrt {

void affine_f32__ref(const AffineArgs& a) {
  for (int64_t c = 0; c < a.cols; ++c) {
    const double v = static_cast<double>(a.x[c]) * static_cast<double>(a.scale) + static_cast<double>(a.shift);
    a.y[c] = ref_masked(a.mask, c) ? 0.0f : ref_act(a.act, v);
  }
}

void binary_f32__ref(const BinaryArgs& a) {
  for (int64_t c = 0; c < a.cols; ++c) {
    const double x = static_cast<double>(a.a[a.a_step * c]), y = static_cast<double>(a.b[a.b_step * c]);
    double v = 0;
    switch (a.fn) {
      case BinaryOp::kAdd: v = x + y; break;
      case BinaryOp::kSub: v = x - y; break;
      case BinaryOp::kMul: v = x * y; break;
      case BinaryOp::kDiv: v = x / y; break;
    }
    a.y[c] = ref_masked(a.mask, c) ? 0.0f : ref_act(a.act, v);
  }
}

void reduce_rows_f32__ref(const ReduceRowsArgs& a) {
  for (int c = 0; c < a.n; ++c) {
    float acc = a.rows[0][c];
    for (int r = 1; r < a.row_count; ++r) {
      const float v = a.rows[r][c];
      if (a.max) acc = v > acc || std::isnan(v) ? v : acc;
      else acc += v;
    }
    a.y[c] = acc;
  }
}

void pool_f32__ref(const PoolArgs& a) {
  for (int r = 0; r < a.y_rows; ++r) {
    for (int c = 0; c < a.y_cols; ++c) {
      double acc = a.max ? -INFINITY : 0.0;
      for (int t = 0; t < a.kh * a.kw; ++t) {
        const int64_t col = int64_t{c} * a.col_step + int64_t{t % a.kw} * a.col_dilation + a.first_col;
        if (col < 0 || col >= a.width) continue;
        const auto row = int64_t{r} * a.row_step + int64_t{t / a.kw} * a.row_dilation;
        const double v = static_cast<double>(a.x_rows[row][col]);
        if (!a.max) acc += v;
        else if (!(v <= acc) && !std::isnan(acc)) acc = v;
      }
      a.y[r * a.y_pitch + c] = static_cast<float>(acc);
    }
  }
}

void sum_f32__ref(const SumArgs& a) {
  double sum = 0;
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) sum += static_cast<double>(a.x[r * a.pitch + c]);
  }
  *a.y = static_cast<float>(sum);
}

void transpose_f32__ref(const TransposeArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) a.y[c * a.y_pitch + r] = a.x[r * a.x_pitch + c];
  }
}

void copy_rows_f32__ref(const CopyRowsArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.y_cols; ++c) {
      a.y[r * a.y_pitch + c] = c < a.n ? a.x[r * a.x_pitch + static_cast<ptrdiff_t>(c) * a.step] : 0.0f;
    }
  }
}

}  // namespace pyrt
