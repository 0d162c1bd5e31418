// Sweeps of the families that compute W X: gemm and csr, with and without the rest of a layer.
#pragma once

#include <memory>
#include <numeric>
#include <vector>

#include "decoding.h"
#include "oracle.h"

// Rows of y with a gap after each, of which a kernel may write `writable` >= `cols` columns.
class Output {
 public:
  Output(int rows, int cols, int writable, int gap)
      : rows_(rows),
        cols_(cols),
        writable_(writable),
        stride_(writable + gap),
        memory_(static_cast<size_t>((rows - 1) * stride_ + writable)) {}

  float* data() { return memory_.data(); }
  ptrdiff_t stride() const { return stride_; }
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  int writable() const { return writable_; }
  float at(int r, int c) { return memory_[index(r, c)]; }
  void set(int r, int c, float v) { memory_[index(r, c)] = v; }

  // Past its columns a kernel leaves the gaps of a padded plane, whose mask bits are 0, zero; and past the writable
  // ones it leaves everything.
  void check_gaps(const uint8_t* mask) {
    for (int r = 0; r < rows_; ++r) {
      for (int c = cols_; c < stride_ && index(r, c) < memory_.size(); ++c) {
        if (memory_.untouched(index(r, c))) continue;
        if (c >= writable_) fail("row %d: writes column %d of %d", r, c, cols_);
        else if (masked(mask, c) && at(r, c) != 0.0f) fail("row %d, column %d: masked, but %g", r, c, at_double(r, c));
      }
    }
  }
  double at_double(int r, int c) { return static_cast<double>(at(r, c)); }

 private:
  size_t index(int r, int c) const { return static_cast<size_t>(r * stride_ + c); }
  int rows_, cols_, writable_;
  int stride_;
  Guarded<float> memory_;
};

// What the layer does after the sum.
struct Finish {
  Activation act;
  bool bias = false, residual = false, mask = false, scale = false;

  static Finish random() {
    return {random_activation(), rng.coin(), rng.chance(0.3), rng.chance(0.3), rng.chance(0.3)};
  }
};

// An Epilogue with memory of its own.
class Tail {
 public:
  Tail(const Finish& finish, const Output& y) {
    epilogue_.act = finish.act;
    const auto rows = static_cast<size_t>(y.rows());
    if (finish.scale) {
      scale_ = std::make_unique<Guarded<float>>(rows);
      rng.fill(*scale_);
      epilogue_.scale = scale_->data();
    }
    if (finish.bias) {
      bias_ = std::make_unique<Guarded<float>>(rows);
      rng.fill(*bias_);
      epilogue_.bias = bias_->data();
    }
    if (finish.residual) {
      // May be read up to 16 columns past the last one, as any row of columns.
      residual_ = std::make_unique<Guarded<float>>((rows - 1) * static_cast<size_t>(y.stride()) +
                                                   static_cast<size_t>(y.cols()) + 16);
      rng.fill(*residual_);
      epilogue_.residual = residual_->data();
    }
    if (finish.mask) {
      mask_ = std::make_unique<Guarded<uint8_t>>(mask_bytes(y.cols()));
      for (size_t i = 0; i < mask_->size(); ++i) (*mask_)[i] = static_cast<uint8_t>(rng.bits() | rng.bits());
      for (int c = y.cols(); c < static_cast<int>(8 * mask_->size()); ++c) {
        (*mask_)[static_cast<size_t>(c / 8)] &= static_cast<uint8_t>(~(1 << c % 8));
      }
      epilogue_.mask = mask_->data();
    }
  }
  const Epilogue& epilogue() const { return epilogue_; }

  void check(Output& y, int r, int c, Sum sum) const {
    const float got = y.at(r, c);
    if (masked(epilogue_.mask, c)) {
      if (got != 0.0f) fail("row %d, column %d: masked, but %g", r, c, static_cast<double>(got));
      return;
    }
    if (epilogue_.scale) sum.scale(static_cast<double>(epilogue_.scale[r]));
    if (epilogue_.bias) sum.add(static_cast<double>(epilogue_.bias[r]));
    if (epilogue_.residual) sum.add(static_cast<double>(epilogue_.residual[r * y.stride() + c]));
    check_act(epilogue_.act, r, c, sum, got);
  }
  static void check_act(const Activation& act, int r, int c, const Sum& sum, float got) {
    if (matches(act, sum, got)) return;
    fail("row %d, column %d: %.9g instead of %.9g (activation %u of %.9g +- %.2g)", r, c, static_cast<double>(got),
         activate(act, sum.value), static_cast<unsigned>(act.code), sum.value, sum.error());
  }

