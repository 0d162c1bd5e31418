// Sweeps of the families that work on planes of pixels: depthwise, pool, sum, copy_rows, transpose and Winograd's
// transforms.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "kernels/winograd/winograd.h"
#include "products.h"

// Rows of exactly `width` values, each in memory of its own.
class RowsOfPixels {
 public:
  RowsOfPixels(int count, int width, bool specials) : pointers_(static_cast<size_t>(count)) {
    for (int r = 0; r < count; ++r) {
      rows_.push_back(std::make_unique<Guarded<float>>(static_cast<size_t>(width)));
      rng.fill(*rows_.back());
      pointers_[static_cast<size_t>(r)] = rows_.back()->data();
    }
    if (specials)
      (*rows_[static_cast<size_t>(rng.below(count))])[static_cast<size_t>(rng.below(width))] = special_value();
  }
  const float* const* data() { return pointers_.data(); }
  float at(int r, int c) { return (*rows_[static_cast<size_t>(r)])[static_cast<size_t>(c)]; }

 private:
  std::vector<std::unique_ptr<Guarded<float>>> rows_;
  Guarded<const float*> pointers_;
};

// A plane of y, of which exactly rows x cols may be written.
class PlaneOutput {
 public:
  PlaneOutput(int rows, int cols) : output_(rows, cols, cols, rng.below(20)) {}
  Output& operator*() { return output_; }
  Output* operator->() { return &output_; }

 private:
  Output output_;
};

inline void test_depthwise(pyrt::DepthwiseFn fn) {
  const auto run = [&](int kh, int kw, int step_h, int step_w, int dilation, int rows, int cols, const Activation& act,
                       bool residual, bool pruned, bool specials) {
    what = "taps " + std::to_string(kh) + "x" + std::to_string(kw) + " steps " + std::to_string(step_h) + "," +
           std::to_string(step_w) + " dilation " + std::to_string(dilation) + " outputs " + std::to_string(rows) + "x" +
           std::to_string(cols) + (pruned ? " pruned" : "");
    const int pad = rng.below(kw * dilation);
    const int span = (cols - 1) * step_w + (kw - 1) * dilation + 1 - pad;
    const int width = std::max(1, span - rng.below(pad + 1));  // the last taps may lie outside, too
    RowsOfPixels x((rows - 1) * step_h + (kh - 1) * dilation + 1, width, specials);
    std::vector<int> taps;
    for (int t = 0; t < kh * kw; ++t) {
      if (!pruned || rng.coin()) taps.push_back(t);
    }
    Guarded<float> w(taps.size());
    rng.fill(w);
    Guarded<int32_t> tap_row(taps.size()), tap_col(taps.size());
    for (size_t i = 0; i < taps.size(); ++i) {
      tap_row[i] = taps[i] / kw * dilation;
      tap_col[i] = taps[i] % kw * dilation - pad;
    }
    PlaneOutput y(rows, cols);
    Guarded<float> scale(1), bias(1);
    rng.fill(scale);
    rng.fill(bias);
    Epilogue e;
    e.act = act;
    if (rng.coin()) e.scale = scale.data();
    if (rng.coin()) e.bias = bias.data();
    Guarded<float> added(static_cast<size_t>((rows - 1) * y->stride() + cols));
    rng.fill(added);
    if (residual) e.residual = added.data();
    const int square = kh == kw && dilation == 1 && !pruned ? kh : 0;
    fn({w.data(), tap_row.data(), tap_col.data(), static_cast<int>(taps.size()), square, x.data(), width, step_h,
        step_w, y->data(), y->stride(), rows, cols, e});
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) {
        Sum sum;
        for (size_t i = 0; i < taps.size(); ++i) {
          const int row = r * step_h + tap_row[i], col = c * step_w + tap_col[i];
          if (col >= 0 && col < width) sum.add(w[i], x.at(row, col));
          else sum.add(w[i], 0.0f);
        }
        if (e.scale) sum.scale(static_cast<double>(scale[0]));
        if (e.bias) sum.add(static_cast<double>(bias[0]));
        if (residual) sum.add(static_cast<double>(added[static_cast<size_t>(r * y->stride() + c)]));
        Tail::check_act(act, r, c, sum, y->at(r, c));
      }
    }
    y->check_gaps(nullptr);
  };
  for (int cols = 1; cols <= 70; ++cols) {
    for (int k : {1, 2, 3, 5, 7}) {
      for (int step : {1, 2, 3}) {
        run(k, k, step, step, 1, rng.between(1, 12), cols, random_activation(), rng.chance(0.2), rng.chance(0.2),
            rng.chance(0.1));
      }
    }
    run(rng.between(1, 4), rng.between(1, 4), rng.between(1, 3), rng.between(1, 3), rng.between(1, 3),
        rng.between(1, 9), cols, random_activation(), rng.chance(0.2), rng.chance(0.3), rng.chance(0.2));
  }
  for (const Activation& act : kActivations) run(3, 3, 1, 1, 1, 61, 33, act, false, false, false);
}

