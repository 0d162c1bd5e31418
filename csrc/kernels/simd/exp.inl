// e^(sign * x) for x in [-104, 104]: 2^n * e^r, |r| <= ln(2)/2, with the minimax polynomial of Cephes' expf.
#pragma once

namespace pyrt {
namespace {

template <class V>
inline typename V::reg exp_polynomial(typename V::reg x, float sign) {
  const auto n = V::round(V::mul(x, V::set1(sign * 1.44269504f)));
  auto r = V::fma(n, V::set1(-0.693359375f), V::mul(x, V::set1(sign)));
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  auto p = V::set1(1.9875691500e-4f);
  p = V::fma(p, r, V::set1(1.3981999507e-3f));
  p = V::fma(p, r, V::set1(8.3334519073e-3f));
  p = V::fma(p, r, V::set1(4.1665795894e-2f));
  p = V::fma(p, r, V::set1(1.6666665459e-1f));
  p = V::fma(p, r, V::set1(5.0000001201e-1f));
  return V::scale(V::add(V::fma(p, V::mul(r, r), r), V::set1(1.0f)), n);
}

}  // namespace
}  // namespace pyrt
