// Sweeps of the integer families against an int64 oracle of docs/format.md, section 4: bit for bit, extremes included.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "decoding.h"
#include "products.h"

using pyrt::QuantEpilogue;

// s = f32 arithmetic of the page; rounded and clamped without any limit of an integer type.
inline int finished(double s, int zero, int low, int high) {
  const double q = std::isnan(s) ? -INFINITY : std::nearbyint(s) + zero;
  return static_cast<int>(std::min<double>(std::max<double>(q, low), high));
}
inline int wrapped(int64_t sum) { return static_cast<int>(static_cast<uint32_t>(static_cast<uint64_t>(sum))); }

// What a layer does with its sums, with memory of its own; drawn at random, its ends among the draws.
struct IntegerTail {
  IntegerTail(int rows, int cols, int stride, bool may_add)
      : scale(rows_of(rows)), bias(rows_of(rows)), shift(rows_of(rows)) {
    for (size_t i = 0; i < bias.size(); ++i) {
      shift[i] = rng.chance(0.1) ? static_cast<int32_t>(rng.bits()) : rng.between(-5000, 5000);
      bias[i] = rng.chance(0.3) ? 0.0f : rng.real(-50, 50);
      scale[i] = rng.chance(0.1) ? 0x1p80f : rng.chance(0.1) ? 0.0f : rng.real(-0.01, 0.02);
    }
    e.bias = bias.data();
    e.shift = shift.data();
    e.scale = scale.data();
    const int zeros[] = {0, 255, 128, rng.below(256)};
    e.zero = zeros[rng.below(4)];
    e.low = rng.coin() ? 0 : rng.below(256);
    e.high = rng.coin() ? 255 : rng.between(e.low, 255);
    if (may_add && rng.chance(0.4)) {
      const int groups = (rows + 3) / 4;
      residual = std::make_unique<Guarded<uint8_t>>(4 * static_cast<size_t>((groups - 1) * stride + cols + 16));
      for (size_t i = 0; i < residual->size(); ++i) (*residual)[i] = static_cast<uint8_t>(rng.bits());
      e.residual = residual->data();
      e.residual_scale = rng.real(-2, 2);
      e.residual_zero = rng.below(256);
    }
    if (rng.chance(0.4)) {
      mask = std::make_unique<Guarded<uint8_t>>(mask_bytes(cols));
      for (size_t i = 0; i < mask->size(); ++i) (*mask)[i] = static_cast<uint8_t>(rng.bits() | rng.bits());
      e.mask = mask->data();
    }
  }
  static size_t rows_of(int rows) { return static_cast<size_t>(rows); }

  float scaled(int r, int c, int64_t sum) const {
    if (e.columns) return std::fma(static_cast<float>(wrapped(sum + e.shift[r])) * e.scale[r], e.columns[c], e.bias[r]);
    return std::fma(static_cast<float>(wrapped(sum + e.shift[r])), e.scale[r], e.bias[r]);
  }
  int wanted(int r, int c, size_t at, int64_t sum) const {
    if (masked(e.mask, c)) return e.zero;
    float s = scaled(r, c, sum);
    if (e.residual) s = std::fma(static_cast<float>(e.residual[at] - e.residual_zero), e.residual_scale, s);
    return finished(static_cast<double>(s), e.zero, e.low, e.high);
  }

  Guarded<float> scale, bias;
  Guarded<int32_t> shift;
  std::unique_ptr<Guarded<uint8_t>> residual, mask;
  QuantEpilogue e{};
};

// Columns of four bytes at arbitrary places, as in Columns.
class Fours {
 public:
  Fours(int k, int cols, int kind) : off_(static_cast<size_t>(k)) {
    const int first = -rng.below(40), last = first + (k > 1 ? rng.between(k, 3 * k + 40) : 0);
    for (size_t i = 0; i < off_.size(); ++i) off_[i] = rng.between(first, last);
    if (k > 0) off_[0] = first;
    if (k > 1) off_[off_.size() - 1] = last;
    memory_ = std::make_unique<Guarded<uint8_t>>(4 * static_cast<size_t>(last - first + cols + 16));
    for (size_t i = 0; i < memory_->size(); ++i) {
      (*memory_)[i] = static_cast<uint8_t>(kind == 0 ? 255 : kind == 1 ? 0 : rng.bits());
    }
    x_ = memory_->data() - 4 * first;
  }
  const uint8_t* x() const { return x_; }
  int32_t* off() { return off_.data(); }
  int at(int k, int col, int i) { return x_[4 * (off_[static_cast<size_t>(k)] + col) + i]; }

