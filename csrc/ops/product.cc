// Weights that are a product codebook: codewords times columns, and for Winograd's algorithm codewords to weights.
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
  const Tile tile(w_, largest_panel_, blocks_, dots_, &bump);
  const float* book = widen_book(ctx, tile);
  const int64_t last = range.col_end == out->cols ? dots_ : 0;
  multiply_codewords(ctx, tile, book, {range.panel, range.panel_end, range.col, range.col_end - last});
  if (last > 0) dot_codewords(ctx, tile, book, {range.panel, range.panel_end, range.col_end - last, range.col_end});
}

void MatmulOp::multiply_codewords(const RunContext& ctx, const Tile& tile, const float* book,
                                  const Range& range) const {
  const XBlock x = x_block();
  const int64_t block_k = x.whole ? w_.cols : decoded_columns(), blocks = ceil_div(w_.cols, block_k);
  for (int64_t col = range.col; col < range.col_end; col += x.width) {
    const int64_t cols = std::min(x.width, range.col_end - col);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t k0 = b * block_k, k = std::min(block_k, w_.cols - k0);
      for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
        const int64_t row = w_.panel_row(panel), first = (panel * w_.cols + k0) / w_.codeword * kPanel;
        const uint8_t* index =
            x.whole ? panel_index(ctx, panel, tile)
                    : codeword_index(ctx, panel * blocks + b, first, k / w_.codeword * kPanel, tile.symbols);
        ctx.kernels->gemm_codewords_f32(
            {{nullptr, offsets_.data() + k0, static_cast<int>(k), group_x(panel) + col, out->row(row) + col, out->plane,
              static_cast<int>(w_.rows_of(panel)), static_cast<int>(cols), b == 0, b == blocks - 1, epilogue(row, col)},
             index,
             w_.codeword,
             book});
      }
    }
  }
}

void MatmulOp::dot_codewords(const RunContext& ctx, const Tile& tile, const float* book, const Range& range) const {
  const int64_t cols = range.col_end - range.col;
  // One column of neighbouring channels is read where it lies.
  const bool in_place = out->cols == 1 && source_->plane == 1 && geometry_.taps() == 1;
  const float* packed = nullptr;  // whose columns tile.x holds
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    const float* x = group_x(panel) + range.col;
    if (!in_place && x != packed) pack_columns(ctx, x, cols, tile.x), packed = x;
    const int64_t row = w_.panel_row(panel);
    ctx.kernels->codeword_dot_f32({panel_index(ctx, panel, tile), w_.cols / w_.codeword, w_.codeword, book,
                                   in_place ? x + offsets_[0] : tile.x, out->row(row) + range.col, out->plane,
                                   static_cast<int>(w_.rows_of(panel)), static_cast<int>(cols),
                                   epilogue(row, range.col)});
  }
}

// Columns of X one behind the other.
void MatmulOp::pack_columns(const RunContext& ctx, const float* x, int64_t cols, float* to) const {
  if (geometry_.taps() == 1) {
    return ctx.kernels->transpose_f32({x + offsets_[0], source_->plane, w_.cols, cols, to, w_.cols});
  }
  for (int64_t col = 0; col < cols; ++col) {
    for (int64_t k = 0; k < w_.cols; ++k) to[col * w_.cols + k] = x[offsets_[static_cast<size_t>(k)] + col];
  }
}

}  // namespace pyrt
