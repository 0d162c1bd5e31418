// Sweeps of the families that turn compressed streams into offsets, values and symbols: every bit counts.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "guarded.h"
#include "kernels/kernels.h"
#include "oracle.h"

template <class T>
void check_equal(Guarded<T>& got, const std::vector<T>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&got[i], &expected[i], sizeof(T)) == 0) continue;
    return fail("entry %zu of %zu: %.9g instead of %.9g", i, expected.size(), static_cast<double>(got[i]),
                static_cast<double>(expected[i]));
  }
}

template <class Delta>
void test_expand_cols(pyrt::ExpandColsFn fn) {
  for (int i = 0; i < 2000; ++i) {
    const int rows = rng.between(1, 20), longest = i % 4 ? rng.below(40) : rng.below(300);
    const bool table = rng.coin();
    // Offsets without a table may be far apart; a table has one entry per column.
    const uint32_t range = rng.coin() ? 4 : sizeof(Delta) == 1 ? 256 : table ? 1000 : 65536;
    what = "rows " + std::to_string(rows) + " longest " + std::to_string(longest) + (table ? " table" : " stride");
    Guarded<uint32_t> counts(static_cast<size_t>(rows));
    std::vector<Delta> deltas;
    std::vector<int> cols;
    int k = 0;
    for (int r = 0; r < rows; ++r) {
      const int n = longest == 0 || rng.chance(0.2) ? 0 : rng.below(longest + 1);
      counts[static_cast<size_t>(r)] = static_cast<uint32_t>(n);
      int col = -1;
      for (int e = 0; e < n; ++e) {
        const auto delta = static_cast<Delta>(rng.chance(0.1) ? range - 1 : rng.bits() % range);
        deltas.push_back(delta);
        col += 1 + delta;
        cols.push_back(col);
      }
      k = std::max(k, col + 1);
    }
    Guarded<Delta> packed(deltas.size());
    std::copy(deltas.begin(), deltas.end(), packed.data());
    const int32_t stride = rng.between(1, k > 0 ? std::min(INT32_MAX / k, 5000) : 5000);
    // A table of taps repeats itself.
    const int taps = table && rng.chance(0.7) ? rng.between(2, 20) : 0;
    const int start = rng.below(1000);
    const int size = taps > 0 ? std::max(k + taps - 1, taps) / taps * taps : k;
    Guarded<int32_t> offsets(static_cast<size_t>(table ? size : 0));
    for (size_t c = 0; c < offsets.size(); ++c) {
      const int at = static_cast<int>(c);
      offsets[c] = taps == 0   ? static_cast<int32_t>(rng.bits())
                   : at < taps ? rng.below(5000) - start
                               : offsets[static_cast<size_t>(at % taps)] + at / taps * stride;
    }
    std::vector<int32_t> expected;
    for (int col : cols) expected.push_back(table ? offsets[static_cast<size_t>(col)] : col * stride);
    Guarded<int32_t> off(expected.size());
    fn({packed.data(), counts.data(), rows, table ? offsets.data() : nullptr, taps, stride, off.data()});
    check_equal(off, expected);
  }
}

template <class Value, class Fn>
void test_expand_index(Fn fn) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (int i = 0; i < 500; ++i) {
      const int first = i < 70 ? i : rng.below(3000), n = i < 70 ? rng.below(40) : rng.below(600);
      const int entries = rng.between(1, 1 << bits);
      what = "bits " + std::to_string(bits) + " first " + std::to_string(first) + " n " + std::to_string(n);
      Guarded<Value> book(static_cast<size_t>(entries));
      for (size_t b = 0; b < book.size(); ++b) book[b] = static_cast<Value>(rng.below(256) - 128);
      Guarded<uint8_t> packed(static_cast<size_t>(((first + n) * bits + 7) / 8 + 8));
      for (size_t b = 0; b < packed.size(); ++b) packed[b] = 0;
      std::vector<Value> expected;
      for (int e = 0; e < first + n; ++e) {
        const int index = rng.below(entries);
        for (int b = 0; b < bits; ++b) {
          const int at = e * bits + b;
          packed[static_cast<size_t>(at / 8)] |= static_cast<uint8_t>(((index >> b) & 1) << at % 8);
        }
        if (e >= first) expected.push_back(book[static_cast<size_t>(index)]);
      }
      Guarded<Value> out(static_cast<size_t>(n));
      fn({packed.data(), static_cast<uint64_t>(first), bits, n, book.data(), entries, out.data()});
      check_equal(out, expected);
      if (bits < 8 || sizeof(Value) > 1 || first > 0) continue;
      auto* in_place = reinterpret_cast<Value*>(packed.data());
      fn({packed.data(), 0, 8, n, book.data(), entries, in_place});
      std::copy(in_place, in_place + n, out.data());
      check_equal(out, expected);
    }
  }
}

