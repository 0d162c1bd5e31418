// vpdpbusd, on 512 or 256 bits: V::dot adds four u8 x s8 products to every 32-bit lane, exact for any weights.
#pragma once

#include "kernels/int8/qdepthwise.inl"
#include "kernels/int8/qgemm.inl"

namespace pyrt {
namespace {

template <class V>
struct Dot : DotOfLanes<V> {
  using Single = Dot;
  using X = typename V::ireg;
  static constexpr int groups = 1, panel_bytes = 64;
  static X bytes(X x) { return x; }
  static X weights(X w) { return w; }
  static X columns(const uint8_t* x, const int32_t* off) { return V::iload(x + 4 * static_cast<ptrdiff_t>(off[0])); }
  static X row(const int8_t* rows, int r) { return V::iset1(load_four(rows + 4 * r)); }
  static X panel(const int8_t* w) { return V::iload(w); }
  static X add(X acc, X x, X w) { return V::dot(acc, x, w); }
  static X column(const uint8_t* x, const int32_t* off) {
    return V::iset1(load_four(x + 4 * static_cast<ptrdiff_t>(off[0])));
  }
};

// s4: group 2i in the low nibbles, 2i + 1 in the high ones, + 8.
template <class V>
struct DotLow : Dot<V> {
  static typename V::ireg panel(const int8_t* w) { return V::low_nibbles(V::iload(w)); }
};
template <class V>
struct DotNibbles : DotOfLanes<V> {
  using Single = DotLow<V>;
  using ireg = typename V::ireg;
  struct X {
    ireg first, second;
  };
  static constexpr int groups = 2, panel_bytes = 64;
  static X panel(const int8_t* w) {
    const ireg both = V::iload(w);
    return {V::low_nibbles(both), V::high_nibbles(both)};
  }
  static X column(const uint8_t* x, const int32_t* off) { return {Dot<V>::column(x, off), Dot<V>::column(x, off + 1)}; }
  static ireg add(ireg acc, const X& x, const X& w) {
    return V::dot(V::dot(acc, x.first, w.first), x.second, w.second);
  }
};

// Tiles of R x 3 vectors of columns, or 2; Last x 1 for a single one.
template <class V, int R, int Last>
void qgemm_vnni(const QGemmArgs& a) {
  int left = (a.cols + V::width - 1) / V::width;
  for (int c0 = 0; left > 0;) {
    const int take = left == 4 ? 2 : left < 3 ? left : 3;  // 4 = 2 + 2
    if (take == 3) qgemm_column<V, Dot<V>, R, 3>(a, c0);
    else if (take == 2) qgemm_column<V, Dot<V>, R, 2>(a, c0);
    else qgemm_column<V, Dot<V>, Last, 1>(a, c0);
    c0 += take * V::width;
    left -= take;
  }
}

// As many sums as hide the latency of an instruction, and as registers hold beside the weights.
template <class V, class Product>
void qgemm_few_vnni(const QGemmArgs& a) {
  if constexpr (V::width == 16) {
    switch (a.cols) {
      case 8: return qgemm_few_tile<V, Product, 8, 1>(a, 0);
      case 7: return qgemm_few_tile<V, Product, 7, 1>(a, 0);
      case 6: return qgemm_few_tile<V, Product, 6, 2>(a, 0);
      case 5: return qgemm_few_tile<V, Product, 5, 2>(a, 0);
      case 4: return qgemm_few_tile<V, Product, 4, 2>(a, 0);
      case 3: return qgemm_few_tile<V, Product, 3, 4>(a, 0);
      case 2: return qgemm_few_tile<V, Product, 2, 4>(a, 0);
      default: return qgemm_few_tile<V, Product, 1, 8>(a, 0);
    }
  } else {
    int c0 = 0;
    for (; a.cols - c0 >= 4; c0 += 4) qgemm_few_tile<V, Product, 4, 1>(a, c0);
    switch (a.cols - c0) {
      case 3: return qgemm_few_tile<V, Product, 3, 1>(a, c0);
      case 2: return qgemm_few_tile<V, Product, 2, 2>(a, c0);
      case 1: return qgemm_few_tile<V, Product, 1, 4>(a, c0);
      default: return;
    }
  }
}

}  // namespace
}  // namespace pyrt
