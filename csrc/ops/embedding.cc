// Rows of a table, straight from its compressed form: only the rows that are looked up are decoded.
#include "ops/op.h"

namespace pyrt {
namespace {

constexpr int64_t kTokens = 16;  // rows decoded side by side, then turned into columns

class EmbeddingOp : public Op {
 public:
  explicit EmbeddingOp(const OpSpec& spec)
      : Op(spec), w_(*spec.weights[0]), scale_(spec.weights.size() > 1 ? spec.weights[1]->values : nullptr) {}

  Status infer() override {
    int64_t dims[kRankMax];
    std::copy(in[0]->dims, in[0]->dims + in[0]->rank, dims);
    dims[in[0]->rank] = w_.cols;
    set_out(in[0]->rank + 1, dims);
    return {};
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    (void)table_bytes;
    const size_t bytes = static_cast<size_t>(kTokens * w_.cols) * sizeof(float) + book_bytes() + symbol_bytes();
    *scratch_size = std::max(*scratch_size, bytes + 64);
    return {};
  }

  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }

  void run(const RunContext& ctx) override {
    if (!check_ids(ctx)) return;
    if (out->mask) out->clear(0, out->channels);
    const int64_t tokens = in[0]->elements(), blocks = ceil_div(tokens, kTokens);
    ctx.parallel(tokens * w_.cols * 8, [&](int part, int parts) {
      auto* rows = reinterpret_cast<float*>(ctx.thread_scratch(part));
      Decoder decoder{reinterpret_cast<uint8_t*>(rows + kTokens * w_.cols), -1, w_.book};
      if (w_.product() && !w_.book) {
        auto* book = reinterpret_cast<float*>(decoder.symbols);
        decoder.symbols += book_bytes();
        w_.widen_book(*ctx.kernels, book);
        decoder.book = book;
      }
      for (int64_t b = blocks * part / parts; b < blocks * (part + 1) / parts; ++b) {
        const int64_t first = b * kTokens, n = std::min(kTokens, tokens - first);
        for (int64_t i = 0; i < n; ++i) decode_row(ctx, id(first + i), &decoder, rows + i * w_.cols);
        ctx.kernels->transpose_f32({rows, w_.cols, n, w_.cols, out->data + first, out->plane});
      }
    });
  }

 private:
  // The chunk of a Huffman-coded table that was decoded last, and the widened codewords of a product codebook.
  struct Decoder {
    uint8_t* symbols;
    int64_t chunk;
    const float* book;
  };

  bool panels() const { return w_.structure == Weights::kPanels; }
  int64_t row_entries() const { return w_.cols / w_.codeword; }
  size_t book_bytes() const {
    return w_.product() && !w_.book ? static_cast<size_t>(w_.book_size * w_.codeword) * sizeof(float) : 0;
  }
  size_t symbol_bytes() const {
    if (panels()) return static_cast<size_t>(w_.cols) * sizeof(uint16_t) + 64;
    if (w_.book_size > 0 && !w_.index) return static_cast<size_t>(w_.panel_rows * row_entries()) + 64;
    return w_.product() ? static_cast<size_t>(row_entries()) : 0;
  }

  // Of token i, counted in logical order.
  int64_t id(int64_t i) const {
    int64_t strides[kRankMax], at = 0;
    in[0]->strides(strides);
    for (int d = in[0]->rank - 1; d >= 0; --d) {
      at += i % in[0]->dims[d] * strides[d];
      i /= in[0]->dims[d];
    }
    return static_cast<int64_t>(in[0]->data[at]);
  }

  bool check_ids(const RunContext& ctx) const {
    int64_t strides[kRankMax];
    in[0]->strides(strides);
    const int64_t tokens = in[0]->elements();
    for (int64_t i = 0; i < tokens; ++i) {
      int64_t at = 0;
      for (int64_t d = in[0]->rank - 1, rest = i; d >= 0; rest /= in[0]->dims[d--]) {
        at += rest % in[0]->dims[d] * strides[d];
      }
      const float v = in[0]->data[at];
      if (v >= 0 && v < static_cast<float>(w_.rows)) continue;  // false for NaN
      ctx.fail(error("looks up row " + std::to_string(static_cast<int64_t>(v)) + " of a table of " +
                     std::to_string(w_.rows) + " rows"));
      return false;
    }
    return true;
  }