inline void test_pool(pyrt::PoolFn fn) {
  const auto run = [&](int kh, int kw, int step_h, int step_w, int dil_h, int dil_w, int rows, int cols, bool max,
                       bool specials) {
    what = "window " + std::to_string(kh) + "x" + std::to_string(kw) + " steps " + std::to_string(step_h) + "," +
           std::to_string(step_w) + " dilation " + std::to_string(dil_w) + " outputs " + std::to_string(rows) + "x" +
           std::to_string(cols) + (max ? " max" : " sum");
    const int pad = rng.below(kw * dil_w / 2 + 1);
    const int span = (cols - 1) * step_w + (kw - 1) * dil_w + 1 - pad, width = std::max(1, span - rng.below(pad + 1));
    RowsOfPixels x((rows - 1) * step_h + (kh - 1) * dil_h + 1, width, specials);
    PlaneOutput y(rows, cols);
    fn({x.data(), width, kh, kw, step_h, step_w, dil_h, dil_w, -pad, y->data(), y->stride(), rows, cols, max});
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) {
        Sum sum;
        if (max) sum.value = -std::numeric_limits<double>::infinity();
        for (int t = 0; t < kh * kw && !(max && std::isnan(sum.value)); ++t) {
          const int col = c * step_w + t % kw * dil_w - pad;
          if (col < 0 || col >= width) continue;
          const double v = static_cast<double>(x.at(r * step_h + t / kw * dil_h, col));
          if (!max) sum.add(v);
          else if (!(v <= sum.value)) sum.value = v;
        }
        Tail::check_act({}, r, c, sum, y->at(r, c));
      }
    }
    y->check_gaps(nullptr);
  };
  for (int cols = 1; cols <= 70; ++cols) {
    for (bool max : {false, true}) {
      run(2, 2, 2, 2, 1, 1, rng.between(1, 5), cols, max, rng.chance(0.2));
      run(3, 3, 2, 2, 1, 1, rng.between(1, 5), cols, max, rng.chance(0.2));
      run(3, 3, 1, 1, 1, 1, rng.between(1, 5), cols, max, rng.chance(0.2));
      run(rng.between(1, 5), rng.between(1, 5), rng.between(1, 4), rng.between(1, 4), rng.between(1, 3),
          rng.between(1, 3), rng.between(1, 5), cols, max, rng.chance(0.2));
    }
  }
}

inline void test_sum(pyrt::SumFn fn) {
  for (int cols = 1; cols <= 150; ++cols) {
    const int rows = rng.between(1, 9), pitch = cols + (rng.coin() ? 0 : rng.below(5));
    what = "rows " + std::to_string(rows) + " cols " + std::to_string(cols);
    Guarded<float> x(static_cast<size_t>((rows - 1) * pitch + cols)), y(1);
    rng.fill(x);
    fn({x.data(), pitch, rows, cols, y.data()});
    Sum sum;
    for (int i = 0; i < rows * cols; ++i)
      sum.add(static_cast<double>(x[static_cast<size_t>(i / cols * pitch + i % cols)]));
    Tail::check_act({}, 0, 0, sum, y[0]);
  }
}

inline void test_copy_rows(pyrt::CopyRowsFn fn) {
  for (int n = 0; n <= 70; ++n) {
    for (int step : {1, 2, 3}) {
      const int rows = rng.between(1, 4), cols = std::max(1, n + rng.below(2) * rng.below(40)),
                x_pitch = n * step + rng.below(4);
      what = "n " + std::to_string(n) + " step " + std::to_string(step) + " columns " + std::to_string(cols);
      Guarded<float> x(static_cast<size_t>(n == 0 ? 0 : (rows - 1) * x_pitch + (n - 1) * step + 1));
      rng.fill(x);
      PlaneOutput y(rows, cols);
      fn({x.data(), x_pitch, step, n, y->data(), y->stride(), rows, cols});
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < cols; ++c) {
          const float want = c < n ? x[static_cast<size_t>(r * x_pitch + c * step)] : 0.0f;
          if (y->at(r, c) != want) fail("row %d, column %d: %g", r, c, y->at_double(r, c));
        }
      }
      y->check_gaps(nullptr);
    }
  }
}

