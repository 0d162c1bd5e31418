// Activation functions on vectors, and the epilogue of every product. V is one of the structs beside this file.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/kernels.h"

namespace pyrt {
namespace {

// e^(sign * x) for sign 1 or -1, to about 1 ulp, right at 0 and inf.
template <class V>
inline typename V::reg vexp(typename V::reg x, float sign = 1.0f) {
  return V::exp(V::min(V::set1(sign > 0 ? 89.0f : 104.0f), V::max(V::set1(sign > 0 ? -104.0f : -89.0f), x)), sign);
}

template <class V>
inline typename V::reg vsigmoid(typename V::reg x) {
  return V::reciprocal(V::add(V::set1(1.0f), vexp<V>(x, -1.0f)));
}

// Cephes' tanhf: an odd polynomial near 0, where 1 - 2/(e^2x + 1) would cancel.
template <class V>
inline typename V::reg vtanh(typename V::reg x) {
  const auto a = V::abs(x), s = V::mul(x, x), one = V::set1(1.0f);
  auto p = V::set1(-5.70498872745e-3f);
  p = V::fma(p, s, V::set1(2.06390887954e-2f));
  p = V::fma(p, s, V::set1(-5.37397155531e-2f));
  p = V::fma(p, s, V::set1(1.33314422036e-1f));
  p = V::fma(p, s, V::set1(-3.33332819422e-1f));
  p = V::fma(V::mul(p, s), x, x);
  const auto e = vexp<V>(V::add(a, a));
  const auto far = V::copysign(V::sub(one, V::div(V::set1(2.0f), V::add(e, one))), x);
  return V::select_gt(a, V::set1(0.625f), far, p);
}

// erf by two polynomials (fitted to about 1 ulp): x + x*P(x^2) near 0, 1 - exp(Q(|x|)) beyond.
template <class V>
inline typename V::reg verf(typename V::reg x) {
  const auto a = V::abs(x), s = V::mul(x, x), one = V::set1(1.0f);
  auto q = V::fma(V::set1(-1.72853470e-5f), a, V::set1(3.83197126e-4f));
  const auto u = V::fma(V::set1(-3.88396438e-3f), a, V::set1(2.42546219e-2f));
  q = V::fma(q, s, u);
  q = V::fma(q, a, V::set1(-1.06777877e-1f));
  q = V::fma(q, a, V::set1(-6.34846687e-1f));
  q = V::fma(q, a, V::set1(-1.28717512e-1f));
  q = V::fma(q, a, V::sub(V::zero(), a));
  // Past 4 the polynomial is of no use and erf is 1.
  const auto tail = V::select_gt(a, V::set1(4.0f), one, V::sub(one, vexp<V>(q)));
  auto p = V::set1(-5.96761703e-4f);
  p = V::fma(p, s, V::set1(4.99119423e-3f));
  p = V::fma(p, s, V::set1(-2.67681349e-2f));
  p = V::fma(p, s, V::set1(1.12819925e-1f));
  p = V::fma(p, s, V::set1(-3.76125336e-1f));
  p = V::fma(p, s, V::set1(1.28379166e-1f));
  p = V::fma(p, x, x);
  return V::select_gt(a, V::set1(0.921875f), V::copysign(tail, x), p);
}

template <class V>
inline typename V::reg vclamp(typename V::reg x, float low, float high) {
  return V::min(V::set1(high), V::max(V::set1(low), x));
}

template <class V>
typename V::reg vsoftplus(typename V::reg x, float beta, float threshold) {
  float lanes[V::width];
  V::store(lanes, x);
  for (float& v : lanes) v = v * beta > threshold ? v : std::log1p(std::exp(v * beta)) / beta;
  return V::load(lanes);
}

// Calls use(f) with the activation as a function f of a vector, so that a loop in `use` is compiled for each of them.
template <class V, class Use>
inline void with_act(const Activation& act, const Use& use) {
  using reg = typename V::reg;
  const auto one = V::set1(1.0f), half = V::set1(0.5f), three = V::set1(3.0f), six = V::set1(6.0f);
  const auto p0 = V::set1(act.p0), p1 = V::set1(act.p1);
  switch (act.code) {
    case Act::kClamp: return use([&](reg x) { return V::min(p1, V::max(p0, x)); });
    case Act::kLeakyRelu: return use([&](reg x) { return V::select_gt(V::zero(), x, V::mul(x, p0), x); });
    case Act::kSigmoid: return use([&](reg x) { return vsigmoid<V>(x); });
    case Act::kTanh: return use([&](reg x) { return vtanh<V>(x); });
    case Act::kSilu: return use([&](reg x) { return V::mul(x, vsigmoid<V>(x)); });
    case Act::kHardswish:
      return use([&](reg x) { return V::div(V::mul(x, vclamp<V>(V::add(x, three), 0.0f, 6.0f)), six); });
    case Act::kHardsigmoid: return use([&](reg x) { return V::div(vclamp<V>(V::add(x, three), 0.0f, 6.0f), six); });
    case Act::kGelu:
      return use([&](reg x) { return V::mul(V::mul(x, half), V::add(one, verf<V>(V::mul(x, V::set1(0.70710678f))))); });
    case Act::kGeluTanh:
      return use([&](reg x) {
        const auto cube = V::mul(V::mul(x, x), x);
        const auto inner = V::mul(V::set1(0.79788456f), V::fma(V::set1(0.044715f), cube, x));
        return V::mul(V::mul(x, half), V::add(one, vtanh<V>(inner)));
      });
    case Act::kElu:
      return use([&](reg x) { return V::select_gt(x, V::zero(), x, V::mul(p0, V::sub(vexp<V>(x), one))); });
    case Act::kExp: return use([&](reg x) { return vexp<V>(x); });
    case Act::kSqrt: return use([&](reg x) { return V::sqrt(x); });
    case Act::kAbs: return use([&](reg x) { return V::abs(x); });
    case Act::kSoftplus: return use([&](reg x) { return vsoftplus<V>(x, act.p0, act.p1); });
    case Act::kMish:
      return use([&](reg x) {
        // tanh(log(1 + e^x)) = (e^2x + 2e^x) / (e^2x + 2e^x + 2); past 20 it is 1.
        const auto e = vexp<V>(V::min(V::set1(20.0f), x));
        const auto n = V::mul(e, V::add(e, V::set1(2.0f)));
        return V::mul(x, V::div(n, V::add(n, V::set1(2.0f))));
      });
    default: return use([&](reg x) { return x; });  // a capture: a plain lambda would also be a function of another ABI
  }
}

// One vector; not inlined, since its constants would crowd the caller's registers.
template <class V>
__attribute__((noinline)) typename V::reg apply_act(const Activation& act, typename V::reg x) {
  with_act<V>(act, [&](const auto& f) { x = f(x); });
  return x;
}

// A tile in memory: rows of `vectors` vectors. The mask, if any, has a bit per column, that of the tile's first is
// number `col`.
template <class V>
__attribute__((noinline)) void apply_act(const Activation& act, float* y, ptrdiff_t stride, int rows, int vectors,
                                         const uint8_t* mask, int col) {
  with_act<V>(act, [=](const auto& f) {
    // Locals: what lies in the closure would be loaded again after every store.
    float* row = y;
    const ptrdiff_t step = stride;
    const int n = vectors, from = col;
    const uint8_t* const bits = mask;
    for (int r = rows; r > 0; --r, row += step) {
      for (int v = 0; v < n; ++v) {
        float* p = row + v * V::width;
        const auto value = f(V::load(p));
        V::store(p, bits ? V::apply_mask(V::load_mask(bits, from + v * V::width), value) : value);
      }
    }
  });
}

// The epilogue of one row, with what its columns share held in registers.
template <class V>
class RowStore {
 public:
  RowStore(const Epilogue& e, int row, ptrdiff_t y_stride)
      : act_(e.act),
        residual_(e.residual ? e.residual + row * y_stride : nullptr),
        mask_(e.mask),
        scale_(V::set1(e.scale ? e.scale[row] : 1.0f)),
        bias_(V::set1(e.bias ? e.bias[row] : 0.0f)) {
    const bool clamp = act_.code == Act::kClamp;
    low_ = V::set1(clamp ? act_.p0 : -std::numeric_limits<float>::infinity());
    high_ = V::set1(clamp ? act_.p1 : std::numeric_limits<float>::infinity());
    slow_ = act_.code > Act::kClamp;
  }