  void decode_row(const RunContext& ctx, int64_t row, Decoder* decoder, float* y) const {
    const int64_t k = w_.cols;
    if (panels() && w_.values) {
      const float* first = w_.values + panel_entry(row);
      for (int64_t c = 0; c < k; ++c) y[c] = first[c * kPanel];
    } else if (panels() && w_.halves) {
      auto* halves = reinterpret_cast<uint16_t*>(decoder->symbols);
      const uint16_t* first = w_.halves + panel_entry(row);
      for (int64_t c = 0; c < k; ++c) halves[c] = first[c * kPanel];
      ctx.kernels->widen_f16({halves, k, y});
    } else if (w_.values) {
      std::memcpy(y, w_.values + row * k, static_cast<size_t>(k) * sizeof(float));
    } else if (w_.halves) {
      ctx.kernels->widen_f16({w_.halves + row * k, k, y});
    } else if (w_.int8s) {
      // Four columns of these rows lie together.
      const int64_t side = panels() ? kPanel : 4;
      const int8_t* q = w_.int8s + row / side * round_up(k, 4) * side + row % side * 4;
      for (int64_t c = 0; c < k; ++c) y[c] = static_cast<float>(q[c / 4 * 4 * side + c % 4]) * scale_[row];
    } else if (w_.product()) {
      const int64_t d = w_.codeword;
      const uint8_t* index = row_index(ctx, row, decoder);
      for (int64_t j = 0; j < k / d; ++j) {
        std::memcpy(y + j * d, decoder->book + index[j] * d, static_cast<size_t>(d) * sizeof(float));
      }
    } else if (w_.index && !panels()) {
      ctx.kernels->expand_index_f32(
          {w_.index, static_cast<uint64_t>(row * k), w_.index_bits, k, w_.book, w_.book_size, y});
    } else {
      ctx.kernels->expand_index_f32({row_index(ctx, row, decoder), 0, 8, k, w_.book, w_.book_size, y});
    }
  }

  // Where a row of panels starts; its entries are 16 apart.
  int64_t panel_entry(int64_t row) const { return row / kPanel * row_entries() * kPanel + row % kPanel; }

  // The indices of a row as bytes.
  const uint8_t* row_index(const RunContext& ctx, int64_t row, Decoder* decoder) const {
    const int64_t n = row_entries();
    if (panels()) {
      const auto bits = static_cast<uint64_t>(w_.index_bits);
      uint64_t bit = static_cast<uint64_t>(panel_entry(row)) * bits;
      for (int64_t j = 0; j < n; ++j, bit += kPanel * bits) {
        uint64_t window;
        std::memcpy(&window, w_.index + bit / 8, 8);
        decoder->symbols[j] = static_cast<uint8_t>(window >> (bit % 8) & ((1u << bits) - 1));
      }
      return decoder->symbols;
    }
    if (w_.index && w_.index_bits == 8) return w_.index + row * n;
    if (w_.index) {
      const auto first = static_cast<uint64_t>(row * n);
      ctx.kernels->unpack_index_u8({w_.index, first, w_.index_bits, n, decoder->symbols});
      return decoder->symbols;
    }
    const int64_t chunk = row / w_.panel_rows;
    if (chunk != decoder->chunk) {
      const CodedStream& code = w_.index_code;
      const uint32_t begin = code.offset[chunk];
      const int64_t rows = std::min(w_.panel_rows, w_.rows - chunk * w_.panel_rows);
      ctx.kernels->huffman_u8({code.table, code.data + begin, code.offset[chunk + 1] - begin,
                               static_cast<size_t>(rows * n), decoder->symbols});
      decoder->chunk = chunk;
    }
    return decoder->symbols + row % w_.panel_rows * n;
  }

  const Weights& w_;
  const float* scale_;  // of s8 rows
};

}  // namespace

std::unique_ptr<Op> make_embedding(const OpSpec& spec) { return std::make_unique<EmbeddingOp>(spec); }

}  // namespace pyrt
