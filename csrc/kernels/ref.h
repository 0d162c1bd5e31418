// The epilogue and the activations of the reference kernels, in plain C++.
#pragma once

#include <cmath>

#include "kernels/kernels.h"

namespace pyrt {

inline float ref_act(const Activation& act, double x) {
  const auto clamp = [](double v, double low, double high) { return v < low ? low : v > high ? high : v; };
  const auto softplus = [](double v, double beta, double threshold) {
    return v * beta > threshold ? v : std::log1p(std::exp(v * beta)) / beta;
  };
  const double p0 = static_cast<double>(act.p0), p1 = static_cast<double>(act.p1);
  double y = x;
  switch (act.code) {
    case Act::kClamp: y = clamp(x, p0, p1); break;
    case Act::kLeakyRelu: y = x < 0 ? p0 * x : x; break;
    case Act::kSigmoid: y = 1 / (1 + std::exp(-x)); break;
    case Act::kTanh: y = std::tanh(x); break;
    case Act::kSilu: y = x / (1 + std::exp(-x)); break;
    case Act::kHardswish: y = x * clamp(x + 3, 0, 6) / 6; break;
    case Act::kHardsigmoid: y = clamp(x + 3, 0, 6) / 6; break;
    case Act::kGelu: y = x * (1 + std::erf(x * 0.70710678118654752)) / 2; break;
    case Act::kGeluTanh: y = x * (1 + std::tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))) / 2; break;
    case Act::kElu: y = x > 0 ? x : p0 * std::expm1(x); break;
    case Act::kExp: y = std::exp(x); break;
    case Act::kSqrt: y = std::sqrt(x); break;
    case Act::kAbs: y = std::fabs(x); break;
    case Act::kSoftplus: y = softplus(x, p0, p1); break;
    case Act::kMish: y = x * std::tanh(softplus(x, 1, 20)); break;
    default: break;
  }
  return static_cast<float>(y);
}

// f16 (IEEE 754 binary16) to f32, exact.
inline float ref_widen(uint16_t half) {
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  float magnitude =
      std::ldexp(static_cast<float>(exponent ? fraction + 1024 : fraction), (exponent ? exponent : 1) - 25);
  if (exponent == 31) magnitude = fraction ? NAN : INFINITY;
  return half >> 15 ? -magnitude : magnitude;
}

inline bool ref_masked(const uint8_t* mask, int64_t col) { return mask && !((mask[col / 8] >> (col % 8)) & 1); }

inline float ref_finish(const Epilogue& e, double sum, int row, int col, ptrdiff_t y_stride) {
  if (ref_masked(e.mask, col)) return 0.0f;
  if (e.scale) sum *= static_cast<double>(e.scale[row]);
  if (e.bias) sum += static_cast<double>(e.bias[row]);
  if (e.residual) sum += static_cast<double>(e.residual[row * y_stride + col]);
  return ref_act(e.act, sum);
}

}  // namespace pyrt