inline void test_transpose(pyrt::TransposeFn fn) {
  for (int rows : {1, 2, 7, 8, 9, 15, 16, 17, 33, 64}) {
    for (int cols : {1, 3, 8, 15, 16, 17, 31, 32, 50}) {
      what = std::to_string(rows) + "x" + std::to_string(cols);
      const int pitch = cols + rng.below(5);
      Guarded<float> x(static_cast<size_t>((rows - 1) * pitch + cols));
      rng.fill(x);
      PlaneOutput y(cols, rows);
      fn({x.data(), pitch, rows, cols, y->data(), y->stride()});
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < cols; ++c) {
          if (y->at(c, r) != x[static_cast<size_t>(r * pitch + c)]) fail("row %d, column %d", r, c);
        }
      }
      y->check_gaps(nullptr);
    }
  }
}

// B^T, G and A^T of F(4x4, 3x3) from their definition (Toom-Cook at the points 0, +-2/3, +-3/2, infinity), not from
// the formulas of the kernels.
struct WinogradOracle {
  std::array<double, 5> point{0, 2.0 / 3, -2.0 / 3, 1.5, -1.5};

  double product_but(int skip) const {
    double p = 1;
    for (int i = 0; i < 5; ++i) p *= i == skip ? 1 : point[static_cast<size_t>(skip)] - point[static_cast<size_t>(i)];
    return p;
  }
  double g(int f, int t) const {
    return f == 5 ? (t == 2) : std::pow(point[static_cast<size_t>(f)], t) / product_but(f);
  }
  double a(int i, int f) const { return f == 5 ? (i == 3) : std::pow(point[static_cast<size_t>(f)], i); }
  // Coefficients of the product of (x - p) over all finite points but the f-th.
  double b(int f, int j) const {
    std::array<double, 7> c{1};
    for (int i = 0; i < 5; ++i) {
      if (i == f) continue;
      for (int d = 6; d > 0; --d)
        c[static_cast<size_t>(d)] =
            c[static_cast<size_t>(d - 1)] - point[static_cast<size_t>(i)] * c[static_cast<size_t>(d)];
      c[0] *= -point[static_cast<size_t>(i)];
    }
    return c[static_cast<size_t>(j)];
  }
};

// A few roundings more than one sum has: the two axes are transformed one after the other.
inline void check_transform(int f, int at, const Sum& sum, float got) {
  const double error = std::fabs(static_cast<double>(got) - sum.value);
  if (error <= 8 * kEps * sum.magnitude) return;
  fail("element %d of %d: %.9g instead of %.9g", f, at, static_cast<double>(got), sum.value);
}

// Strips over a plane of rows x cols outputs; x as if padded by 1.
inline std::vector<pyrt::WinogradStrip> winograd_strips(int rows, int cols, int x_pitch, int y_pitch, int gap) {
  std::vector<pyrt::WinogradStrip> strips;
  for (int h = 0; h < rows; h += 4) {
    for (int w = 0; w < cols; w += 16) {
      pyrt::WinogradStrip s{};
      s.x = h * x_pitch + w;
      s.y = h * y_pitch + w;
      s.in_rows = static_cast<int16_t>(std::min(6, rows + 2 - h));
      s.in_cols = static_cast<int16_t>(std::min(18, cols + 2 - w));
      s.out_rows = static_cast<int16_t>(std::min(4, rows - h));
      s.out_cols = static_cast<int16_t>(std::min(16, cols - w));
      s.gap = w + 16 >= cols ? gap : 0;
      strips.push_back(s);
    }
  }
  while (strips.size() % 4 != 0) strips.push_back({});
  return strips;
}

template <class Run>
void sweep_strips(const Run& run) {
  for (int cols : {1, 2, 3, 4, 5, 13, 14, 15, 16, 17, 18, 31, 32, 33, 50}) {
    for (int rows : {1, 2, 3, 4, 5, 7, 14}) run(rows, cols);
  }
}

