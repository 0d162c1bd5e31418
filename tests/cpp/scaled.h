// Sweeps of the families that compute with integers that share scales (q8, q4).
#pragma once

#include "products.h"

// One panel: fields of words, and scales, as f32 or f16.
struct ScaledPanel {
  ScaledPanel(int bits, int k)
      : bits(bits),
        k(k),
        group(32 * rng.between(1, 4)),
        groups((k + group - 1) / group),
        halves(rng.coin()),
        words(static_cast<size_t>(k * bits / 32 * pyrt::kPanel)),
        scales(halves ? 0 : static_cast<size_t>(groups * pyrt::kPanel)),
        half_scales(halves ? static_cast<size_t>(groups * pyrt::kPanel) : 0) {
    for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(rng.bits());
    if (words.size() > 1) words[0] = 0, words[1] = ~0u;
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = rng.real(0, 2);
    for (size_t i = 0; i < half_scales.size(); ++i) half_scales[i] = static_cast<uint16_t>(rng.below(0x4400));
  }
  const void* scale_data() { return halves ? static_cast<const void*>(half_scales.data()) : scales.data(); }
  float scale(int column, int r) {
    const auto at = static_cast<size_t>(column / group * pyrt::kPanel + r);
    return halves ? half_value(half_scales[at]) : scales[at];
  }
  int zero() const { return bits == 4 ? 8 : 0; }
  int field(int column, int r) {
    if (bits == 8) return reinterpret_cast<const int8_t*>(words.data())[column * pyrt::kPanel + r];
    const uint32_t word = words[static_cast<size_t>(column / 8 * pyrt::kPanel + r)];
    return static_cast<int>(word >> (column % 8 * 4) & 15);
  }

  int bits, k, group, groups;
  bool halves;
  Guarded<uint32_t> words;
  Guarded<float> scales;
  Guarded<uint16_t> half_scales;
};

inline void test_scaled(pyrt::ScaledFn fn, int bits) {
  const int fields = 32 / bits;
  sweep_layers(true, [&](int rows, int columns, int cols, const Finish& finish, bool) {
    const int k = (columns + fields - 1) / fields * fields;
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " cols " + std::to_string(cols);
    ScaledPanel w(bits, k);
    Guarded<float> x(static_cast<size_t>(cols * k)), sums(static_cast<size_t>(cols * w.groups));
    rng.fill(x);
    Output y(rows, cols, cols, rng.below(20));
    const Tail tail(finish, y);
    std::vector<Sum> wanted(static_cast<size_t>(rows * cols));
    for (int c = 0; c < cols; ++c) {
      std::vector<double> of_group(static_cast<size_t>(w.groups));
      for (int i = 0; i < k; ++i) {
        float& value = x[static_cast<size_t>(c * k + i)];
        of_group[static_cast<size_t>(i / w.group)] += static_cast<double>(value);
        for (int r = 0; r < rows; ++r) {
          Sum& sum = wanted[static_cast<size_t>(r * cols + c)];
          const double scaled = static_cast<double>(w.scale(i, r)) * static_cast<double>(value);
          sum.add(scaled * (w.field(i, r) - w.zero()));
          sum.magnitude += std::fabs(scaled) * 2 * w.zero();  // the fields are summed with what they have too much
        }
        if (bits == 4) value = std::ldexp(value, -(i % 4 * 4));
      }
      for (int g = 0; g < w.groups; ++g) {
        sums[static_cast<size_t>(c * w.groups + g)] = static_cast<float>(w.zero() * of_group[static_cast<size_t>(g)]);
      }
    }
    fn({{w.words.data(), nullptr, k, x.data(), y.data(), y.stride(), rows, cols, true, true, tail.epilogue()},
        w.scale_data(),
        w.halves,
        w.group,
        sums.data(),
        w.groups});
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) tail.check(y, r, c, wanted[static_cast<size_t>(r * cols + c)]);
    }
    y.check_gaps(tail.epilogue().mask);
  });
}

inline void test_widen_scaled(pyrt::WidenScaledFn fn, int bits) {
  const int fields = 32 / bits;
  for (int k = fields; k <= 320; k += fields) {
    ScaledPanel w(bits, k);
    const int first = rng.below(k / fields) * fields, n = rng.between(1, (k - first) / fields) * fields;
    what = "columns " + std::to_string(first) + " to " + std::to_string(first + n) + " of " + std::to_string(k);
    Guarded<float> out(static_cast<size_t>(n * pyrt::kPanel));
    const uint32_t* words = w.words.data() + first / fields * pyrt::kPanel;
    fn({reinterpret_cast<const uint8_t*>(words), w.scale_data(), w.halves, w.group, first, n, out.data()});
    std::vector<float> wanted;
    for (int i = first; i < first + n; ++i) {
      for (int r = 0; r < pyrt::kPanel; ++r) {
        wanted.push_back(w.scale(i, r) * static_cast<float>(w.field(i, r) - w.zero()));
      }
    }
    check_equal(out, wanted);
  }
}
