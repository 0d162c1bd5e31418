// Quantize, dequantize, add and maximum over rows of columns of four channels; s4 to s8.
#pragma once

#include "kernels/int8/store.inl"

namespace pyrt {
namespace {

template <class V>
inline void quantize(const QuantizeArgs& a) {
  const BytePacker<V> packer(a.zero, a.low, a.high);
  for (int64_t c = 0; c < a.cols; c += V::width) {
    const int n = static_cast<int>(a.cols - c < V::width ? a.cols - c : V::width);
    const auto inverse = a.inverse_step ? V::load_first(a.inverse + c, n) : V::set1(*a.inverse);
    const auto row = [&](int i) {
      return i < a.channels ? V::mul(V::load_first(a.x + i * a.x_stride + c, n), inverse) : V::zero();
    };
    const auto bytes = V::transpose_4x4(packer.pack(row(0), row(1), row(2), row(3)));
    V::istore_first(a.y + 4 * c, packer.gaps(a.mask, c, bytes), n);
  }
}

template <class V, int I>
inline void dequantize_row(const DequantizeArgs& a, typename V::ireg x, int64_t c, int n) {
  if (I >= a.channels) return;
  const auto q = V::to_f32(V::isub(V::template byte<I>(x), V::iset1(a.zero)));
  const auto y = V::mul(q, V::set1(a.scale));
  V::store_first(a.y + I * a.y_stride + c, a.mask ? V::apply_mask(V::load_mask(a.mask, c), y) : y, n);
}

template <class V>
inline void dequantize(const DequantizeArgs& a) {
  for (int64_t c = 0; c < a.cols; c += V::width) {
    const int n = static_cast<int>(a.cols - c < V::width ? a.cols - c : V::width);
    const auto x = V::iload_first(a.x + 4 * c, n);
    dequantize_row<V, 0>(a, x, c, n);
    dequantize_row<V, 1>(a, x, c, n);
    dequantize_row<V, 2>(a, x, c, n);
    dequantize_row<V, 3>(a, x, c, n);
  }
}

template <class V, int I>
inline typename V::reg sum_of_bytes(const QAddArgs& args, typename V::ireg a, typename V::ireg b) {
  const auto first = V::to_f32(V::isub(V::template byte<I>(a), V::iset1(args.a_zero)));
  const auto second = V::to_f32(V::isub(V::template byte<I>(b), V::iset1(args.b_zero)));
  return V::fma(second, V::set1(args.b_scale), V::mul(first, V::set1(args.a_scale)));
}

template <class V>
inline void qadd(const QAddArgs& args) {
  const BytePacker<V> packer(args.zero, args.low, args.high);
  for (int64_t c = 0; c < args.cols; c += V::width) {
    const int n = static_cast<int>(args.cols - c < V::width ? args.cols - c : V::width);
    const auto a = V::iload_first(args.a + 4 * c, n), b = V::iload_first(args.b + 4 * c, n);
    const auto bytes = V::transpose_4x4(packer.pack(sum_of_bytes<V, 0>(args, a, b), sum_of_bytes<V, 1>(args, a, b),
                                                    sum_of_bytes<V, 2>(args, a, b), sum_of_bytes<V, 3>(args, a, b)));
    V::istore_first(args.y + 4 * c, packer.gaps(args.mask, c, bytes), n);
  }
}

template <class V>
inline void unpack_nibbles(const UnpackArgs& a) {
  for (int64_t i = 0; i < 64 * a.pairs; i += 4 * V::width) {
    const auto both = V::iload(a.in + i);
    int8_t* out = a.out + i / 64 * 128 + i % 64;
    V::istore(out, V::low_nibbles(both));
    V::istore(out + 64, V::high_nibbles(both));
  }
}

template <class V>
inline void max_bytes(const MaxBytesArgs& a) {
  constexpr int64_t kBytes = 4 * V::width;
  int64_t i = 0;
  for (; i + kBytes <= a.n; i += kBytes) {
    auto most = V::iload(a.rows[0] + i);
    for (int r = 1; r < a.row_count; ++r) most = V::max_u8(most, V::iload(a.rows[r] + i));
    V::istore(a.y + i, most);
  }
  for (; i < a.n; ++i) {
    uint8_t most = a.rows[0][i];
    for (int r = 1; r < a.row_count; ++r) most = std::max(most, a.rows[r][i]);
    a.y[i] = most;
  }
}

}  // namespace
}  // namespace pyrt