 private:
  std::unique_ptr<Guarded<float>> scale_, bias_, residual_;
  std::unique_ptr<Guarded<uint8_t>> mask_;
  Epilogue epilogue_;
};

// k rows of columns at arbitrary, overlapping, unaligned places, some before column 0 as the taps of a padded
// convolution; both ends of the memory are used.
class Columns {
 public:
  Columns(int k, int cols, bool specials) : off_(static_cast<size_t>(k)) {
    const int first = -rng.below(40), last = first + (k > 1 ? rng.between(k, 3 * k + 40) : 0);
    for (size_t i = 0; i < off_.size(); ++i) off_[i] = rng.between(first, last);
    if (k > 0) off_[0] = first;
    if (k > 1) off_[off_.size() - 1] = last;
    memory_ = std::make_unique<Guarded<float>>(static_cast<size_t>(last - first + cols + 16));
    rng.fill(*memory_);
    if (specials) {
      for (int i = 0; i < 3; ++i) (*memory_)[static_cast<size_t>(rng.below(last - first + cols))] = special_value();
    }
    x_ = memory_->data() - first;
  }
  const float* x() const { return x_; }
  int32_t* off() { return off_.data(); }

 private:
  Guarded<int32_t> off_;
  std::unique_ptr<Guarded<float>> memory_;
  const float* x_;
};

inline int round_up16(int n) { return (n + 15) / 16 * 16; }

// The `few` families write exactly their columns, the others whole groups of 16.
inline int writable_columns(bool few, int cols) { return few ? cols : round_up16(cols); }

inline std::vector<int> column_counts(bool few) {
  std::vector<int> counts;
  if (few) {
    for (int c = 1; c <= pyrt::kFewColumns; ++c) counts.push_back(c);
  } else {
    // A thread's share of a wide product may be narrow, so these take any number of columns.
    for (int c = 1; c <= 9; ++c) counts.push_back(c);
    for (int c = 11; c <= 200; c += 2) counts.push_back(c);
    for (int c : {16, 24, 32, 48, 64, 96, 128, 144, 256}) counts.push_back(c);
  }
  return counts;
}
inline int random_columns(bool few) {
  const auto counts = column_counts(few);
  return counts[static_cast<size_t>(rng.below(static_cast<int>(counts.size())))];
}

// How every layer of a family is varied: `run(rows, k, cols, finish, specials)`.
template <class Run>
void sweep_layers(bool few, const Run& run) {
  for (int rows = 1; rows <= 16; ++rows) {
    for (int k : {0, 1, 2, 3, 4, 5, 7, 8, 13, 31, 64, 127, 256, 257}) {
      for (int i = 0; i < 3; ++i) run(rows, k, random_columns(few), Finish::random(), false);
    }
  }
  for (int cols : column_counts(few)) {
    for (int rows : {16, 7, 1}) run(rows, 17, cols, Finish::random(), false);
  }
  run(16, 4099, few ? 1 : 9, Finish::random(), false);
  run(5, 2999, few ? 3 : 33, Finish::random(), false);
  for (const Activation& act : kActivations) {
    for (int bits = 0; bits < 16; ++bits) {
      const Finish finish{act, (bits & 8) != 0, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
      run(rng.between(1, 16), rng.between(1, 40), random_columns(few), finish, false);
      run(rng.between(1, 16), rng.between(1, 12), random_columns(few), finish, true);
    }
  }
}

// Weights as a kernel gets them, and what they stand for.
inline void fill_weights(Guarded<float>& w, std::vector<float>* values) {
  rng.fill(w);
  for (size_t i = 0; i < w.size(); ++i) values->push_back(w[i]);
}
inline void fill_weights(Guarded<uint16_t>& w, std::vector<float>* values) {
  for (size_t i = 0; i < w.size(); ++i) {
    // Finite f16 of either sign, subnormal ones among them.
    w[i] = static_cast<uint16_t>(rng.below(2) << 15 | rng.below(20) << 10 | rng.below(1024));
    values->push_back(half_value(w[i]));
  }
}

// `weight(row, k)` of a panel times columns, in a product of one block or in any block of a longer one:
// `run(x, product)`, where the product lacks its w.
template <class Weight, class Run>
void check_product(bool few, int rows, int k, int cols, const Finish& finish, bool specials, bool first, bool last,
                   const Weight& weight, const Run& run) {
  what += " cols " + std::to_string(cols) + (first ? " first" : "") + (last ? " last" : "");
  Columns x(k, cols, specials);
  Output y(rows, cols, writable_columns(few, cols), rng.below(20));
  const Tail tail(finish, y);
  std::vector<Sum> sums(static_cast<size_t>(rows * cols));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      Sum& sum = sums[static_cast<size_t>(r * cols + c)];
      if (!first) {
        y.set(r, c, rng.real(-2, 2));
        sum.add(y.at_double(r, c));
      }
      for (int i = 0; i < k; ++i) sum.add(weight(r, i), x.x()[x.off()[i] + c]);
    }
  }
  run(x, {nullptr, x.off(), k, x.x(), y.data(), y.stride(), rows, cols, first, last, tail.epilogue()});
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) {
      const Sum& sum = sums[static_cast<size_t>(r * cols + c)];
      if (last) tail.check(y, r, c, sum);
      else Tail::check_act({}, r, c, sum, y.at(r, c));
    }
  }
  y.check_gaps(last ? tail.epilogue().mask : nullptr);
}