// Rows of sparse bytes, and their dense form.
template <class Delta>
class SparseBytes {
 public:
  SparseBytes(int rows, int cols, double zeros) : counts_(static_cast<size_t>(rows)) {
    what = "rows " + std::to_string(rows) + " cols " + std::to_string(cols) + " zeros " + std::to_string(zeros);
    std::vector<Delta> deltas;
    std::vector<int8_t> values;
    const int kind = rng.below(6);
    dense_.assign(static_cast<size_t>(rows), std::vector<int8_t>(static_cast<size_t>(cols)));
    for (size_t r = 0; r < dense_.size(); ++r) {
      int previous = -1;
      counts_[r] = 0;
      for (int k = 0; k < cols; ++k) {
        const bool far = k - previous - 1 == (sizeof(Delta) == 1 ? 255 : 65535);
        if (!far && rng.chance(static_cast<float>(zeros))) continue;
        const int value = kind == 0 ? -128 : kind == 1 ? 127 : rng.below(256) - 128;
        deltas.push_back(static_cast<Delta>(k - previous - 1));
        values.push_back(static_cast<int8_t>(value));
        dense_[r][static_cast<size_t>(k)] = static_cast<int8_t>(value);
        previous = k;
        ++counts_[r];
      }
    }
    deltas_ = std::make_unique<Guarded<Delta>>(deltas.size());
    values_ = std::make_unique<Guarded<int8_t>>(values.size());
    std::copy(deltas.begin(), deltas.end(), deltas_->data());
    std::copy(values.begin(), values.end(), values_->data());
  }
  pyrt::CsrS8 stored() {
    const int bits = static_cast<int>(8 * sizeof(Delta)), rows = static_cast<int>(dense_.size());
    return {deltas_->data(), bits, counts_.data(), rows, values_->data()};
  }
  int at(int r, int k) const { return dense_[static_cast<size_t>(r)][static_cast<size_t>(k)]; }

 private:
  std::vector<std::vector<int8_t>> dense_;
  Guarded<uint32_t> counts_;
  std::unique_ptr<Guarded<Delta>> deltas_;
  std::unique_ptr<Guarded<int8_t>> values_;
};

template <class Delta>
void run_expand_csr_s8(pyrt::ExpandCsrS8Fn fn, int rows, int fours, double zeros) {
  SparseBytes<Delta> w(rows, 4 * fours, zeros);
  std::vector<int8_t> expected(static_cast<size_t>(64 * fours));
  for (int r = 0; r < rows; ++r) {
    for (int k = 0; k < 4 * fours; ++k) {
      expected[static_cast<size_t>(k / 4 * 64 + 4 * r + k % 4)] = static_cast<int8_t>(w.at(r, k));
    }
  }
  Guarded<int8_t> out(expected.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = 77;
  fn({w.stored(), 4 * fours, out.data()});
  check_equal(out, expected);
}

inline void test_expand_csr_s8(pyrt::ExpandCsrS8Fn fn) {
  for (int i = 0; i < 500; ++i) {
    const int rows = i % 5 ? pyrt::kPanel : rng.between(1, 16), fours = i % 7 ? rng.between(1, 40) : 200;
    const double zeros = i % 11 == 0 ? 1 : i % 11 == 1 ? 0 : i % 3 == 0 ? 0.99 : 0.8;
    run_expand_csr_s8<uint8_t>(fn, rows, fours, zeros);
    run_expand_csr_s8<uint16_t>(fn, rows, fours, zeros);
  }
}

inline void test_unpack_index(pyrt::UnpackIndexFn fn) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (int i = 0; i < 300; ++i) {
      const int first = i < 70 ? i : rng.below(3000), n = i < 70 ? rng.below(40) : rng.below(600);
      what = "bits " + std::to_string(bits) + " first " + std::to_string(first) + " n " + std::to_string(n);
      Guarded<uint8_t> packed(static_cast<size_t>(((first + n) * bits + 7) / 8 + 8));
      for (size_t b = 0; b < packed.size(); ++b) packed[b] = static_cast<uint8_t>(rng.below(256));
      std::vector<uint8_t> expected;
      for (int e = first; e < first + n; ++e) {
        int index = 0;
        for (int b = 0; b < bits; ++b) {
          const int at = e * bits + b;
          index |= (packed[static_cast<size_t>(at / 8)] >> at % 8 & 1) << b;
        }
        expected.push_back(static_cast<uint8_t>(index));
      }
      Guarded<uint8_t> out(static_cast<size_t>(n));
      fn({packed.data(), static_cast<uint64_t>(first), bits, n, out.data()});
      check_equal(out, expected);
    }
  }
}

