// Sweeps of the families that compute with weights of one or two bits.
#pragma once

#include "products.h"

// All panels of a weight: words of 32 columns, one or two bits a weight, and a scale for each row and bit.
struct BitPlanes {
  BitPlanes(int planes, int rows, int k)
      : planes(planes),
        k(k),
        panels((rows + pyrt::kPanel - 1) / pyrt::kPanel),
        words(static_cast<size_t>(panels * k / 32 * planes * pyrt::kPanel)),
        scales(static_cast<size_t>(panels * planes * pyrt::kPanel)) {
    for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(rng.bits());
    if (words.size() > 1) words[0] = 0, words[1] = ~0u;
    for (size_t i = 0; planes == 2 && i < words.size(); ++i) {
      if (i / pyrt::kPanel % 2 == 1) words[i] &= ~words[i - pyrt::kPanel];
    }
    rng.fill(scales);
  }
  size_t word(int row, int column, int plane) const {
    const int panel = row / pyrt::kPanel;
    return static_cast<size_t>(((panel * (k / 32) + column / 32) * planes + plane) * pyrt::kPanel + row % pyrt::kPanel);
  }
  bool bit(int row, int column, int plane) { return (words[word(row, column, plane)] >> column % 32 & 1) != 0; }
  float scale(int row, int plane) {
    return scales[static_cast<size_t>((row / pyrt::kPanel * planes + plane) * pyrt::kPanel + row % pyrt::kPanel)];
  }
  float weight(int row, int column) {
    if (bit(row, column, 0)) return scale(row, 0);
    if (planes == 1) return -scale(row, 0);
    return bit(row, column, 1) ? scale(row, 1) : 0.0f;
  }

  int planes, k, panels;
  Guarded<uint32_t> words;
  Guarded<float> scales;
};

inline void test_ternary(pyrt::TernaryFn fn, int planes) {
  sweep_layers(true, [&](int rows_of_panel, int columns, int cols, const Finish& finish, bool) {
    const int k = (columns + 31) / 32 * 32, rows = rng.below(8) * pyrt::kPanel + rows_of_panel;
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " cols " + std::to_string(cols);
    BitPlanes w(planes, rows, k);
    Guarded<float> x(static_cast<size_t>(cols * k)), tables(static_cast<size_t>(cols * k * 4));
    rng.fill(x);
    Output y(rows, cols, cols, rng.below(20));
    const Tail tail(finish, y);
    std::vector<Sum> wanted(static_cast<size_t>(rows * cols));
    for (int r = 0; r < rows; ++r) {
      for (int i = 0; i < k; ++i) {
        const auto weight = static_cast<double>(w.weight(r, i));
        for (int c = 0; c < cols; ++c) {
          wanted[static_cast<size_t>(r * cols + c)].add(weight *
                                                        static_cast<double>(x[static_cast<size_t>(c * k + i)]));
        }
      }
    }
    fn({{w.words.data(), nullptr, k, x.data(), y.data(), y.stride(), rows, cols, true, true, tail.epilogue()},
        w.scales.data(),
        tables.data()});
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) tail.check(y, r, c, wanted[static_cast<size_t>(r * cols + c)]);
    }
    y.check_gaps(tail.epilogue().mask);
  });
}

inline void test_widen_ternary(pyrt::WidenTernaryFn fn, int planes) {
  for (int k = 32; k <= 512; k += 32) {
    BitPlanes w(planes, 1, k);
    const int first = rng.below(k / 32) * 32, n = rng.between(1, (k - first) / 32) * 32;
    what = "columns " + std::to_string(first) + " to " + std::to_string(first + n) + " of " + std::to_string(k);
    Guarded<float> out(static_cast<size_t>(n * pyrt::kPanel));
    fn({w.words.data() + w.word(0, first, 0), w.scales.data(), n, out.data()});
    std::vector<float> wanted;
    for (int i = first; i < first + n; ++i) {
      for (int r = 0; r < pyrt::kPanel; ++r) wanted.push_back(w.weight(r, i));
    }
    check_equal(out, wanted);
  }
}