// W: float, or uint16_t for f16 weights.
template <class W>
void test_gemm(pyrt::GemmFn fn, bool few) {
  sweep_layers(few, [&](int rows, int k, int cols, const Finish& finish, bool specials) {
    const int blocks = rng.below(8);
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k);
    Guarded<W> w(static_cast<size_t>(k * pyrt::kPanel));
    std::vector<float> weights;
    fill_weights(w, &weights);
    check_product(
        few, rows, k, cols, finish, specials, blocks != 1 && blocks != 2, blocks != 2 && blocks != 3,
        [&](int r, int i) { return weights[static_cast<size_t>(i * pyrt::kPanel + r)]; },
        [&](Columns&, pyrt::GemmArgs product) { product.w = w.data(), fn(product); });
  });
}

// The same of codewords: `run(w, n, x, product)`.
template <class Run>
void test_codewords(bool few, int rows, int n, int d, int cols, const Finish& finish, bool specials, bool first,
                    bool last, const Run& run) {
  what = "rows " + std::to_string(rows) + " n " + std::to_string(n) + " d " + std::to_string(d);
  Codewords w(n, d, rng.between(1, 256));
  check_product(
      few, rows, n * d, cols, finish, specials, first, last, [&](int r, int i) { return w.weight(r, i); },
      [&](Columns& x, const pyrt::GemmArgs& product) { run(w, n, x, product); });
}

inline void test_gemm_codewords(pyrt::GemmCodewordsFn fn) {
  sweep_layers(false, [&](int rows, int n, int cols, const Finish& finish, bool specials) {
    const int d = rng.chance(0.5) ? 4 << rng.below(3) : rng.between(2, 20), blocks = rng.below(8);
    test_codewords(false, rows, std::min(n, 40), d, cols, finish, specials, blocks != 1 && blocks != 2,
                   blocks != 2 && blocks != 3, [&](Codewords& w, int, Columns&, const pyrt::GemmArgs& product) {
                     fn({product, w.index.data(), d, w.book.data()});
                   });
  });
}

inline void test_codeword_dot(pyrt::CodewordDotFn fn) {
  sweep_layers(true, [&](int rows, int n, int cols, const Finish& finish, bool specials) {
    const int d = 4 * rng.between(1, 6);
    if (rng.chance(0.3)) cols = rng.between(1, pyrt::kDotColumns);
    test_codewords(true, rows, std::min(n, 100), d, cols, finish, specials, true, true,
                   [&](Codewords& w, int blocks, Columns& x, const pyrt::GemmArgs& product) {
                     Guarded<float> columns(static_cast<size_t>(product.k * cols));
                     for (int c = 0; c < cols; ++c) {
                       for (int k = 0; k < product.k; ++k) {
                         columns[static_cast<size_t>(c * product.k + k)] = x.x()[x.off()[k] + c];
                       }
                     }
                     fn({w.index.data(), blocks, d, w.book.data(), columns.data(), product.y, product.y_stride, rows,
                         cols, product.epilogue});
                   });
  });
}

