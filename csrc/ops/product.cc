// Weights that are a product codebook: codewords times a column, or codewords to weights.
#include "ops/matmul.h"

namespace pyrt {

const float* MatmulOp::widen_book(const RunContext& ctx, const Tile& tile) const {
  if (w_.book) return w_.book;
  w_.widen_book(*ctx.kernels, tile.book);
  return tile.book;
}

// Entries [first, first + n), which are chunk `chunk` if they are Huffman-coded, as bytes.
const uint8_t* MatmulOp::codeword_index(const RunContext& ctx, int64_t chunk, int64_t first, int64_t n,
                                        uint8_t* symbols) const {
  if (!w_.index) w_.index_code.decode(*ctx.kernels, chunk, n, symbols);
  else if (w_.index_bits == 8) return w_.index + first;
  else ctx.kernels->unpack_index_u8({w_.index, static_cast<uint64_t>(first), w_.index_bits, n, symbols});
  return symbols;
}

void MatmulOp::expand_codewords(const RunContext& ctx, int64_t chunk, int64_t first, int64_t k, const Tile& tile,
                                float* values) const {
  const int64_t d = w_.codeword, n = k / d;
  const uint8_t* index = codeword_index(ctx, chunk, first / d, n * kPanel, tile.symbols);
  ctx.kernels->expand_codewords_f32({index, n, w_.codeword, w_.book ? w_.book : tile.book, values});
}

// The indices of a whole panel.
const uint8_t* MatmulOp::panel_index(const RunContext& ctx, int64_t panel, const Tile& tile) const {
  const int64_t per_row = w_.cols / w_.codeword;
  if (w_.index) return codeword_index(ctx, 0, panel * per_row * kPanel, per_row * kPanel, tile.symbols);
  const int64_t per_chunk = decoded_columns() / w_.codeword, chunks = ceil_div(per_row, per_chunk);
  for (int64_t c = 0; c < chunks; ++c) {
    const int64_t j = c * per_chunk, n = std::min(per_chunk, per_row - j);
    w_.index_code.decode(*ctx.kernels, panel * chunks + c, n * kPanel, tile.symbols + j * kPanel);
  }
  return tile.symbols;
}

void MatmulOp::run_codewords(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  const float* book = widen_book(ctx, tile);
  // One column of neighbouring channels is read where it lies.
  const bool in_place = out->cols == 1 && source_->plane == 1 && geometry_.taps() == 1;
  const float* packed = nullptr;  // whose columns tile.x holds
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    const float* x = group_x(panel);
    if (!in_place && x != packed) {
      for (int64_t col = 0; col < out->cols; ++col) {
        for (int64_t k = 0; k < w_.cols; ++k) {
          tile.x[col * w_.cols + k] = x[offsets_[static_cast<size_t>(k)] + col];
        }
      }
      packed = x;
    }
    const uint8_t* index = panel_index(ctx, panel, tile);
    const int64_t row = w_.panel_row(panel);
    for (int64_t col = 0; col < out->cols; ++col) {
      ctx.kernels->codeword_dot_f32({index, w_.cols / w_.codeword, w_.codeword, book,
                                     in_place ? x : tile.x + col * w_.cols, static_cast<int>(w_.rows_of(panel)),
                                     out->row(row), out->plane, static_cast<int>(col), epilogue(row, 0)});
    }
  }
}

}  // namespace pyrt
