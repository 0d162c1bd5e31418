#include <cstring>

#include "kernels/ref.h"

namespace pyrt {

void expand_codewords_f32__ref(const ExpandCodewordsArgs& a) {
  for (int64_t j = 0; j < a.n; ++j) {
    for (int i = 0; i < a.d; ++i) {
      for (int r = 0; r < kPanel; ++r) {
        a.out[(j * a.d + i) * kPanel + r] = a.book[a.index[j * kPanel + r] * a.d + i];
      }
    }
  }
}

void gemm_codewords_f32__ref(const GemmCodewordsArgs& a) {
  const GemmArgs& p = a.product;
  for (int r = 0; r < p.rows; ++r) {
    float* y = p.y + r * p.y_stride;
    for (int c = 0; c < p.cols; ++c) {
      double sum = p.first ? 0.0 : static_cast<double>(y[c]);
      for (int k = 0; k < p.k; ++k) {
        const float w = a.book[a.index[k / a.d * kPanel + r] * a.d + k % a.d];
        sum += static_cast<double>(w) * static_cast<double>(p.x[p.off[k] + c]);
      }
      y[c] = p.last ? ref_finish(p.epilogue, sum, r, c, p.y_stride) : static_cast<float>(sum);
    }
  }
}

void codeword_dot_f32__ref(const CodewordDotArgs& a) {
  for (int c = 0; c < a.cols; ++c) {
    const float* x = a.x + c * a.n * a.d;
    for (int r = 0; r < a.rows; ++r) {
      double sum = 0;
      for (int64_t j = 0; j < a.n; ++j) {
        const float* codeword = a.book + a.index[j * kPanel + r] * a.d;
        for (int i = 0; i < a.d; ++i) {
          sum += static_cast<double>(codeword[i]) * static_cast<double>(x[j * a.d + i]);
        }
      }
      a.y[r * a.y_stride + c] = ref_finish(a.epilogue, sum, r, c, a.y_stride);
    }
  }
}

void unpack_index_u8__ref(const UnpackIndexArgs& a) {
  uint64_t bit = a.first * static_cast<uint64_t>(a.bits);
  for (int64_t i = 0; i < a.n; ++i, bit += static_cast<uint64_t>(a.bits)) {
    uint64_t window;
    std::memcpy(&window, a.packed + bit / 8, 8);
    a.out[i] = static_cast<uint8_t>((window >> (bit % 8)) & ((1u << a.bits) - 1));
  }
}

void widen_s8__ref(const WidenS8Args& a) {
  for (int64_t i = 0; i < a.n; ++i) a.out[i] = static_cast<float>(a.in[i]) * a.scale;
}

}  // namespace pyrt
