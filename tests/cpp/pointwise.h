// Sweeps of the elementwise families.
#pragma once

#include <memory>
#include <vector>

#include "oracle.h"

// Columns that may be read 16 past the last one.
inline std::unique_ptr<Guarded<float>> row_of_columns(int64_t cols, bool specials) {
  auto row = std::make_unique<Guarded<float>>(static_cast<size_t>(cols + 16));
  for (size_t i = 0; i < row->size(); ++i) (*row)[i] = rng.real(-8, 8);
  if (specials) (*row)[static_cast<size_t>(rng.below(static_cast<int>(cols)))] = special_value();
  return row;
}

inline void check_pointwise(const Activation& act, const uint8_t* mask, int64_t col, const Sum& sum, float got) {
  if (masked(mask, col) ? got == 0.0f : matches(act, sum, got)) return;
  fail("column %d: %.9g instead of %.9g (activation %u of %.9g)%s", static_cast<int>(col), static_cast<double>(got),
       activate(act, sum.value), static_cast<unsigned>(act.code), sum.value, masked(mask, col) ? ", masked" : "");
}

// run(cols, act, mask or null, specials, aliased input number or -1)
template <class Run>
void sweep_rows(int inputs, const Run& run) {
  std::vector<int> sizes;
  for (int c = 1; c <= 70; ++c) sizes.push_back(c);
  for (int c : {127, 128, 129, 1000, 4099}) sizes.push_back(c);
  for (int cols : sizes) {
    for (const Activation& act : kActivations) {
      Guarded<uint8_t> mask(mask_bytes(cols));
      for (size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<uint8_t>(rng.bits());
      run(cols, act, rng.chance(0.3) ? mask.data() : nullptr, rng.chance(0.3), rng.below(inputs + 1) - 1);
    }
  }
}

inline void test_affine(pyrt::AffineFn fn) {
  sweep_rows(1, [&](int cols, const Activation& act, const uint8_t* mask, bool specials, int alias) {
    what = "cols " + std::to_string(cols) + " alias " + std::to_string(alias);
    const auto x = row_of_columns(cols, specials);
    const float scale = rng.real(-3, 3), shift = rng.real(-3, 3);
    std::vector<Sum> sums(static_cast<size_t>(cols));
    for (size_t c = 0; c < sums.size(); ++c) {
      sums[c].add((*x)[c], scale);
      sums[c].add(static_cast<double>(shift));
    }
    Guarded<float> separate(static_cast<size_t>(cols));
    float* y = alias == 0 ? x->data() : separate.data();
    const float after = (*x)[static_cast<size_t>(cols)];
    fn({x->data(), y, cols, scale, shift, act, mask});
    for (int c = 0; c < cols; ++c) check_pointwise(act, mask, c, sums[static_cast<size_t>(c)], y[c]);
    if ((*x)[static_cast<size_t>(cols)] != after) fail("writes column %d", cols);
  });
}

inline void test_binary(pyrt::BinaryFn fn) {
  sweep_rows(2, [&](int cols, const Activation& act, const uint8_t* mask, bool specials, int alias) {
    for (auto op : {pyrt::BinaryOp::kAdd, pyrt::BinaryOp::kSub, pyrt::BinaryOp::kMul, pyrt::BinaryOp::kDiv}) {
      what = "fn " + std::to_string(static_cast<int>(op)) + " cols " + std::to_string(cols) + " alias " +
             std::to_string(alias);
      const int a_step = alias == 0 || rng.chance(0.7), b_step = alias == 1 || rng.chance(0.7);
      const auto a = row_of_columns(a_step ? cols : 1, specials), b = row_of_columns(b_step ? cols : 1, specials);
      std::vector<Sum> sums(static_cast<size_t>(cols));
      for (size_t c = 0; c < sums.size(); ++c) {
        const double u = static_cast<double>((*a)[a_step ? c : 0]), v = static_cast<double>((*b)[b_step ? c : 0]);
        if (op == pyrt::BinaryOp::kMul) sums[c].add(u * v);
        else if (op == pyrt::BinaryOp::kDiv) sums[c].add(u / v);
        else {
          sums[c].add(u);
          sums[c].add(op == pyrt::BinaryOp::kAdd ? v : -v);
        }
      }
      Guarded<float> separate(static_cast<size_t>(cols));
      float* y = alias == 0 ? a->data() : alias == 1 ? b->data() : separate.data();
      const float after_a = (*a)[a->size() - 16], after_b = (*b)[b->size() - 16];
      fn({a->data(), b->data(), y, cols, a_step, b_step, op, act, mask});
      for (int c = 0; c < cols; ++c) check_pointwise(act, mask, c, sums[static_cast<size_t>(c)], y[c]);
      if ((*a)[a->size() - 16] != after_a || (*b)[b->size() - 16] != after_b) fail("writes column %d", cols);
    }
  });
}

inline void test_reduce_rows(pyrt::ReduceRowsFn fn) {
  for (int n = 1; n <= 100; ++n) {
    for (int count : {1, 2, 3, 4, 9, 25}) {
      for (bool max : {false, true}) {
        what = "rows " + std::to_string(count) + " n " + std::to_string(n) + (max ? " max" : " sum");
        std::vector<std::unique_ptr<Guarded<float>>> rows;
        Guarded<const float*> pointers(static_cast<size_t>(count));
        for (int r = 0; r < count; ++r) {
          rows.push_back(row_of_columns(n, rng.chance(0.2)));
          pointers[static_cast<size_t>(r)] = rows.back()->data();
        }
        Guarded<float> y(static_cast<size_t>(n));
        fn({pointers.data(), count, y.data(), n, max});
        for (size_t c = 0; c < y.size(); ++c) {
          Sum sum;
          for (const auto& row : rows) {
            const double v = static_cast<double>((*row)[c]);
            if (!max) sum.add(v);
            else if (&row == &rows.front() || std::isnan(v) || v > sum.value) sum.value = v;
            if (max && std::isnan(v)) break;
          }
          check_pointwise({}, nullptr, static_cast<int64_t>(c), sum, y[c]);
        }
      }
    }
  }
}

// Gates from -30, where sigmoid and tanh are flat, to 30; n elements of a batch, and the gates as far apart or farther.
inline void test_cell(pyrt::CellFn fn, bool lstm) {
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  const int gates = lstm ? 4 : 3;
  for (int n : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100}) {
    what = "n " + std::to_string(n);
    const int gate = n + rng.below(5);
    Guarded<float> x(static_cast<size_t>((gates - 1) * gate + n)), z(x.size());
    Guarded<float> c(static_cast<size_t>(n)), h(c.size());
    for (auto* v : {&x, &z, &c, &h}) {
      const float range = rng.chance(0.3) ? 30.0f : 2.0f;
      for (size_t i = 0; i < v->size(); ++i) (*v)[i] = rng.real(-range, range);
    }
    const std::vector<float> c0(c.data(), c.data() + n), h0(h.data(), h.data() + n);
    fn({x.data(), z.data(), gate, lstm ? c.data() : nullptr, h.data(), n});
    for (int i = 0; i < n; ++i) {
      const auto at = [&](Guarded<float>& v, int g) {
        return static_cast<double>(v[static_cast<size_t>(g * gate + i)]);
      };
      const auto sum = [&](int g) { return at(x, g) + at(z, g); };
      const auto k = static_cast<size_t>(i);
      const auto check = [&](float got, double expected) {
        // A sum of two gates is rounded before it goes through a function of slope 1 or less.
        const double tolerance = 4 * kEps *
                                 (1 + std::fabs(expected) + std::fabs(at(x, 0)) + std::fabs(at(x, 1)) +
                                  std::fabs(at(x, 2)) + std::fabs(at(z, 2)));
        if (!(std::fabs(static_cast<double>(got) - expected) <= tolerance)) {
          fail("element %d: %.9g instead of %.9g", i, static_cast<double>(got), expected);
        }
      };
      if (lstm) {
        const double state = sigmoid(sum(1)) * static_cast<double>(c0[k]) + sigmoid(sum(0)) * std::tanh(sum(2));
        check(c[k], state);
        check(h[k], sigmoid(sum(3)) * std::tanh(state));
      } else {
        const double u = sigmoid(sum(1)), fresh = std::tanh(at(x, 2) + sigmoid(sum(0)) * at(z, 2));
        check(h[k], (1 - u) * fresh + u * static_cast<double>(h0[k]));
      }
    }
  }
}
