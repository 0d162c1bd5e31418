// Sweeps of the families that compute on bits against an oracle that multiplies +1 and -1: bit for bit.
#pragma once

#include <memory>
#include <vector>

#include "products.h"

// Whether the product with +1 or -1 of every channel was added up right, as bits and as floats.
inline void test_bgemm(pyrt::BGemmFn fn) {
  const auto run = [&](int rows, int k, int cols, bool to_bits) {
    what = "rows " + std::to_string(rows) + " k " + std::to_string(k) + " cols " + std::to_string(cols) +
           (to_bits ? " to bits" : " to f32");
    const int panels = (rows + 31) / 32, padded = 32 * panels;
    const ptrdiff_t panel_bytes = 128 * k + rng.below(3) * 32;
    Guarded<uint8_t> w(static_cast<size_t>((panels - 1) * panel_bytes + 128 * k));
    const int kind = rng.below(8);  // all different, all alike, or drawn
    for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<uint8_t>(kind < 2 ? 255 * kind : rng.bits());
    Guarded<int32_t> off(static_cast<size_t>(k));
    for (size_t i = 0; i < off.size(); ++i) off[i] = rng.between(-30, 3 * k);
    if (k > 0) off[0] = -30;
    if (k > 1) off[off.size() - 1] = 3 * k;
    Guarded<uint32_t> memory(static_cast<size_t>(30 + 3 * k + cols + 16));
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = kind < 2 ? 0 : static_cast<uint32_t>(rng.bits());
    const uint32_t* x = memory.data() + 30;
    const int zones = rng.between(1, 5), stride = cols + rng.below(20);
    Guarded<int16_t> shift(static_cast<size_t>(zones * padded)), at_least(static_cast<size_t>(padded));
    for (size_t i = 0; i < shift.size(); ++i)
      shift[i] = static_cast<int16_t>(32 * k + rng.between(-300, k < 1000 ? 300 : 0));
    for (size_t i = 0; i < at_least.size(); ++i) at_least[i] = static_cast<int16_t>(rng.between(-60, 60));
    at_least[0] = rng.coin() ? 32767 : -32767;
    Guarded<uint16_t> zone(static_cast<size_t>(cols));
    for (size_t i = 0; i < zone.size(); ++i) zone[i] = static_cast<uint16_t>(rng.below(zones));
    Guarded<uint8_t> bits_mask(mask_bytes(cols));
    for (size_t i = 0; i < bits_mask.size(); ++i) bits_mask[i] = static_cast<uint8_t>(rng.bits() | rng.bits());
    Output floats(rows, cols, cols, stride - cols);
    const Tail tail(Finish::random(), floats);
    Guarded<uint32_t> bits(static_cast<size_t>((panels - 1) * stride + cols));
    pyrt::BinaryEpilogue e{shift.data(),
                           padded,
                           zones > 1 ? zone.data() : nullptr,
                           at_least.data(),
                           rng.coin() ? -INFINITY : static_cast<float>(rng.between(-40, 40)),
                           tail.epilogue()};
    if (to_bits) e.rest.mask = rng.coin() ? bits_mask.data() : nullptr;
    void* y = to_bits ? static_cast<void*>(bits.data()) : floats.data();
    fn({w.data(), panel_bytes, off.data(), k, x, y, to_bits, stride, rows, cols, e});
    for (int r = 0; r < padded; ++r) {
      for (int c = 0; c < cols; ++c) {
        int differ = 0;
        for (int i = 0; i < 32 * k && r < rows; ++i) {
          const uint8_t bits8 = w[static_cast<size_t>(r / 32 * panel_bytes + (i / 8) * 32 + r % 32)];
          const uint32_t column = x[off[static_cast<size_t>(i / 32)] + c];
          differ += ((bits8 >> (i % 8)) & 1) != static_cast<int>((column >> (i % 32)) & 1);
        }
        const int z = e.zone ? zone[static_cast<size_t>(c)] : 0;
        const int s = shift[static_cast<size_t>(z * padded + r)] - 2 * differ;
        if (to_bits) {
          const bool want = r < rows && !masked(e.rest.mask, c) && s >= at_least[static_cast<size_t>(r)];
          const bool got = (bits[static_cast<size_t>(r / 32 * stride + c)] >> (r % 32)) & 1;
          if (got != want) fail("row %d, column %d: bit %d of sum %d", r, c, got, s);
        } else if (r < rows) {
          Sum sum;
          sum.add(std::max(static_cast<double>(s), static_cast<double>(e.low)));
          tail.check(floats, r, c, sum);
        }
      }
    }
    for (size_t i = 0; i < bits.size() && to_bits; ++i) {
      if (static_cast<int>(i) % stride >= cols && !bits.untouched(i)) fail("writes behind %d columns", cols);
    }
    if (!to_bits) floats.check_gaps(tail.epilogue().mask);
  };
  for (bool to_bits : {false, true}) {
    for (int rows : {1, 2, 7, 8, 31, 32, 33, 40, 63, 64}) {
      for (int k : {0, 1, 2, 6, 7, 8, 15, 16, 31}) run(rows, k, rng.between(1, 40), to_bits);
    }
    for (int cols = 1; cols <= 36; ++cols) run(rng.between(1, 64), 2, cols, to_bits);
    run(64, 1000, 5, to_bits);
  }
}

inline void test_binarize(pyrt::BinarizeFn fn) {
  for (int cols = 1; cols <= 40; ++cols) {
    for (int rows : {1, 2, 31, 32}) {
      what = "rows " + std::to_string(rows) + " cols " + std::to_string(cols);
      const int stride = cols + 16 + rng.below(9);
      Guarded<float> x(static_cast<size_t>((rows - 1) * stride + cols + 16)), at_least(static_cast<size_t>(rows));
      for (size_t i = 0; i < x.size(); ++i) x[i] = rng.chance(0.1) ? special_value() : rng.real(-1, 1);
      for (size_t i = 0; i < at_least.size(); ++i) at_least[i] = rng.chance(0.3) ? 0.0f : rng.real(-1, 1);
      Guarded<uint8_t> mask(mask_bytes(cols));
      for (size_t i = 0; i < mask.size(); ++i) mask[i] = static_cast<uint8_t>(rng.bits() | rng.bits());
      const uint8_t* bits = rng.coin() ? mask.data() : nullptr;
      Guarded<uint32_t> y(static_cast<size_t>(cols));
      fn({x.data(), stride, rows, at_least.data(), y.data(), cols, bits});
      for (int c = 0; c < cols; ++c) {
        uint32_t want = 0;
        for (int r = 0; r < rows; ++r) {
          const bool set = x[static_cast<size_t>(r * stride + c)] >= at_least[static_cast<size_t>(r)];
          if (set && !masked(bits, c)) want |= 1u << r;
        }
        if (y[static_cast<size_t>(c)] != want) fail("column %d: %x instead of %x", c, y[static_cast<size_t>(c)], want);
      }
    }
  }
}