inline void test_widen_s8(pyrt::WidenS8Fn fn) {
  for (int n : {256, 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 100}) {
    what = "n " + std::to_string(n);
    Guarded<int8_t> in(static_cast<size_t>(n));
    Guarded<float> out(static_cast<size_t>(n));
    const float scale = rng.real(0.001f, 2);
    std::vector<float> expected;
    for (int i = 0; i < n; ++i) {
      in[static_cast<size_t>(i)] = static_cast<int8_t>(n == 256 ? i - 128 : rng.below(256) - 128);
      expected.push_back(static_cast<float>(in[static_cast<size_t>(i)]) * scale);
    }
    fn({in.data(), n, scale, out.data()});
    check_equal(out, expected);
  }
}

// A panel of a product codebook: n*16 indices of codewords of d weights.
struct Codewords {
  Codewords(int n, int d, int codewords)
      : d(d), index(static_cast<size_t>(n * pyrt::kPanel)), book(static_cast<size_t>(codewords * d)) {
    rng.fill(book);
    for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<uint8_t>(rng.below(codewords));
  }
  float weight(int r, int k) {
    return book[static_cast<size_t>(index[static_cast<size_t>(k / d * pyrt::kPanel + r)] * d + k % d)];
  }
  int d;
  Guarded<uint8_t> index;
  Guarded<float> book;
};

inline void test_expand_codewords(pyrt::ExpandCodewordsFn fn) {
  for (int d = 2; d <= 20; ++d) {
    for (int n : {0, 1, 2, 3, 17}) {
      what = "n " + std::to_string(n) + " d " + std::to_string(d);
      Codewords w(n, d, rng.between(1, 256));
      std::vector<float> expected;
      for (int k = 0; k < n * d; ++k) {
        for (int r = 0; r < pyrt::kPanel; ++r) expected.push_back(w.weight(r, k));
      }
      Guarded<float> out(expected.size());
      fn({w.index.data(), n, d, w.book.data(), out.data()});
      check_equal(out, expected);
    }
  }
}

// All 65536 of them, then some of every length.
inline void test_widen(pyrt::WidenFn fn) {
  for (int n : {65536, 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 100}) {
    what = "n " + std::to_string(n);
    Guarded<uint16_t> in(static_cast<size_t>(n));
    Guarded<float> out(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) in[static_cast<size_t>(i)] = static_cast<uint16_t>(n == 65536 ? i : rng.below(65536));
    fn({in.data(), n, out.data()});
    for (int i = 0; i < n; ++i) {
      const float got = out[static_cast<size_t>(i)], expected = half_value(in[static_cast<size_t>(i)]);
      const bool same = std::isnan(expected) ? std::isnan(got) : got == expected;
      if (!same) fail("f16 %d: %g", in[static_cast<size_t>(i)], static_cast<double>(got));
    }
  }
}

// A complete code: a binary tree grown from two leaves by splitting one after the other.
inline std::vector<uint8_t> code_lengths(int symbols, bool skewed) {
  std::vector<uint8_t> leaves{1, 1};
  while (static_cast<int>(leaves.size()) < symbols) {
    const auto at = skewed ? static_cast<size_t>(std::max_element(leaves.begin(), leaves.end()) - leaves.begin())
                           : static_cast<size_t>(rng.below(static_cast<int>(leaves.size())));
    if (leaves[at] == pyrt::kHuffmanMaxLength) {
      if (skewed) break;
      continue;
    }
    ++leaves[at];
    leaves.push_back(leaves[at]);
  }
  return leaves;
}

