// Norms and softmax of columns: a vector runs along columns, sums go down the channels.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

// NV vectors of columns; `n` of them exist, of the last vector maybe a part.
template <class V, int NV, bool Rms>
inline void norm_columns(const NormArgs& a, int64_t col, int n) {
  const float* x = a.x + col;
  typename V::first_mask in[NV];
  typename V::reg mean[NV], sum[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    in[v] = V::first(n - v * V::width);
    mean[v] = sum[v] = V::zero();
  }
  const auto share = V::set1(1.0f / static_cast<float>(a.channels));
  if (!Rms) {
    for (int64_t c = 0; c < a.channels; ++c) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        mean[v] = V::add(mean[v], V::load_masked(x + c * a.x_stride + v * V::width, in[v]));
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) mean[v] = V::mul(mean[v], share);
  }
  for (int64_t c = 0; c < a.channels; ++c) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const auto d = V::sub(V::load_masked(x + c * a.x_stride + v * V::width, in[v]), mean[v]);
      sum[v] = V::fma(d, d, sum[v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    sum[v] = V::div(V::set1(1.0f), V::sqrt(V::fma(sum[v], share, V::set1(a.eps))));
  }
  for (int64_t c = 0; c < a.channels; ++c) {
    const auto gain = V::set1(a.gain[c]), shift = V::set1(a.shift[c]);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const auto d = V::sub(V::load_masked(x + c * a.x_stride + v * V::width, in[v]), mean[v]);
      V::store_masked(a.y + c * a.y_stride + col + v * V::width, V::fma(V::mul(d, sum[v]), gain, shift), in[v]);
    }
  }
}

// At least a cache line of each channel at a time.
template <class V, bool Rms>
inline void norm_all(const NormArgs& a) {
  constexpr int kVectors = V::width == 4 ? 4 : 2, kWide = kVectors * V::width;
  for (int64_t col = 0; col < a.cols; col += kWide) {
    const int64_t left = a.cols - col;
    if (left > V::width) norm_columns<V, kVectors, Rms>(a, col, static_cast<int>(left < kWide ? left : kWide));
    else norm_columns<V, 1, Rms>(a, col, static_cast<int>(left));
  }
}

template <class V>
inline void norm(const NormArgs& a) {
  if (a.rms) norm_all<V, true>(a);
  else norm_all<V, false>(a);
}

template <class V>
inline void softmax_columns(const SoftmaxArgs& a) {
  const auto lowest = V::set1(-std::numeric_limits<float>::infinity());
  for (int c = 0; c < a.cols; c += V::width) {
    float* x = a.x + c;
    const auto before = a.first ? lowest : V::load(a.max + c);
    auto top = before;
    for (int r = 0; r < a.rows; ++r) {
      top = V::max(top, V::add(V::load(x + r * a.stride), V::set1(a.bias ? a.bias[r] : 0.0f)));
    }
    // A column that is hidden so far has no maximum; what is subtracted from -inf must be a number.
    const auto shift = V::select_gt(top, lowest, top, V::zero());
    const auto factor = vexp<V>(V::sub(before, shift));
    auto sum = a.first ? V::zero() : V::mul(V::load(a.sum + c), factor);
    for (int r = 0; r < a.rows; ++r) {
      const auto biased = V::add(V::load(x + r * a.stride), V::set1(a.bias ? a.bias[r] : 0.0f));
      const auto p = vexp<V>(V::sub(biased, shift));
      V::store(x + r * a.stride, p);
      sum = V::add(sum, p);
    }
    V::store(a.max + c, top);
    V::store(a.sum + c, sum);
    V::store(a.factor + c, factor);
  }
}

}  // namespace
}  // namespace pyrt