// How the entries of a sparse weight lie.
enum class Pattern { kRandom, kEmpty, kDense, kOneRow, kEveryOther, kCount };

// A row, or a block of rows with the same columns: then with the values of all of them for each column.
struct SparseRow {
  std::vector<int> cols;
  std::vector<float> values;
};

inline std::vector<SparseRow> sparse_rows(Pattern pattern, int rows, int k, int block = 1) {
  std::vector<SparseRow> weight(static_cast<size_t>(rows));
  const double densities[] = {0.02, 0.1, 0.5};
  const double density = pattern == Pattern::kRandom ? densities[rng.below(3)] : 1;
  const int one = rng.below(rows);
  for (int r = 0; r < rows; ++r) {
    const bool empty = pattern == Pattern::kEmpty || (pattern == Pattern::kOneRow && r != one) ||
                       (pattern == Pattern::kEveryOther && r % 2 == 0);
    SparseRow& row = weight[static_cast<size_t>(r)];
    for (int i = 0; i < k && !empty; ++i) {
      if (!rng.chance(density)) continue;
      row.cols.push_back(i);
      for (int j = 0; j < block; ++j) row.values.push_back(rng.real(-1, 1));
    }
  }
  return weight;
}

// The parts of a sparse weight that all csr kernels share.
struct SparseWeight {
  explicit SparseWeight(const std::vector<SparseRow>& rows, int block = 1)
      : counts(rows.size()),
        nnz(std::accumulate(rows.begin(), rows.end(), size_t{0},
                            [](size_t n, const SparseRow& row) { return n + row.cols.size(); })),
        values(nnz * static_cast<size_t>(block)) {
    size_t at = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      counts[r] = static_cast<uint32_t>(rows[r].cols.size());
      for (float v : rows[r].values) values[at++] = v;
    }
  }
  Guarded<uint32_t> counts;
  size_t nnz;
  Guarded<float> values;
};

// What `run(weight, w, x, off, y, tail)` computes for sparse weights of every pattern: a product with all their
// entries.
template <class Run>
void sweep_csr(bool few, bool blocks, const Run& run) {
  int pattern = 0;
  sweep_layers(few, [&](int rows, int k, int cols, const Finish& finish, bool specials) {
    pattern = (pattern + 1) % static_cast<int>(Pattern::kCount);
    if (rng.chance(0.05)) rows = 100;
    const int block = blocks ? 4 << rng.below(3) : 1;
    if (block > 4) rows = std::max(rows * 4 / block, 1);
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " cols " + std::to_string(cols) + " pattern " +
           std::to_string(pattern);
    const auto weight = sparse_rows(static_cast<Pattern>(pattern), rows, k, block);
    SparseWeight w(weight, block);
    Columns x(k, cols, specials);
    Guarded<int32_t> off(w.nnz);
    size_t at = 0;
    for (const SparseRow& row : weight) {
      for (int col : row.cols) off[at++] = x.off()[col];
    }
    Output y(rows * block, cols, writable_columns(few, cols), rng.below(20));
    const Tail tail(finish, y);
    run(weight, block, w, x, off, y, tail);
  });
}

// The rows of y in another order, or none.
class Order {
 public:
  explicit Order(int rows) : rows_(static_cast<size_t>(rows)), used_(rng.coin()) {
    for (int r = 0; r < rows; ++r) rows_[static_cast<size_t>(r)] = static_cast<uint32_t>(r);
    for (int r = rows - 1; r > 0 && used_; --r) {
      std::swap(rows_[static_cast<size_t>(r)], rows_[static_cast<size_t>(rng.below(r + 1))]);
    }
  }
  const uint32_t* data() { return used_ ? rows_.data() : nullptr; }
  int operator[](int r) { return static_cast<int>(rows_[static_cast<size_t>(r)]); }

 private:
  Guarded<uint32_t> rows_;
  bool used_;
};