// The canonical code words of docs/format.md, section 2, most significant bit first; "" for symbols not used.
inline std::vector<std::string> canonical_codes(const std::vector<uint8_t>& lengths) {
  std::vector<std::string> codes(lengths.size());
  std::string next;  // the code after the last one given, as bits
  for (size_t length = 1; length <= pyrt::kHuffmanMaxLength; ++length) {
    next.resize(length, '0');
    for (size_t s = 0; s < lengths.size(); ++s) {
      if (lengths[s] != length) continue;
      codes[s] = next;
      size_t bit = length;
      while (bit > 0 && next[bit - 1] == '1') next[--bit] = '0';
      if (bit > 0) next[bit - 1] = '1';
    }
  }
  return codes;
}

inline std::vector<uint8_t> encode_chunk(const std::vector<std::string>& codes, const std::vector<uint8_t>& symbols) {
  if (symbols.empty()) return {};
  const size_t n = symbols.size(), quarter = (n + 3) / 4;
  std::vector<uint8_t> chunk(6);
  for (size_t j = 0; j < 4; ++j) {
    std::vector<uint8_t> bytes;
    size_t bits = 0;
    for (size_t i = std::min(j * quarter, n); i < std::min((j + 1) * quarter, n); ++i) {
      for (char bit : codes[symbols[i]]) {
        if (bits % 8 == 0) bytes.push_back(0);
        if (bit == '1') bytes.back() |= static_cast<uint8_t>(1 << bits % 8);
        ++bits;
      }
    }
    if (j < 3) {
      chunk[2 * j] = static_cast<uint8_t>(bytes.size());
      chunk[2 * j + 1] = static_cast<uint8_t>(bytes.size() >> 8);
    }
    chunk.insert(chunk.end(), bytes.begin(), bytes.end());
  }
  return chunk;
}

inline void test_huffman(pyrt::HuffmanFn fn) {
  std::vector<int> sizes;
  for (int n = 0; n <= 70; ++n) sizes.push_back(n);
  for (int n : {1000, 2048, 3001, 4095, 4096, 5000, 65536}) sizes.push_back(n);
  for (int used : {2, 3, 5, 16, 17, 100, 256}) {
    for (bool skewed : {false, true}) {
      const auto leaves = code_lengths(used, skewed);
      const int alphabet = rng.between(static_cast<int>(leaves.size()), 256);
      std::vector<uint8_t> lengths(static_cast<size_t>(alphabet));
      std::copy(leaves.begin(), leaves.end(), lengths.begin());
      for (size_t s = lengths.size(); s > 1; --s) {
        std::swap(lengths[s - 1], lengths[static_cast<size_t>(rng.below(static_cast<int>(s)))]);
      }
      const auto codes = canonical_codes(lengths);
      std::vector<uint8_t> occurring;
      for (size_t s = 0; s < codes.size(); ++s) {
        if (!codes[s].empty()) occurring.push_back(static_cast<uint8_t>(s));
      }
      std::sort(occurring.begin(), occurring.end(), [&](uint8_t a, uint8_t b) { return lengths[a] < lengths[b]; });
      const int bits = pyrt::huffman_table_bits(lengths.data(), alphabet);
      what = "a code of " + std::to_string(leaves.size()) + " symbols";
      if (bits != std::max<int>(*std::max_element(lengths.begin(), lengths.end()), 8))
        return fail("is complete, but refused");
      Guarded<pyrt::HuffmanEntry> table(size_t{1} << bits);
      pyrt::huffman_build_table(lengths.data(), alphabet, bits, table.data());
      for (int n : sizes) {
        what = std::to_string(n) + " symbols of " + std::to_string(leaves.size()) + (skewed ? ", skewed" : "");
        // All equally often, mostly the long codes, or as the code expects them.
        const int kind = rng.below(3);
        std::vector<uint8_t> symbols(static_cast<size_t>(n));
        for (uint8_t& s : symbols) {
          size_t i = static_cast<size_t>(rng.below(static_cast<int>(occurring.size())));
          if (kind == 1) i = std::max(i, occurring.size() - 2);
          if (kind == 2) {
            for (i = 0; i + 1 < occurring.size() && !rng.chance(0.5);) ++i;
          }
          s = occurring[i];
        }
        const auto bytes = encode_chunk(codes, symbols);
        Guarded<uint8_t> chunk(bytes.size() + 8);
        std::copy(bytes.begin(), bytes.end(), chunk.data());
        Guarded<uint8_t> out(static_cast<size_t>(n));
        fn({{table.data(), bits}, chunk.data(), bytes.size(), static_cast<size_t>(n), out.data()});
        check_equal(out, symbols);
      }
    }
  }
}
