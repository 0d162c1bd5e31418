#include "kernels/int8/finish.h"

namespace pyrt {
namespace {

// Weight i of group k of row r.
int weight(const QGemmArgs& a, int r, int k, int i, bool s4) {
  const ptrdiff_t at = 64 * static_cast<ptrdiff_t>(s4 ? k / 2 : k) + 4 * r + i;
  if (!s4) return static_cast<const int8_t*>(a.w)[at];
  const int both = static_cast<const uint8_t*>(a.w)[at];
  return (k % 2 ? both >> 4 : both & 15) - 8;
}

void qgemm_ref(const QGemmArgs& a, bool s4) {
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.cols; ++c) {
      uint32_t sum = 0;
      for (int k = 0; k < a.k; ++k) {
        const uint8_t* x = a.x + 4 * (static_cast<ptrdiff_t>(a.off[k]) + c);
        for (int i = 0; i < 4; ++i) sum += static_cast<uint32_t>(weight(a, r, k, i, s4) * x[i]);
      }
      store_sum(a.epilogue, a.to_f32, a.y, a.y_stride, r, c, static_cast<int32_t>(sum));
    }
  }
}

template <class Delta>
void qcsr_dot_ref(const QCsrDotArgs& a) {
  const auto* deltas = static_cast<const Delta*>(a.w.deltas);
  const int8_t* values = a.w.values;
  for (int r = 0; r < a.w.rows; ++r) {
    const uint32_t n = a.w.counts[r];
    for (int c = 0; c < a.cols; ++c) {
      uint32_t sum = 0, col = ~0u;
      for (uint32_t i = 0; i < n; ++i) {
        col += 1u + deltas[i];
        sum += static_cast<uint32_t>(values[i] * a.x[c * a.x_stride + col]);
      }
      store_sum(a.epilogue, a.to_f32, a.y, a.y_stride, r, c, static_cast<int32_t>(sum));
    }
    deltas += n;
    values += n;
  }
}

}  // namespace

void qgemm_u8__ref(const QGemmArgs& a) { qgemm_ref(a, false); }
void qgemm_u8_few__ref(const QGemmArgs& a) { qgemm_ref(a, false); }
void qgemm_u8s4_few__ref(const QGemmArgs& a) { qgemm_ref(a, true); }

void qcsr_dot_u8__ref(const QCsrDotArgs& a) {
  if (a.w.delta_bits == 8) qcsr_dot_ref<uint8_t>(a);
  else qcsr_dot_ref<uint16_t>(a);
}

void unpack_s4__ref(const UnpackArgs& a) {
  for (int64_t i = 0; i < 64 * a.pairs; ++i) {
    int8_t* out = a.out + i / 64 * 128 + i % 64;
    out[0] = static_cast<int8_t>((a.in[i] & 15) - 8);
    out[64] = static_cast<int8_t>((a.in[i] >> 4) - 8);
  }
}

void qdepthwise_u8__ref(const QDepthwiseArgs& a) {
  for (int c = 0; c < a.cols; ++c) {
    for (int r = 0; r < a.channels; ++r) {
      uint32_t sum = 0;
      for (int t = 0; t < a.taps; ++t) {
        sum += static_cast<uint32_t>(a.w[t / 4 * 16 + 4 * r + t % 4] *
                                     a.x[4 * (static_cast<ptrdiff_t>(a.off[t]) + c) + r]);
      }
      const ptrdiff_t at = 4 * static_cast<ptrdiff_t>(c) + r;
      a.y[at] = finish(a.epilogue, r, c, at, static_cast<int32_t>(sum));
    }
  }
}

void quantize_u8__ref(const QuantizeArgs& a) {
  for (int64_t c = 0; c < a.cols; ++c) {
    for (int r = 0; r < a.channels; ++r) {
      const float x = a.x[r * a.x_stride + c] * a.inverse[c * a.inverse_step];
      a.y[4 * c + r] = stored(a.mask, c) ? round_and_clamp(x, a.zero, a.low, a.high) : static_cast<uint8_t>(a.zero);
    }
  }
}

void dequantize_u8__ref(const DequantizeArgs& a) {
  for (int64_t c = 0; c < a.cols; ++c) {
    for (int r = 0; r < a.channels; ++r) {
      const auto q = static_cast<float>(a.x[4 * c + r] - a.zero);
      a.y[r * a.y_stride + c] = stored(a.mask, c) ? q * a.scale : 0.0f;
    }
  }
}

void qadd_u8__ref(const QAddArgs& a) {
  for (int64_t c = 0; c < a.cols; ++c) {
    for (int64_t i = 4 * c; i < 4 * c + 4; ++i) {
      const float first = static_cast<float>(a.a[i] - a.a_zero) * a.a_scale;
      const float s = std::fma(static_cast<float>(a.b[i] - a.b_zero), a.b_scale, first);
      a.y[i] = stored(a.mask, c) ? round_and_clamp(s, a.zero, a.low, a.high) : static_cast<uint8_t>(a.zero);
    }
  }
}

void max_u8__ref(const MaxBytesArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    uint8_t most = a.rows[0][i];
    for (int r = 1; r < a.row_count; ++r) most = std::max(most, a.rows[r][i]);
    a.y[i] = most;
  }
}

}  // namespace pyrt