// blocks: of 4, 8 or 16 rows that share their columns, as the bcsr families have them.
inline void test_csr(pyrt::CsrFn fn, bool blocks) {
  sweep_csr(
      false, blocks,
      [&](const std::vector<SparseRow>& weight, int block, SparseWeight& w, Columns& x, Guarded<int32_t>& off,
          Output& y, const Tail& tail) {
        // One block of columns, or any of several: a part of each row.
        const int blocks = rng.below(8);
        const bool first = blocks != 1 && blocks != 2, last = blocks != 2 && blocks != 3;
        const auto rows = static_cast<int>(weight.size());
        Guarded<uint32_t> begin(weight.size()), end(weight.size());
        std::vector<Sum> sums;
        Order order(block > 1 ? rows * block : 0);
        const auto row_of = [&](int r) { return block > 1 ? order[r] : r; };
        uint32_t start = 0;
        for (int r = 0; r < rows * block; ++r) {
          const auto b = static_cast<size_t>(r / block);
          const SparseRow& row = weight[b];
          const auto n = static_cast<uint32_t>(row.cols.size());
          if (r % block == 0) {
            begin[b] = start + (first ? 0 : static_cast<uint32_t>(rng.below(static_cast<int>(n) + 1)));
            end[b] = last ? start + n
                          : begin[b] + static_cast<uint32_t>(rng.below(static_cast<int>(start + n - begin[b]) + 1));
          }
          for (int c = 0; c < y.cols(); ++c) {
            Sum sum;
            if (!first) {
              y.set(row_of(r), c, rng.real(-2, 2));
              sum.add(y.at_double(row_of(r), c));
            }
            for (uint32_t i = begin[b] - start; i < end[b] - start; ++i) {
              sum.add(row.values[static_cast<size_t>(i) * static_cast<size_t>(block) + static_cast<size_t>(r % block)],
                      x.x()[x.off()[row.cols[i]] + c]);
            }
            sums.push_back(sum);
          }
          if (r % block == block - 1) start += n;
        }
        fn({off.data(), w.values.data(), begin.data(), end.data(), rows, x.x(), y.data(), y.stride(), y.cols(), first,
            last, tail.epilogue(), block, block > 1 ? order.data() : nullptr});
        for (int r = 0; r < rows * block; ++r) {
          for (int c = 0; c < y.cols(); ++c) {
            const Sum& sum = sums[static_cast<size_t>(r * y.cols() + c)];
            if (last) tail.check(y, row_of(r), c, sum);
            else Tail::check_act({}, r, c, sum, y.at(row_of(r), c));
          }
        }
        y.check_gaps(last ? tail.epilogue().mask : nullptr);
      });
}

// Lines of 8 or 16 columns whose places in y may be nearer than that, as the rows of a small image are.
inline void test_csr_lines(pyrt::CsrFn fn) {
  constexpr pyrt::Act kActs[] = {pyrt::Act::kNone, pyrt::Act::kClamp};
  for (int i = 0; i < 900; ++i) {
    const int columns = rng.coin() ? 8 : 16;
    const int rows = rng.between(1, 20), k = rng.below(60), lines = rng.between(1, 200 / columns);
    const int width = rng.between(1, columns);
    const int line = width + rng.below(30), stride = (lines - 1) * line + width + rng.below(20);
    const int blocks = rng.below(8);
    const bool first = blocks != 1 && blocks != 2, last = blocks != 2 && blocks != 3, residual = rng.coin();
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " lines " + std::to_string(lines) + " of " +
           std::to_string(width) + " in " + std::to_string(columns) + " each " + std::to_string(line);
    const auto weight = sparse_rows(static_cast<Pattern>(i % static_cast<int>(Pattern::kCount)), rows, k);
    SparseWeight w(weight);
    Columns x(k, 16 * lines, false);
    Guarded<int32_t> off(w.nnz);
    Guarded<uint32_t> begin(weight.size()), end(weight.size());
    uint32_t at = 0;
    for (size_t r = 0; r < weight.size(); ++r) {
      begin[r] = at;
      for (int col : weight[r].cols) off[at++] = x.off()[col];
      end[r] = at;
    }
    // Whole vectors of y and of the residual are read.
    const auto size = static_cast<size_t>(rows * stride + 16);
    Guarded<float> y(size), added(size), scale(weight.size()), bias(weight.size());
    std::vector<float> before(size);
    for (size_t j = 0; j < size; ++j) before[j] = y[j] = rng.real(-2, 2);
    rng.fill(added);
    rng.fill(scale);
    rng.fill(bias);
    pyrt::Epilogue e;
    e.act = {kActs[rng.below(2)], -1.0f, 1.5f};
    if (rng.coin()) e.scale = scale.data();
    if (rng.coin()) e.bias = bias.data();
    if (residual) e.residual = added.data();
    fn({off.data(), w.values.data(), begin.data(), end.data(), rows, x.x(), y.data(), stride, columns * lines, first,
        last, e, 1, nullptr, columns, line, width});
    std::vector<bool> written(size);
    for (int r = 0; r < rows; ++r) {
      const SparseRow& row = weight[static_cast<size_t>(r)];
      for (int l = 0; l < lines; ++l) {
        for (int c = 0; c < width; ++c) {
          const auto place = static_cast<size_t>(r * stride + l * line + c);
          Sum sum;
          if (!first) sum.add(static_cast<double>(before[place]));
          for (size_t j = 0; j < row.cols.size(); ++j) {
            sum.add(row.values[j], x.x()[x.off()[row.cols[j]] + 16 * l + c]);
          }
          if (last && e.scale) sum.scale(static_cast<double>(e.scale[r]));
          if (last && e.bias) sum.add(static_cast<double>(e.bias[r]));
          if (last && e.residual) sum.add(static_cast<double>(added[place]));
          Tail::check_act(last ? e.act : pyrt::Activation{}, r, l * line + c, sum, y[place]);
          written[place] = true;
        }
      }
    }
    for (size_t j = 0; j < size; ++j) {
      if (!written[j] && y[j] != before[j]) fail("element %zu lies in no line and is overwritten", j);
    }
  }
}

