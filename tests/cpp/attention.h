// Sweeps of the families along the channels: norms and softmax of columns.
#pragma once

#include <cmath>
#include <vector>

#include "oracle.h"
#include "planes.h"

inline bool close(double want, float got, double tolerance) {
  return std::fabs(want - static_cast<double>(got)) <= tolerance * (1 + std::fabs(want));
}

inline void test_norm(pyrt::NormFn fn) {
  for (int channels : {1, 2, 7, 64, 385}) {
    for (int cols : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 49, 70}) {
      for (bool rms : {false, true}) {
        what = std::to_string(channels) + " channels, " + std::to_string(cols) + " columns" + (rms ? ", rms" : "");
        const int pitch = cols + rng.below(5);
        Guarded<float> x(static_cast<size_t>((channels - 1) * pitch + cols));
        Guarded<float> gain(static_cast<size_t>(channels)), shift(static_cast<size_t>(channels));
        rng.fill(x), rng.fill(gain), rng.fill(shift);
        PlaneOutput y(channels, cols);
        fn({x.data(), pitch, y->data(), y->stride(), channels, cols, gain.data(), shift.data(), 1e-5f, rms});
        for (int i = 0; i < cols; ++i) {
          double mean = 0, sum = 0;
          const auto at = [&](int c) { return static_cast<double>(x[static_cast<size_t>(c * pitch + i)]); };
          for (int c = 0; c < channels && !rms; ++c) mean += at(c) / channels;
          for (int c = 0; c < channels; ++c) sum += (at(c) - mean) * (at(c) - mean) / channels;
          for (int c = 0; c < channels; ++c) {
            const auto k = static_cast<size_t>(c);
            const double scaled = (at(c) - mean) / std::sqrt(sum + 1e-5) * static_cast<double>(gain[k]);
            if (!close(scaled + static_cast<double>(shift[k]), y->at(c, i), 2e-5)) fail("channel %d, column %d", c, i);
          }
        }
        y->check_gaps(nullptr);
      }
    }
  }
}

// Two blocks of rows, one after the other, against the softmax of all; some of them hidden by -inf.
inline void test_softmax(pyrt::SoftmaxFn fn) {
  for (int rows : {1, 2, 5, 48, 131}) {
    for (int cols : {16, 32, 48}) {
      for (int hidden : {0, 1, 2}) {
        what = std::to_string(rows) + " rows, " + std::to_string(cols) + " columns, hidden " + std::to_string(hidden);
        const int split = rng.below(rows + 1);
        Guarded<float> x(static_cast<size_t>(rows * cols)), bias(static_cast<size_t>(rows));
        rng.fill(x), rng.fill(bias);
        for (size_t r = 0; r < bias.size(); ++r) {
          if (hidden == 2 || (hidden == 1 && rng.coin())) bias[r] = -std::numeric_limits<float>::infinity();
        }
        const std::vector<float> before(x.data(), x.data() + x.size());
        Guarded<float> max(static_cast<size_t>(cols)), sum(static_cast<size_t>(cols)),
            factor(static_cast<size_t>(cols));
        const bool biased = hidden > 0 || rng.coin();
        if (split > 0)
          fn({x.data(), cols, split, cols, biased ? bias.data() : nullptr, max.data(), sum.data(), factor.data(),
              true});
        if (split < rows) {
          fn({x.data() + split * cols, cols, rows - split, cols, biased ? bias.data() + split : nullptr, max.data(),
              sum.data(), factor.data(), split == 0});
          for (int i = 0; i < split * cols; ++i) x[static_cast<size_t>(i)] *= factor[static_cast<size_t>(i % cols)];
        }
        for (int c = 0; c < cols; ++c) {
          const auto at = [&](int r) {
            const auto i = static_cast<size_t>(r * cols + c);
            return static_cast<double>(before[i]) + (biased ? static_cast<double>(bias[static_cast<size_t>(r)]) : 0.0);
          };
          double top = -std::numeric_limits<double>::infinity(), total = 0;
          for (int r = 0; r < rows; ++r) top = std::fmax(top, at(r));
          for (int r = 0; r < rows; ++r) total += std::isfinite(top) ? std::exp(at(r) - top) : 0;
          if (!close(total, sum[static_cast<size_t>(c)], 1e-5)) fail("the sum of column %d", c);
          for (int r = 0; r < rows; ++r) {
            const double want = std::isfinite(top) ? std::exp(at(r) - top) : 0;
            if (!close(want, x[static_cast<size_t>(r * cols + c)], 1e-6)) fail("row %d, column %d", r, c);
          }
        }
      }
    }
  }
}