 private:
  Guarded<int32_t> off_;
  std::unique_ptr<Guarded<uint8_t>> memory_;
  const uint8_t* x_;
};

// How many products of a lane fit 16 bits: of two any four weights of a lane sum to at most 128. Mixed: block by block.
enum Exact { kNone, kOne, kTwo, kMixed };

inline int8_t draw_weight(int fit, int kind) {
  const int most = fit == kNone ? 127 : fit == kOne ? 64 : 32;
  return static_cast<int8_t>(kind == 0 ? most : kind == 1 ? -most - (fit == kNone) : rng.between(-most, most));
}

// Panels of k groups of four columns, and what is so known of them.
inline void fill_panel(Guarded<int8_t>& w, Guarded<pyrt::Fit>& fits, Exact fit, int kind) {
  for (size_t i = 0; i < fits.size(); ++i) std::memset(&fits[i], 255, sizeof fits[i]);
  for (size_t step = 0; step < (w.size() + 127) / 128; ++step) {
    pyrt::Fit& word = fits[step / 64];
    const uint64_t clear = ~(uint64_t{1} << step % 64);
    for (size_t quad = 0; quad < 4; ++quad) {
      const int here = fit == kMixed ? rng.below(3) : fit;
      if (here < kOne) word.one[quad] &= clear;
      if (here < kTwo) word.two[quad] &= clear;
      for (size_t i = 128 * step; i < std::min(w.size(), 128 * step + 128); ++i) {
        if (i % 64 / 16 == quad) w[i] = draw_weight(here, kind);
      }
    }
  }
}

// y of a product of integers.
class IntegerOutput {
 public:
  IntegerOutput(int rows, int cols, bool few, bool to_f32)
      : rows_(rows),
        cols_(cols),
        to_f32_(to_f32),
        writable_(writable_columns(few, cols)),
        stride_(writable_ + rng.below(20)),
        planes_(to_f32 ? rows : (rows + 3) / 4),
        y_(static_cast<size_t>((planes_ - 1) * stride_ + writable_)),
        tail_(rows, cols, stride_, !to_f32),
        factors_(static_cast<size_t>(cols + 16)) {
    rng.fill(factors_);
    if (to_f32 && rng.coin()) tail_.e.columns = factors_.data();
  }
  uint32_t* data() { return y_.data(); }
  int stride() const { return stride_; }
  const pyrt::QuantEpilogue& epilogue() const { return tail_.e; }

  // sum(r, c): what the products of row r and column c sum to.
  template <class Sum>
  void check(const Sum& sum) {
    for (int r = 0; r < rows_; ++r) {
      for (int c = 0; c < cols_; ++c) check(r, c, sum(r, c));
    }
    for (int p = 0; p < planes_; ++p) {
      for (int c = writable_; c < stride_ && static_cast<size_t>(p * stride_ + c) < y_.size(); ++c) {
        if (!y_.untouched(static_cast<size_t>(p * stride_ + c))) fail("plane %d: writes column %d of %d", p, c, cols_);
      }
    }
  }

 private:
  void check(int r, int c, int64_t sum) {
    const auto at = static_cast<size_t>((to_f32_ ? r : r / 4) * stride_ + c);
    if (to_f32_) {
      const float want = masked(tail_.e.mask, c) ? 0.0f : tail_.scaled(r, c, sum);
      float got;
      std::memcpy(&got, &y_[at], 4);
      if (got != want)
        fail("row %d, column %d: %g instead of %g", r, c, static_cast<double>(got), static_cast<double>(want));
      return;
    }
    const size_t byte = 4 * at + static_cast<size_t>(r % 4);
    const int want = tail_.wanted(r, c, byte, sum), got = reinterpret_cast<uint8_t*>(y_.data())[byte];
    if (got != want) fail("row %d, column %d: %d instead of %d", r, c, got, want);
  }

