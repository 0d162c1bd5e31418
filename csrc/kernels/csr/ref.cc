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

void csr_lines_f32__ref(const CsrArgs& a) {
  for (int line = 0; line < a.cols / a.line; ++line) {
    CsrArgs part = a;
    part.x += line * 16;
    part.y += line * a.y_line;
    if (a.epilogue.residual) part.epilogue.residual += line * a.y_line;
    part.cols = a.line_cols;
    csr_f32__ref(part);
  }
}

void bcsr_f32__ref(const CsrArgs& a) {
  for (int r = 0; r < a.block * a.rows; ++r) {
    const int b = r / a.block, row = a.order ? static_cast<int>(a.order[r]) : r;
    for (int c = 0; c < a.cols; ++c) {
      float* y = a.y + row * a.y_stride + c;
      double sum = a.first ? 0 : static_cast<double>(*y);
      for (int64_t i = a.begin[b]; i < a.end[b]; ++i) {
        sum += static_cast<double>(a.val[a.block * i + r % a.block]) * static_cast<double>(a.x[a.off[i] + c]);
      }
      *y = a.last ? ref_finish(a.epilogue, sum, row, c, a.y_stride) : static_cast<float>(sum);
    }
  }
}

void bcsr_f32_few__ref(const CsrFewArgs& a) {
  const int32_t* off = a.off;
  const float* val = a.val;
  for (int r = 0; r < a.block * a.rows; ++r) {
    const int row = a.order ? static_cast<int>(a.order[r]) : r;
    const auto n = static_cast<int64_t>(a.counts[r / a.block]);
    for (int c = 0; c < a.cols; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        sum += static_cast<double>(val[a.block * i + r % a.block]) * static_cast<double>(a.x[off[i] + c]);
      }
      a.y[row * a.y_stride + c] = ref_finish(a.epilogue, sum, row, c, a.y_stride);
    }
    if (r % a.block < a.block - 1) continue;
    off += n;
    val += a.block * n;
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

void pairs_f32_few__ref(const PairsArgs& a) {
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.cols; ++c) {
      double sum = 0;
      for (int64_t e = 0; e < 2 * a.fours; ++e) {
        const int64_t col = e / 2 * 4 + ((a.places[e] >> 2 * r) & 3);
        sum += static_cast<double>(a.val[16 * e + r]) * static_cast<double>(a.x[c * a.x_stride + col]);
      }
      a.y[r * a.y_stride + c] = ref_finish(a.epilogue, sum, r, c, a.y_stride);
    }
  }
}

void expand_pairs_f32__ref(const ExpandPairsArgs& a) {
  const int64_t n = 2 * a.fours;
  for (int r = 0; r < a.rows; ++r) {
    for (int64_t e = 0; e < n; ++e) {
      const auto col = static_cast<int32_t>(e / 2 * 4 + ((a.places[e] >> 2 * r) & 3));
      a.off[r * n + e] = a.table ? a.table[col] : col * a.stride;
      a.out[r * n + e] = a.val[16 * e + r];
    }
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

void bcsr_f32_dot__ref(const CsrDotArgs& a) {
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  for (int r = 0; r < a.block * a.rows; ++r) {
    const int row = a.order ? static_cast<int>(a.order[r]) : r;
    const auto n = static_cast<int64_t>(a.counts[r / a.block]);
    double sum = 0;
    int32_t col = -1;
    for (int64_t i = 0; i < n; ++i) {
      col += 1 + deltas[i];
      sum += static_cast<double>(val[a.block * i + r % a.block]) * static_cast<double>(a.x[col]);
    }
    a.y[row * a.y_stride] = ref_finish(a.epilogue, sum, row, 0, a.y_stride);
    if (r % a.block < a.block - 1) continue;
    deltas += n;
    val += a.block * n;
  }
}

void csr_deltas_f32__ref(const CsrDeltasArgs& a) {
  const uint8_t* deltas = a.deltas;
  const float* val = a.val;
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.cols; ++c) {
      double sum = 0;
      ptrdiff_t row = -1;
      for (uint32_t i = 0; i < a.counts[r]; ++i) {
        row += 1 + deltas[i];
        sum += static_cast<double>(val[i]) * static_cast<double>(a.x[row * a.x_stride + c]);
      }
      a.y[r * a.y_stride + c] = ref_finish(a.epilogue, sum, r, c, a.y_stride);
    }
    deltas += a.counts[r];
    val += a.counts[r];
  }
}

}  // namespace pyrt
