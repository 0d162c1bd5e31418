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
