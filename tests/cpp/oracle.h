// What a sum must become on its way to memory, in double precision and straight from docs/format.md, section 3.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "guarded.h"
#include "kernels/kernels.h"

using pyrt::Act;
using pyrt::Activation;
using pyrt::Epilogue;

constexpr double kEps = std::numeric_limits<float>::epsilon();

inline double activate(const Activation& a, double y) {
  const double p0 = static_cast<double>(a.p0), p1 = static_cast<double>(a.p1);
  if (std::isnan(y)) return y;
  const double relu6 = std::min(std::max(y + 3, 0.0), 6.0);
  switch (a.code) {
    case Act::kNone: return y;
    case Act::kClamp: return std::min(std::max(y, p0), p1);
    case Act::kLeakyRelu: return y >= 0 ? y : p0 * y;
    case Act::kSigmoid: return 1 / (1 + std::exp(-y));
    case Act::kTanh: return std::tanh(y);
    case Act::kSilu: return y * (1 / (1 + std::exp(-y)));
    case Act::kHardswish: return y * relu6 / 6;
    case Act::kHardsigmoid: return relu6 / 6;
    case Act::kGelu: return y * std::erfc(-y / std::sqrt(2.0)) / 2;
    case Act::kGeluTanh: return y * (1 + std::tanh(std::sqrt(2 / M_PI) * (y + 0.044715 * y * y * y))) / 2;
    case Act::kElu: return y > 0 ? y : p0 * std::expm1(y);
    case Act::kExp: return std::exp(y);
    case Act::kSqrt: return std::sqrt(y);
    case Act::kAbs: return std::fabs(y);
    case Act::kSoftplus: return y * p0 > p1 ? y : std::log1p(std::exp(y * p0)) / p0;
    case Act::kMish: return y * std::tanh(std::log1p(std::exp(std::min(y, 700.0))));
    case Act::kCount: break;
  }
  std::abort();
}

// A sum of products with what its rounding errors scale with.
// The value of an f16: sign, 5 bits of exponent (bias 15), 10 bits of fraction.
inline float half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  double value = exponent == 0 ? fraction * std::pow(2, -24) : (1 + fraction / 1024.0) * std::pow(2, exponent - 15);
  if (exponent == 31) value = fraction ? std::nan("") : std::numeric_limits<double>::infinity();
  return static_cast<float>(half >> 15 ? -value : value);
}

struct Sum {
  double value = 0;
  double magnitude = 0;  // sum of |terms|
  int terms = 0;

  void add(double term) {
    value += term;
    magnitude += std::fabs(term);
    ++terms;
  }
  void add(float a, float b) { add(static_cast<double>(a) * static_cast<double>(b)); }
  void scale(double factor) {
    value *= factor;
    magnitude *= std::fabs(factor);
  }
  // Rounding errors of n float additions in any order grow like sqrt(n) when they are independent.
  double error() const {
    const double bound = kEps * magnitude * (2 + std::sqrt(static_cast<double>(terms)));
    return std::isfinite(bound) ? bound : 0;
  }
};

// Whether `got` is act(sum) for some sum within its rounding error, but for a few ulp of the activation itself.
inline bool matches(const Activation& act, const Sum& sum, float got) {
  const double t = sum.error();
  double low = std::numeric_limits<double>::infinity(), high = -low, largest = 0;
  bool nan = false;
  const double zero = std::clamp(0.0, sum.value - t, sum.value + t);  // where abs, sqrt and others turn
  for (double s : {sum.value - t, sum.value, sum.value + t, std::isnan(zero) ? sum.value : zero}) {
    const double y = static_cast<double>(static_cast<float>(activate(act, s)));
    if (std::isnan(y)) {
      nan = true;
      continue;
    }
    low = std::min(low, y);
    high = std::max(high, y);
    if (std::isfinite(y)) largest = std::max(largest, std::fabs(y));
  }
  if (std::isnan(got)) return nan;
  double slack = t;
  if (act.code > Act::kClamp) slack += 4 * kEps * largest;
  // Those that multiply by, or subtract from, something near 1 lose digits near 0.
  if (act.code > Act::kLeakyRelu && std::isfinite(sum.value)) slack += 2 * kEps * (1 + std::fabs(sum.value));
  const double y = static_cast<double>(got);
  return y >= low - slack && y <= high + slack;
}

// Every activation with the parameters it is used with.
inline const Activation kActivations[] = {
    {Act::kNone, 0, 0},          {Act::kClamp, 0, std::numeric_limits<float>::infinity()},
    {Act::kClamp, 0, 6},         {Act::kClamp, -0.5f, 0.5f},
    {Act::kLeakyRelu, 0.01f, 0}, {Act::kLeakyRelu, 2.5f, 0},
    {Act::kLeakyRelu, -0.3f, 0}, {Act::kSigmoid, 0, 0},
    {Act::kTanh, 0, 0},          {Act::kSilu, 0, 0},
    {Act::kHardswish, 0, 0},     {Act::kHardsigmoid, 0, 0},
    {Act::kGelu, 0, 0},          {Act::kGeluTanh, 0, 0},
    {Act::kElu, 1, 0},           {Act::kElu, 0.4f, 0},
    {Act::kExp, 0, 0},           {Act::kSqrt, 0, 0},
    {Act::kAbs, 0, 0},           {Act::kSoftplus, 1, 20},
    {Act::kSoftplus, 2, 5},      {Act::kMish, 0, 0},
};

inline Activation random_activation() {
  const size_t n = sizeof kActivations / sizeof kActivations[0];
  return kActivations[rng.chance(0.3) ? 0 : rng.below(static_cast<int>(n))];
}

// A vector of columns may be masked and read as a whole: the mask covers whole groups of 16 columns.
inline size_t mask_bytes(int64_t cols) { return static_cast<size_t>((cols + 15) / 16 * 2); }
inline bool masked(const uint8_t* mask, int64_t col) { return mask && !((mask[col / 8] >> (col % 8)) & 1); }

inline float special_value() {
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {inf, -inf, std::numeric_limits<float>::quiet_NaN(), 0.0f, -0.0f};
  return values[rng.below(5)];
}