inline void test_winograd_input(pyrt::WinogradInputFn fn) {
  const WinogradOracle oracle;
  sweep_strips([&](int rows, int cols) {
    what = std::to_string(rows) + "x" + std::to_string(cols);
    const int pitch = cols + 2 + rng.below(3);
    const auto strips = winograd_strips(rows, cols, pitch, cols, 0);
    const int groups = static_cast<int>(strips.size()) / 4, stride = groups * 16 + rng.below(3) * 16;
    Guarded<float> x(static_cast<size_t>((rows + 1) * pitch + cols + 2));
    rng.fill(x);
    Guarded<float> u(static_cast<size_t>(35 * stride + groups * 16));
    fn({x.data(), pitch, strips.data(), groups, u.data(), stride});
    for (int col = 0; col < groups * 16; ++col) {
      const pyrt::WinogradStrip& s = strips[static_cast<size_t>(col / 16 * 4 + col % 4)];
      for (int f = 0; f < 36; ++f) {
        Sum sum;
        for (int i = 0; i < s.in_rows; ++i) {
          for (int j = 0; j < 6; ++j) {
            const int at = col % 16 / 4 * 4 + j;
            if (at >= s.in_cols) continue;
            sum.add(oracle.b(f / 6, i) * oracle.b(f % 6, j) *
                    static_cast<double>(x[static_cast<size_t>(s.x + i * pitch + at)]));
          }
        }
        check_transform(f, col, sum, u[static_cast<size_t>(f * stride + col)]);
      }
    }
  });
}

inline void test_winograd_weights(pyrt::WinogradWeightsFn fn) {
  const WinogradOracle oracle;
  for (int channels : {1, 2, 5, 64}) {
    what = "channels " + std::to_string(channels);
    const int stride = channels * 16 + rng.below(3) * 16;
    Guarded<float> w(static_cast<size_t>(channels * 9 * 16)), u(static_cast<size_t>(35 * stride + channels * 16));
    rng.fill(w);
    fn({w.data(), channels, u.data(), stride});
    for (int i = 0; i < channels * 16; ++i) {
      for (int f = 0; f < 36; ++f) {
        Sum sum;
        for (int t = 0; t < 9; ++t) {
          const double v = static_cast<double>(w[static_cast<size_t>((i / 16 * 9 + t) * 16 + i % 16)]);
          sum.add(oracle.g(f / 6, t / 3) * oracle.g(f % 6, t % 3) * v);
        }
        check_transform(f, i, sum, u[static_cast<size_t>(f * stride + i)]);
      }
    }
  }
}

inline void test_winograd_output(pyrt::WinogradOutputFn fn) {
  const WinogradOracle oracle;
  sweep_strips([&](int rows, int cols) {
    what = std::to_string(rows) + "x" + std::to_string(cols);
    const int gap = rng.below(4), pitch = cols + gap, channels = rng.between(1, 16);
    const auto strips = winograd_strips(rows, cols, 1, pitch, gap);
    const int groups = static_cast<int>(strips.size()) / 4, row = groups * 16, stride = channels * row + 16;
    Guarded<float> m(static_cast<size_t>(35 * stride + channels * row));
    rng.fill(m);
    Output y(channels, rows * pitch, rows * pitch, rng.below(20));
    Finish finish = Finish::random();
    finish.mask = false;
    const Tail tail(finish, y);
    fn({m.data(), stride, row, channels, strips.data(), groups, y.data(), y.stride(), pitch, tail.epilogue()});
    for (int c = 0; c < channels; ++c) {
      for (int h = 0; h < rows; ++h) {
        for (int w = cols; w < pitch; ++w) {
          if (y.at(c, h * pitch + w) != 0.0f) fail("channel %d: a gap is not zero", c);
        }
      }
      for (int col = 0; col < groups * 16; ++col) {
        const pyrt::WinogradStrip& s = strips[static_cast<size_t>(col / 16 * 4 + col % 4)];
        for (int i = 0; i < s.out_rows; ++i) {
          for (int j = 0; j < 4; ++j) {
            const int at = col % 16 / 4 * 4 + j;
            if (at >= s.out_cols) continue;
            Sum sum;
            for (int f = 0; f < 36; ++f) {
              const double v = static_cast<double>(m[static_cast<size_t>(f * stride + c * row + col)]);
              sum.add(oracle.a(i, f / 6) * oracle.a(j, f % 6) * v);
            }
            tail.check(y, c, s.y + i * pitch + at, sum);
          }
        }
      }
    }
  });
}