  int rows_, cols_;
  bool to_f32_;
  int writable_, stride_, planes_;
  Guarded<uint32_t> y_;
  IntegerTail tail_;
  Guarded<float> factors_;
};

inline void test_qgemm(pyrt::QGemmFn fn, bool few, bool s4 = false) {
  const auto run = [&](int rows, int k, int cols, Exact fit, bool to_f32) {
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " cols " + std::to_string(cols) + " fit " +
           std::to_string(static_cast<int>(fit)) + (to_f32 ? " to f32" : "");
    const int kind = rng.below(6);
    Guarded<int8_t> w(static_cast<size_t>(k * 64));
    Guarded<pyrt::Fit> fits(static_cast<size_t>((k + 127) / 128));
    fill_panel(w, fits, fit, kind);
    Guarded<uint8_t> packed(s4 ? static_cast<size_t>((k + 1) / 2 * 64) : 0);
    for (size_t i = 0; i < packed.size(); ++i) {
      packed[i] = static_cast<uint8_t>(rng.bits());
      const size_t at = i / 64 * 128 + i % 64;
      w[at] = static_cast<int8_t>((packed[i] & 15) - 8);
      if (at + 64 < w.size()) w[at + 64] = static_cast<int8_t>((packed[i] >> 4) - 8);
    }
    const void* stored = s4 ? static_cast<const void*>(packed.data()) : w.data();
    Fours x(k, cols, rng.chance(0.2) ? rng.below(2) : 2);
    IntegerOutput y(rows, cols, few, to_f32);
    fn({stored, x.off(), k, s4 ? nullptr : fits.data(), x.x(), y.data(), to_f32, y.stride(), rows, cols, y.epilogue()});
    y.check([&](int r, int c) {
      int64_t sum = 0;
      for (int g = 0; g < k; ++g) {
        for (int i = 0; i < 4; ++i) sum += w[static_cast<size_t>(64 * g + 4 * r + i)] * x.at(g, c, i);
      }
      return sum;
    });
  };
  for (Exact fit : {kNone, kOne, kTwo, kMixed}) {
    for (bool to_f32 : {false, true}) {
      for (int rows = 1; rows <= 16; ++rows) {
        for (int k : {0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 64}) run(rows, k, random_columns(few), fit, to_f32);
      }
      for (int cols : column_counts(few)) {
        for (int rows : {16, 7, 1}) run(rows, 5, cols, fit, to_f32);
      }
      run(16, 1025, few ? 1 : 9, fit, to_f32);
    }
  }
}

template <class Delta>
void run_qcsr_dot(pyrt::QCsrDotFn fn, int rows, int k, int cols, double zeros, bool to_f32) {
  SparseBytes<Delta> w(rows, k, zeros);
  const int stride = k + 1 + rng.below(5), kind = rng.below(4);
  Guarded<uint16_t> x(static_cast<size_t>((cols - 1) * stride + k + 1));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(kind == 0 ? 255 : rng.below(256));
  IntegerOutput y(rows, cols, true, to_f32);
  fn({w.stored(), x.data(), stride, y.data(), to_f32, y.stride(), cols, y.epilogue()});
  y.check([&](int r, int c) {
    int64_t sum = 0;
    for (int i = 0; i < k; ++i) sum += w.at(r, i) * x[static_cast<size_t>(c * stride + i)];
    return sum;
  });
}

inline void test_qcsr_dot(pyrt::QCsrDotFn fn) {
  for (int i = 0; i < 400; ++i) {
    const int rows = i % 3 ? pyrt::kPanel : rng.between(1, 16), k = i % 7 ? rng.between(1, 200) : 3000;
    const double zeros = i % 11 == 0 ? 1 : i % 11 == 1 ? 0 : i % 3 == 0 ? 0.99 : 0.7;
    run_qcsr_dot<uint8_t>(fn, rows, k, rng.between(1, 8), zeros, rng.coin());
    run_qcsr_dot<uint16_t>(fn, rows, k, rng.between(1, 8), zeros, rng.coin());
  }
}

