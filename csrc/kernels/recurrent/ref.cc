#include <cmath>

#include "kernels/kernels.h"

namespace pyrt {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

void lstm_f32__ref(const CellArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    const auto gate = [&](int g) {
      return static_cast<double>(a.x[g * a.gate + i]) + static_cast<double>(a.z[g * a.gate + i]);
    };
    const double c = sigmoid(gate(1)) * static_cast<double>(a.c[i]) + sigmoid(gate(0)) * std::tanh(gate(2));
    a.c[i] = static_cast<float>(c);
    a.h[i] = static_cast<float>(sigmoid(gate(3)) * std::tanh(c));
  }
}

void gru_f32__ref(const CellArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    const auto x = [&](int g) { return static_cast<double>(a.x[g * a.gate + i]); };
    const auto z = [&](int g) { return static_cast<double>(a.z[g * a.gate + i]); };
    const double fresh = std::tanh(x(2) + sigmoid(x(0) + z(0)) * z(2));
    const double update = sigmoid(x(1) + z(1));
    a.h[i] = static_cast<float>((1 - update) * fresh + update * static_cast<double>(a.h[i]));
  }
}

}  // namespace pyrt