inline void test_csr_few(pyrt::CsrFewFn fn, bool blocks) {
  sweep_csr(true, blocks,
            [&](const std::vector<SparseRow>& weight, int block, SparseWeight& w, Columns& x, Guarded<int32_t>& off,
                Output& y, const Tail& tail) {
              const auto rows = static_cast<int>(weight.size());
              Order order(block > 1 ? rows * block : 0);
              fn({off.data(), w.values.data(), w.counts.data(), rows, x.x(), y.data(), y.stride(), y.cols(),
                  tail.epilogue(), block, block > 1 ? order.data() : nullptr});
              for (int r = 0; r < rows * block; ++r) {
                const SparseRow& row = weight[static_cast<size_t>(r / block)];
                for (int c = 0; c < y.cols(); ++c) {
                  Sum sum;
                  for (size_t i = 0; i < row.cols.size(); ++i) {
                    sum.add(row.values[i * static_cast<size_t>(block) + static_cast<size_t>(r % block)],
                            x.x()[x.off()[row.cols[i]] + c]);
                  }
                  tail.check(y, block > 1 ? order[r] : r, c, sum);
                }
              }
              y.check_gaps(tail.epilogue().mask);
            });
}

// Two of every four columns: a panel as it is stored.
struct Pairs {
  Pairs(int rows, int k4) : fours(k4), val(static_cast<size_t>(32 * k4)), places(static_cast<size_t>(2 * k4)) {
    rng.fill(val);
    for (size_t e = 0; e < places.size(); e += 2) {
      places[e] = places[e + 1] = 0;
      for (int r = 0; r < 16; ++r) {
        const int first = r < rows ? rng.below(3) : 0, second = r < rows ? rng.between(first + 1, 3) : 1;
        places[e] |= static_cast<uint32_t>(first) << 2 * r;
        places[e + 1] |= static_cast<uint32_t>(second) << 2 * r;
      }
    }
  }
  int col(int r, int e) { return e / 2 * 4 + static_cast<int>(places[static_cast<size_t>(e)] >> 2 * r & 3); }
  float value(int r, int e) { return val[static_cast<size_t>(16 * e + r)]; }
  int fours;
  Guarded<float> val;
  Guarded<uint32_t> places;
};