inline void test_unpack(pyrt::UnpackFn fn) {
  for (int pairs : {0, 1, 2, 3, 7, 32}) {
    what = "pairs " + std::to_string(pairs);
    Guarded<uint8_t> in(static_cast<size_t>(64 * pairs));
    Guarded<int8_t> out(static_cast<size_t>(128 * pairs));
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(rng.bits());
    fn({in.data(), pairs, out.data()});
    for (size_t i = 0; i < out.size(); ++i) {
      const uint8_t both = in[i / 128 * 64 + i % 64];
      const int want = (i / 64 % 2 ? both >> 4 : both & 15) - 8;
      if (out[i] != want) fail("weight %zu: %d instead of %d", i, out[i], want);
    }
  }
}

inline void test_qdepthwise(pyrt::QDepthwiseFn fn) {
  const auto run = [&](int channels, int taps, int cols, Exact fit) {
    what = "channels " + std::to_string(channels) + " taps " + std::to_string(taps) + " cols " + std::to_string(cols) +
           " fit " + std::to_string(static_cast<int>(fit));
    const int rounded = (taps + 3) / 4 * 4;
    Guarded<int8_t> w(static_cast<size_t>(4 * rounded));
    const int kind = rng.below(6);
    for (size_t i = 0; i < w.size(); ++i) w[i] = draw_weight(fit, kind);
    for (int r = 0; r < 4; ++r) {
      for (int t = taps; t < rounded; ++t) w[static_cast<size_t>(t / 4 * 16 + 4 * r + t % 4)] = 0;
    }
    Fours x(rounded, cols, rng.chance(0.2) ? rng.below(2) : 2);
    const int writable = writable_columns(cols <= pyrt::kFewColumns, cols);
    Guarded<uint32_t> y(static_cast<size_t>(writable));
    const IntegerTail tail(channels, cols, writable, true);
    fn({w.data(), x.off(), taps, fit != kNone, channels, x.x(), reinterpret_cast<uint8_t*>(y.data()), cols, tail.e});
    for (int r = 0; r < channels; ++r) {
      for (int c = 0; c < cols; ++c) {
        int64_t sum = 0;
        for (int t = 0; t < taps; ++t) sum += w[static_cast<size_t>(t / 4 * 16 + 4 * r + t % 4)] * x.at(t, c, r);
        const auto byte = static_cast<size_t>(4 * c + r);
        const int want = tail.wanted(r, c, byte, sum), got = reinterpret_cast<uint8_t*>(y.data())[byte];
        if (got != want) fail("channel %d, column %d: %d instead of %d", r, c, got, want);
      }
    }
  };
  for (Exact fit : {kNone, kOne}) {
    for (int channels = 1; channels <= 4; ++channels) {
      for (int taps : {1, 2, 3, 4, 5, 8, 9, 25, 49}) {
        for (bool few : {false, true}) run(channels, taps, random_columns(few), fit);
      }
    }
    for (int cols : column_counts(false)) run(4, 9, cols, fit);
  }
}

// Up to four rows of f32, and columns of four.
struct Plane {
  Plane(int channels, int cols)
      : stride(cols + 16 + rng.below(9)), floats(static_cast<size_t>((channels - 1) * stride + cols + 16)) {}
  int stride;
  Guarded<float> floats;
};

inline void test_quantize(pyrt::QuantizeFn fn) {
  for (int cols : column_counts(false)) {
    for (int channels = 1; channels <= 4; ++channels) {
      what = "channels " + std::to_string(channels) + " cols " + std::to_string(cols);
      Plane x(channels, cols);
      for (size_t i = 0; i < x.floats.size(); ++i)
        x.floats[i] = rng.chance(0.02) ? special_value() : rng.real(-300, 300);
      Guarded<uint8_t> y(4 * static_cast<size_t>(cols));
      const IntegerTail tail(1, cols, cols, false);
      const int step = rng.below(2);
      Guarded<float> inverses(static_cast<size_t>(step ? cols : 1));
      for (size_t i = 0; i < inverses.size(); ++i) inverses[i] = rng.real(0.01, 4);
      const QuantEpilogue& e = tail.e;
      fn({x.floats.data(), x.stride, channels, y.data(), cols, inverses.data(), step, e.zero, e.low, e.high, e.mask});
      for (int r = 0; r < channels; ++r) {
        for (int c = 0; c < cols; ++c) {
          const float s = x.floats[static_cast<size_t>(r * x.stride + c)] * inverses[static_cast<size_t>(c * step)];
          const int want = masked(e.mask, c) ? e.zero : finished(static_cast<double>(s), e.zero, e.low, e.high);
          const int got = y[static_cast<size_t>(4 * c + r)];
          if (got != want) fail("channel %d, column %d: %d instead of %d", r, c, got, want);
        }
      }
    }
  }
}

