// How sums end whose rows are the lanes of a vector: the epilogue, and a column of Y.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

struct RowsOut {
  const Epilogue& epilogue;
  const uint32_t* order;  // as in CsrArgs
  float* y;
  ptrdiff_t y_stride;
};

// Column c of `rows` rows from `first` on, the lanes of NL vectors L.
template <class V, class L, int NL>
inline void finish_rows(const RowsOut& to, int first, int rows, int c, typename L::reg* sums) {
  constexpr int lanes = NL * L::width;
  const Epilogue& e = to.epilogue;
  int row[lanes];
  for (int j = 0; j < rows; ++j) row[j] = to.order ? static_cast<int>(to.order[first + j]) : first + j;
  const bool simple = !e.residual && !e.mask && e.act.code <= Act::kClamp;
  if (simple) {
    const auto vector_of = [&](const float* values, int l) {
      if (!to.order && rows == lanes) return L::load(values + first + l * L::width);
      float picked[L::width] = {};
      for (int j = l * L::width; j < rows && j < (l + 1) * L::width; ++j) picked[j - l * L::width] = values[row[j]];
      return L::load(picked);
    };
    for (int l = 0; l < NL; ++l) {
      if (e.scale) sums[l] = L::mul(sums[l], vector_of(e.scale, l));
      if (e.bias) sums[l] = L::add(sums[l], vector_of(e.bias, l));
      if (e.act.code == Act::kClamp) sums[l] = L::min(L::set1(e.act.p1), L::max(L::set1(e.act.p0), sums[l]));
    }
  }
  float out[lanes];
  for (int l = 0; l < NL; ++l) L::store(out + l * L::width, sums[l]);
  for (int j = 0; j < rows; ++j) {
    float* y = to.y + row[j] * to.y_stride;
    if (simple) {
      y[c] = out[j];
      continue;
    }
    // The masks and residuals of a vector begin at its first column, so all columns up to c take part.
    const int from = c / V::width * V::width;
    float finished[V::width];
    V::store(finished, RowStore<V>(e, row[j], to.y_stride).finish_first(V::set1(out[j]), from, c + 1 - from));
    y[c] = finished[c - from];
  }
}

}  // namespace
}  // namespace pyrt