inline void test_pairs_few(pyrt::PairsFn fn) {
  sweep_layers(true, [&](int rows, int k, int cols, const Finish& finish, bool specials) {
    what = "rows " + std::to_string(rows) + " fours " + std::to_string(k) + " cols " + std::to_string(cols);
    if (k == 0) return;
    Pairs w(rows, k);
    Guarded<float> x(static_cast<size_t>(4 * k * cols));
    rng.fill(x);
    if (specials) x[static_cast<size_t>(rng.below(4 * k * cols))] = special_value();
    Output y(rows, cols, cols, rng.below(20));
    const Tail tail(finish, y);
    fn({w.val.data(), w.places.data(), k, x.data(), 4 * k, y.data(), y.stride(), rows, cols, tail.epilogue()});
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < cols; ++c) {
        Sum sum;
        for (int e = 0; e < 2 * k; ++e) sum.add(w.value(r, e), x[static_cast<size_t>(4 * k * c + w.col(r, e))]);
        tail.check(y, r, c, sum);
      }
    }
    y.check_gaps(tail.epilogue().mask);
  });
}

inline void test_expand_pairs(pyrt::ExpandPairsFn fn) {
  for (int rows = 1; rows <= 16; ++rows) {
    for (int k : {1, 2, 3, 4, 5, 8, 13, 33}) {
      for (bool table : {false, true}) {
        what = "rows " + std::to_string(rows) + " fours " + std::to_string(k);
        Pairs w(rows, k);
        Guarded<int32_t> offsets(static_cast<size_t>(4 * k)), off(static_cast<size_t>(rows * 2 * k));
        for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = rng.below(1000000);
        Guarded<float> out(static_cast<size_t>(rows * 2 * k));
        fn({w.val.data(), w.places.data(), k, rows, table ? offsets.data() : nullptr, 37, off.data(), out.data()});
        for (int r = 0; r < rows; ++r) {
          for (int e = 0; e < 2 * k; ++e) {
            const auto at = static_cast<size_t>(r * 2 * k + e);
            const int col = w.col(r, e);
            const int32_t expected = table ? offsets[static_cast<size_t>(col)] : 37 * col;
            if (off[at] != expected || out[at] != w.value(r, e)) fail("row %d, entry %d", r, e);
          }
        }
      }
    }
  }
}

inline void test_split_rows(pyrt::SplitRowsFn fn) {
  for (int i = 0; i < 2000; ++i) {
    const int rows = rng.between(1, 20), longest = rng.below(100);
    what = "rows " + std::to_string(rows) + " longest " + std::to_string(longest);
    Guarded<uint32_t> begin(static_cast<size_t>(rows)), end(static_cast<size_t>(rows)), at(static_cast<size_t>(rows));
    std::vector<int32_t> all;
    for (size_t r = 0; r < begin.size(); ++r) {
      begin[r] = static_cast<uint32_t>(all.size());
      const int n = rng.chance(0.2) ? 0 : rng.below(longest + 1);
      for (int e = 0, last = -50; e < n; ++e) all.push_back(last += rng.between(1, 5));
      end[r] = static_cast<uint32_t>(all.size());
    }
    Guarded<int32_t> off(all.size());
    std::copy(all.begin(), all.end(), off.data());
    const int32_t bound = rng.between(-60, 3 * longest);
    fn({off.data(), begin.data(), end.data(), rows, bound, at.data()});
    for (size_t r = 0; r < begin.size(); ++r) {
      const auto found = std::lower_bound(all.begin() + begin[r], all.begin() + end[r], bound) - all.begin();
      if (static_cast<int64_t>(at[r]) != found) {
        fail("row %zu: %u instead of %td", r, at[r], static_cast<ptrdiff_t>(found));
      }
    }
  }
}

inline void test_pack_rows(pyrt::PackRowsFn fn) {
  for (int k : {0, 1, 2, 3, 4, 5, 9, 64, 100}) {
    for (int cols : {1, 7, 16, 17, 31, 32, 33, 48, 63, 96}) {
      what = "k " + std::to_string(k) + " cols " + std::to_string(cols);
      Columns x(k, cols, false);
      const int stride = round_up16(cols) + 16 * rng.below(3);
      Output out(std::max(k, 1), cols, round_up16(cols), stride - round_up16(cols));
      fn({x.x(), x.off(), k, cols, out.data(), stride});
      for (int i = 0; i < k; ++i) {
        for (int c = 0; c < cols; ++c) {
          if (out.at(i, c) != x.x()[x.off()[i] + c]) fail("row %d, column %d", i, c);
        }
      }
    }
  }
}