inline void test_dequantize(pyrt::DequantizeFn fn) {
  for (int cols : column_counts(false)) {
    for (int channels = 1; channels <= 4; ++channels) {
      what = "channels " + std::to_string(channels) + " cols " + std::to_string(cols);
      Guarded<uint8_t> x(4 * static_cast<size_t>(cols));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(rng.bits());
      const int stride = cols + rng.below(9);
      Guarded<float> y(static_cast<size_t>((channels - 1) * stride + cols));
      const IntegerTail tail(1, cols, cols, false);
      const float scale = rng.real(0.001, 3);
      fn({x.data(), y.data(), stride, channels, cols, scale, tail.e.zero, tail.e.mask});
      for (int r = 0; r < channels; ++r) {
        for (int c = 0; c < cols; ++c) {
          const float q = static_cast<float>(x[static_cast<size_t>(4 * c + r)] - tail.e.zero);
          const float want = masked(tail.e.mask, c) ? 0.0f : q * scale, got = y[static_cast<size_t>(r * stride + c)];
          if (got != want)
            fail("channel %d, column %d: %g instead of %g", r, c, static_cast<double>(got), static_cast<double>(want));
        }
      }
    }
  }
}

inline void test_qadd(pyrt::QAddFn fn) {
  for (int cols : column_counts(false)) {
    what = "cols " + std::to_string(cols);
    const size_t bytes = 4 * static_cast<size_t>(cols);
    Guarded<uint8_t> a(bytes), b(bytes), y(bytes);
    for (size_t i = 0; i < bytes; ++i) a[i] = static_cast<uint8_t>(rng.bits()), b[i] = static_cast<uint8_t>(rng.bits());
    const IntegerTail tail(1, cols, cols, false);
    const QuantEpilogue& e = tail.e;
    const int a_zero = rng.below(256), b_zero = rng.coin() ? 0 : 255;
    const float a_scale = rng.real(-3, 3), b_scale = rng.chance(0.1) ? 0x1p80f : rng.real(0, 1);
    fn({a.data(), b.data(), y.data(), cols, a_zero, b_zero, a_scale, b_scale, e.zero, e.low, e.high, e.mask});
    for (size_t i = 0; i < bytes; ++i) {
      const float first = static_cast<float>(a[i] - a_zero) * a_scale;
      const float s = std::fma(static_cast<float>(b[i] - b_zero), b_scale, first);
      const bool gap = masked(e.mask, static_cast<int>(i / 4));
      const int want = gap ? e.zero : finished(static_cast<double>(s), e.zero, e.low, e.high);
      if (y[i] != want) fail("byte %zu: %d instead of %d", i, y[i], want);
    }
  }
}

inline void test_max_bytes(pyrt::MaxBytesFn fn) {
  for (int n : {1, 2, 3, 4, 31, 32, 33, 63, 64, 65, 127, 128, 500}) {
    for (int rows : {1, 2, 3, 9, 64}) {
      what = "rows " + std::to_string(rows) + " bytes " + std::to_string(n);
      Guarded<uint8_t> x(static_cast<size_t>(rows * n)), y(static_cast<size_t>(n));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(rng.bits());
      std::vector<const uint8_t*> pointers;
      for (int r = 0; r < rows; ++r) pointers.push_back(x.data() + r * n);
      fn({pointers.data(), rows, y.data(), n});
      for (int i = 0; i < n; ++i) {
        uint8_t most = 0;
        for (const uint8_t* row : pointers) most = std::max(most, row[i]);
        if (y[static_cast<size_t>(i)] != most) fail("byte %d: %d instead of %d", i, y[static_cast<size_t>(i)], most);
      }
    }
  }
}
