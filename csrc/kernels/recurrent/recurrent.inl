// The gates of LSTM and GRU cells.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

// Access to whole vectors, and to the n first elements of one.
template <class V>
struct Whole {
  typename V::reg load(const float* p) const { return V::load(p); }
  void store(float* p, typename V::reg v) const { V::store(p, v); }
};
template <class V>
struct First {
  int n;
  typename V::reg load(const float* p) const { return V::load_first(p, n); }
  void store(float* p, typename V::reg v) const { V::store_first(p, v, n); }
};

// Calls step(access, i) for each vector of n elements.
template <class V, class Step>
inline void each_vector(int64_t n, const Step& step) {
  int64_t i = 0;
  for (; i + V::width <= n; i += V::width) step(Whole<V>{}, i);
  if (i < n) step(First<V>{static_cast<int>(n - i)}, i);
}

template <class V>
inline void lstm(const CellArgs& args) {
  const CellArgs a = args;  // what lies behind a reference would be loaded again after every store
  each_vector<V>(a.n, [&a](const auto& at, int64_t i) {
    const auto gate = [&](int g) { return V::add(at.load(a.x + g * a.gate + i), at.load(a.z + g * a.gate + i)); };
    const auto kept = V::mul(vsigmoid<V>(gate(1)), at.load(a.c + i));
    const auto c = V::fma(vsigmoid<V>(gate(0)), vtanh<V>(gate(2)), kept);
    at.store(a.c + i, c);
    at.store(a.h + i, V::mul(vsigmoid<V>(gate(3)), vtanh<V>(c)));
  });
}

template <class V>
inline void gru(const CellArgs& args) {
  const CellArgs a = args;
  each_vector<V>(a.n, [&a](const auto& at, int64_t i) {
    const auto x = [&](int g) { return at.load(a.x + g * a.gate + i); };
    const auto z = [&](int g) { return at.load(a.z + g * a.gate + i); };
    const auto reset = vsigmoid<V>(V::add(x(0), z(0)));
    const auto update = vsigmoid<V>(V::add(x(1), z(1)));
    const auto fresh = vtanh<V>(V::fma(reset, z(2), x(2)));
    at.store(a.h + i, V::fma(update, V::sub(at.load(a.h + i), fresh), fresh));
  });
}

}  // namespace
}  // namespace pyrt