// Columns times `spread`, and the deltas between them. Columns far apart need fillers: entries of delta 255 and value
// 0.
inline std::vector<uint8_t> deltas_of(std::vector<SparseRow>* rows, int spread, int block) {
  const auto values = static_cast<size_t>(block);  // of an entry
  std::vector<uint8_t> deltas;
  for (SparseRow& row : *rows) {
    SparseRow filled;
    int previous = -1;
    for (size_t i = 0; i < row.cols.size(); ++i) {
      const int col = row.cols[i] * spread + rng.below(spread);
      for (; col - previous - 1 > 255; previous += 256) {
        deltas.push_back(255);
        filled.cols.push_back(previous + 256);
        filled.values.resize(filled.values.size() + values);
      }
      deltas.push_back(static_cast<uint8_t>(col - previous - 1));
      filled.cols.push_back(col);
      for (size_t j = 0; j < values; ++j) filled.values.push_back(row.values[i * values + j]);
      previous = col;
    }
    row = filled;
  }
  return deltas;
}

// Families that read deltas: `run(deltas, w, rows, block, order, x, stride, y, epilogue)`, rows of x `stride` floats
// apart. past: bytes that may be read behind the deltas. `columns()` and `stride_of(columns)` draw those of a layer.
template <class DrawColumns, class DrawStride, class Run>
void sweep_deltas(bool few, bool blocks, size_t past, const DrawColumns& columns, const DrawStride& stride_of,
                  const Run& run) {
  int pattern = 0;
  sweep_layers(few, [&](int rows, int k, int, const Finish& finish, bool specials) {
    pattern = (pattern + 1) % static_cast<int>(Pattern::kCount);
    const int spread = rng.chance(0.3) ? rng.between(2, 600) : 1, cols = columns(), stride = stride_of(cols);
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " cols " + std::to_string(cols) + " stride " +
           std::to_string(stride) + " pattern " + std::to_string(pattern) + " spread " + std::to_string(spread);
    const int block = blocks ? 4 << rng.below(3) : 1;
    auto weight = sparse_rows(static_cast<Pattern>(pattern), rows, k, block);
    const std::vector<uint8_t> deltas = deltas_of(&weight, spread, block);
    SparseWeight w(weight, block);
    Guarded<uint8_t> packed(deltas.size() + past);
    std::copy(deltas.begin(), deltas.end(), packed.data());
    Guarded<float> x(static_cast<size_t>(k * spread * stride + 16));
    rng.fill(x);
    if (specials) x[static_cast<size_t>(rng.below(k * stride))] = special_value();
    Output y(rows * block, cols, writable_columns(few, cols), rng.below(20));
    const Tail tail(finish, y);
    Order order(blocks ? rows * block : 0);
    run(packed.data(), w, rows, block, order, x.data(), stride, y, tail.epilogue());
    for (int r = 0; r < rows * block; ++r) {
      const SparseRow& row = weight[static_cast<size_t>(r / block)];
      for (int c = 0; c < cols; ++c) {
        Sum sum;
        for (size_t i = 0; i < row.cols.size(); ++i) {
          sum.add(row.values[i * static_cast<size_t>(block) + static_cast<size_t>(r % block)],
                  x[static_cast<size_t>(row.cols[i] * stride + c)]);
        }
        tail.check(y, blocks ? order[r] : r, c, sum);
      }
    }
    y.check_gaps(tail.epilogue().mask);
  });
}

inline void test_csr_dot(pyrt::CsrDotFn fn, bool blocks) {
  sweep_deltas(
      true, blocks, 8, [] { return 1; }, [](int) { return 1; },
      [&](const uint8_t* deltas, SparseWeight& w, int rows, int block, Order& order, const float* x, int, Output& y,
          const pyrt::Epilogue& e) {
        fn({deltas, w.values.data(), w.counts.data(), rows, x, y.data(), y.stride(), e, block,
            blocks ? order.data() : nullptr});
      });
}

inline void test_csr_deltas(pyrt::CsrDeltasFn fn) {
  sweep_deltas(
      false, false, 0, [] { return rng.between(pyrt::kFewColumns + 1, pyrt::kDeltaColumns); },
      [](int cols) { return round_up16(cols) + 16 * rng.below(3); },
      [&](const uint8_t* deltas, SparseWeight& w, int rows, int, Order&, const float* x, int stride, Output& y,
          const pyrt::Epilogue& e) {
        fn({deltas, w.values.data(), w.counts.data(), rows, x, stride, y.data(), y.stride(), y.cols(), e});
      });
}
