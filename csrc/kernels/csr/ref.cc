#include "kernels/ref.h"

namespace pyrt {

void csr_f32__ref(const CsrArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.cols; ++c) {
      float* y = a.y + r * a.y_stride + c;
      double sum = a.first ? 0 : static_cast<double>(*y);
      for (uint32_t i = a.begin[r]; i < a.end[r]; ++i) {
        sum += static_cast<double>(a.val[i]) * static_cast<double>(a.x[a.off[i] + c]);
      }
      *y = a.last ? ref_finish(a.epilogue, sum, r, c, a.y_stride) : static_cast<float>(sum);
    }
  }
}

void bcsr_f32__ref(const CsrArgs& a) {
  for (int r = 0; r < 4 * a.rows; ++r) {
    for (int c = 0; c < a.cols; ++c) {
      float* y = a.y + r * a.y_stride + c;
      double sum = a.first ? 0 : static_cast<double>(*y);
      for (uint32_t i = a.begin[r / 4]; i < a.end[r / 4]; ++i) {
        sum += static_cast<double>(a.val[4 * static_cast<int64_t>(i) + r % 4]) * static_cast<double>(a.x[a.off[i] + c]);
      }
      *y = a.last ? ref_finish(a.epilogue, sum, r, c, a.y_stride) : static_cast<float>(sum);
    }
  }
}

void bcsr_f32_few__ref(const CsrFewArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < 4 * a.rows; ++r) {
    const auto n = static_cast<int64_t>(a.counts[r / 4]);
    for (int c = 0; c < a.cols; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        sum += static_cast<double>(val[4 * i + r % 4]) * static_cast<double>(a.x[off[i] + c]);
      }
      a.y[r * a.y_stride + c] = ref_finish(a.epilogue, sum, r, c, a.y_stride);
    }
    if (r % 4 < 3) continue;
    off += n;
    val += 4 * n;
  }
}

void csr_f32_few__ref(const CsrFewArgs& a) {
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

void split_rows__ref(const SplitRowsArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    a.at[r] = a.begin[r];
    while (a.at[r] < a.end[r] && a.off[a.at[r]] < a.bound) ++a.at[r];
  }
}

void pack_rows_f32__ref(const PackRowsArgs& a) {
  for (int i = 0; i < a.k; ++i) {
    for (int c = 0; c < (a.cols + 15) / 16 * 16; ++c) a.out[i * a.stride + c] = a.x[a.off[i] + c];
  }
}

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