  // What is stored for a sum. A costly activation is left to apply_act on the stored tile: calling it here would spill
  // all the other sums.
  typename V::reg finish(typename V::reg sum, int64_t col) const {
    sum = V::fma(sum, scale_, bias_);
    if (residual_) sum = V::add(sum, V::load(residual_ + col));
    return slow_ ? sum : clamp_and_mask(sum, col);
  }
  // The same for the first n columns of a vector: reads no residual past them.
  typename V::reg finish_sum(typename V::reg sum, int64_t col, int n) const {
    sum = V::fma(sum, scale_, bias_);
    if (residual_) sum = V::add(sum, V::load_first(residual_ + col, n));
    return slow_ ? sum : clamp_and_mask(sum, col);
  }
  bool slow() const { return slow_; }
  // All of the epilogue for the first n columns.
  typename V::reg finish_first(typename V::reg sum, int64_t col, int n) const {
    sum = finish_sum(sum, col, n);
    return slow_ ? clamp_and_mask(apply_act<V>(act_, sum), col) : sum;
  }

 private:
  typename V::reg clamp_and_mask(typename V::reg v, int64_t col) const {
    v = V::min(high_, V::max(low_, v));
    return mask_ ? V::apply_mask(V::load_mask(mask_, col), v) : v;
  }

  const Activation& act_;
  const float* residual_;
  const uint8_t* mask_;
  typename V::reg scale_, bias_, low_, high_;
  bool slow_;
};

}  // namespace
}  // namespace pyrt
