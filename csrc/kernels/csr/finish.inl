// How the sums of a row of a sparse product end: the epilogue, without a branch per vector.
#pragma once

#include "kernels/simd/act.inl"

namespace pyrt {
namespace {

// Where the vectors of a tile lie in y: side by side, or as lines of so many columns, of which the first are stored.
template <class V, int line>
class Place {
 public:
  Place() : Place(CsrArgs{}) {}
  explicit Place(const CsrArgs& a) : distance_(a.y_line), columns_(a.line_cols) {}
  __attribute__((always_inline)) ptrdiff_t operator()(int v) const { return at(v, distance_); }
  // The same where lines are `distance` apart.
  __attribute__((always_inline)) static ptrdiff_t at(int v, ptrdiff_t distance) {
    return line ? v * V::width / kLine * distance + v * V::width % kLine : v * V::width;
  }
  __attribute__((always_inline)) void store(float* y, int v, typename V::reg x) const {
    if (!line || columns_ == line) return V::store(y + (*this)(v), x);
    const int n = columns_ - v * V::width % kLine;
    if (n > 0) V::store_first(y + (*this)(v), x, n);
  }

 private:
  static constexpr int kLine = line ? line : 16;
  ptrdiff_t distance_;
  int columns_;
};

template <class V>
class RowFinish {
 public:
  // A copy, since the compiler must think that a store to y changes the arguments.
  explicit RowFinish(const Epilogue& e) : e_(e), clamp_(e.act.code == Act::kClamp), slow_(e.act.code > Act::kClamp) {
    low_ = V::set1(clamp_ ? e.act.p0 : -std::numeric_limits<float>::infinity());
    high_ = V::set1(clamp_ ? e.act.p1 : std::numeric_limits<float>::infinity());
  }

  template <int NV, int line>
  __attribute__((always_inline)) void store(typename V::reg* acc, int r, float* y, ptrdiff_t y_stride,
                                            const Place<V, line>& place) const {
    if (e_.scale) {
      const auto scale = V::set1(e_.scale[r]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[v] = V::mul(acc[v], scale);
    }
    if (e_.bias) {
      const auto bias = V::set1(e_.bias[r]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[v] = V::add(acc[v], bias);
    }
    if (e_.residual) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[v] = V::add(acc[v], V::load(e_.residual + r * y_stride + place(v)));
    }
    if (clamp_) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[v] = V::min(high_, V::max(low_, acc[v]));
    }
    if (!line && e_.mask && !slow_) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[v] = V::apply_mask(V::load_mask(e_.mask, v * V::width), acc[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) place.store(y, v, acc[v]);
  }
  // A costly activation works on what has been stored: calling it among the sums would spill them.
  bool slow() const { return slow_; }

 private:
  const Epilogue e_;
  bool clamp_, slow_;
  typename V::reg low_, high_;
};

}  // namespace
}  // namespace pyrt
