// linear and conv2d: Y = W X on columns, for dense panels and csr.
//
// A KxK convolution is the same product on shifted columns: weight column (c, kh, kw) meets row c of X at a fixed
// offset, so a table of K offsets is all that tells it from a 1x1. A strided convolution first splits X into its
// phases (every sh-th row, every sw-th column), after which its stride is 1. matmul.cc: the plan and dense products;
// csr.cc: sparse ones; scaled.cc and ternary.cc: weights of few bits; product.cc: product codebooks; winograd.cc: dense
// 3x3 convolutions with a quarter of the multiplications.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "ops/conv.h"
#include "ops/csr_blocks.h"
#include "ops/op.h"

namespace pyrt {

constexpr int64_t kBlockK = 256;  // columns of W done in one go: the tile of a decoded panel, 16 KB; = a Huffman chunk

// Where a thread decodes to, in the thread's scratch.
class Bump {
 public:
  explicit Bump(uint8_t* base) : at_(base) {}
  template <class T>
  T* take(int64_t n) {
    T* p = reinterpret_cast<T*>(at_);
    at_ += round_up(n * static_cast<int64_t>(sizeof(T)) + 32, 64);
    return p;
  }
  size_t used(const uint8_t* base) const { return static_cast<size_t>(at_ - base); }

 private:
  uint8_t* at_;
};

// A part of the product: panels [panel, panel_end) of all groups, columns [col, col_end).
struct Range {
  int64_t panel, panel_end, col, col_end;
};

class MatmulOp : public WeightedOp {
 public:
  explicit MatmulOp(const OpSpec& spec);

  void constrain(Layout* layout) override;
  Status prepare(size_t* table_bytes, size_t* scratch_size) override;
  bool exact(const Node& x) const override;

  int64_t flops() const override;
  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }
  const char* kernel(const Kernels& k) const override;
  void run(const RunContext& ctx) override;

 private:
  // What a thread decodes a panel to.
  struct Tile {
    // few: columns of a product that few, or the last ones that a product codebook has apart; else 0.
    Tile(const Weights& w, int64_t largest_panel, const CsrBlocks& blocks, int64_t few, Bump* bump) {
      if (w.sparse()) {
        const int64_t entries = std::max(largest_panel, std::min(blocks.entries, static_cast<int64_t>(w.entries)));
        const int64_t block = w.block();  // values of an entry
        const int64_t rows = std::min(std::max(w.panel_rows, kDecodedRows), w.rows);
        if (blocks.packed) packed = bump->take<float>(blocks.copied);
        off = bump->take<int32_t>(entries);
        counts = bump->take<uint32_t>(rows);
        bounds = bump->take<uint32_t>(rows * (blocks.count + 1));
        if (!w.values) values = bump->take<float>(entries * block);
        if (!w.deltas) deltas = bump->take<uint8_t>(largest_panel);
        if (w.book && !w.index) symbols = bump->take<uint8_t>(largest_panel * block);
      } else if (w.packed && few) {
        values = bump->take<float>(few * w.packed_cols());
        if (w.packed_bits < 4) tables = bump->take<float>(few * w.packed_cols() * 4);
        else sums = bump->take<float>(few * w.scale_groups());
      } else if (w.product()) {
        if (!w.book) book = bump->take<float>(w.book_size * w.codeword);
        symbols = bump->take<uint8_t>(w.cols / w.codeword * kPanel);
        if (few) x = bump->take<float>(w.cols * few);
        else values = bump->take<float>(kBlockK * kPanel);
      } else if (w.structure == Weights::kPairs) {
        const int64_t entries = std::max(largest_panel, std::min(blocks.entries, static_cast<int64_t>(w.entries)));
        const int64_t rows = std::min(kDecodedRows, w.rows);
        if (blocks.packed) packed = bump->take<float>(blocks.copied);
        off = bump->take<int32_t>(entries);
        values = bump->take<float>(entries);
        counts = bump->take<uint32_t>(rows);
        bounds = bump->take<uint32_t>(rows * (blocks.count + 1));
        columns = bump->take<float>(w.cols * kFewColumns);
        if (!w.values) panel = bump->take<float>(largest_panel);
      } else if (w.structure == Weights::kPanels && !w.values) {
        values = bump->take<float>(kBlockK * kPanel);
        if (w.book && !w.index) symbols = bump->take<uint8_t>(kBlockK * kPanel);
      }
    }
    float* packed = nullptr;
    int32_t* off = nullptr;
    uint32_t* counts = nullptr;
    uint32_t* bounds = nullptr;  // [blocks + 1][rows], where the entries of each block of columns start
    float* values = nullptr;
    float* sums = nullptr;       // q8 and q4, few columns: of groups of X; values are X itself
    float* tables = nullptr;     // binary and ternary, few columns: sums of X
    uint8_t* deltas = nullptr;   // decoded, when they are Huffman-coded
    uint8_t* symbols = nullptr;  // decoded codebook indices
    float* book = nullptr;       // the widened codewords of a product codebook
    float* x = nullptr;          // and the columns to multiply them with
    float* panel = nullptr;      // decoded values of a panel of pairs
    float* columns = nullptr;    // a few columns of X, each contiguous
  };

  // Where a thread keeps a block of tiles: U of its input, the weights and products of one panel.
  struct WinogradTile {
    WinogradTile(const MatmulOp& op, Bump* bump);
    int64_t u_stride = 0;  // floats between elements
    float* u = nullptr;
    float* weights = nullptr;
    float* products = nullptr;
    float* panel = nullptr;  // decoded weights
  };

  int64_t first_panel(int64_t part, int64_t parts, int64_t panels) const;

  const float* group_x(int64_t panel) const {
    return source_->data + panel / w_.panels_per_group() * (source_->channels / w_.groups) * source_->plane;
  }

  // The row of the output from which the kernels count: that of a stored row, or of its group, within which its order
  // is.
  int64_t first_row(int64_t row) const { return w_.order ? row - row % w_.rows_per_group() : row; }
  const uint32_t* order(int64_t row) const { return w_.order ? w_.order + row : nullptr; }

  void clear_margins(const Range& range) const {
    const int64_t begin = w_.panel_row(range.panel), last = range.panel_end - 1,
                  end = w_.panel_row(last) + w_.rows_of(last);
    if (!w_.order) return out->clear_margins(begin, end);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = first_row(row) + w_.order[row];
      out->clear_margins(at, at + 1);
    }
  }

  Epilogue epilogue(int64_t row, int64_t col) const;

  // Entries [first, first + n) of the tensor as f32; of a codebook they are chunk `chunk` of the stream if it is
  // Huffman-coded.
  void decode_values(const RunContext& ctx, int64_t chunk, int64_t first, int64_t n, uint8_t* symbols,
                     float* values) const;

  // The same for q8 or q4 values.
  void widen_scaled(const RunContext& ctx, int64_t panel, int64_t k0, int64_t k, float* out) const;

  // And for binary or ternary values (ternary.cc).
  void widen_ternary(const RunContext& ctx, int64_t panel, int64_t k0, int64_t k, float* out) const;
  void run_ternary_few(const RunContext& ctx, int part, const Range& range) const;

  // Product codebooks (product.cc). widen_book comes first, and fills the tile's book.
  int64_t dot_columns(int64_t cols) const {
    const int64_t odd = cols % 16;
    return w_.product() && w_.codeword % 4 == 0 && odd <= kDotColumns ? odd : 0;
  }
  // Of few columns no others may be written, so those that codeword_dot cannot do are multiplied with weights.
  bool by_codewords() const { return w_.product() && (!few_ || dots_ > 0); }
  const float* widen_book(const RunContext& ctx, const Tile& tile) const;
  const uint8_t* codeword_index(const RunContext& ctx, int64_t chunk, int64_t first, int64_t n, uint8_t* symbols) const;
  const uint8_t* panel_index(const RunContext& ctx, int64_t panel, const Tile& tile) const;
  // k columns, of which the first weight is `first`.
  void expand_codewords(const RunContext& ctx, int64_t chunk, int64_t first, int64_t k, const Tile& tile,
                        float* values) const;
  void run_codewords(const RunContext& ctx, int part, const Range& range) const;
  void multiply_codewords(const RunContext& ctx, const Tile& tile, const float* book, const Range& range) const;
  void dot_codewords(const RunContext& ctx, const Tile& tile, const float* book, const Range& range) const;
  void pack_columns(const RunContext& ctx, const float* x, int64_t cols, float* to) const;

  // Columns of W that are decoded in one go.
  int64_t decoded_columns() const { return kBlockK / w_.codeword * w_.codeword; }
  // Such a block of a dense panel as f32; `values` has room for a multiple of 32 columns.
  void decode_block(const RunContext& ctx, int64_t panel, int64_t block, const Tile& tile, float* values) const;

  // A block of X, kBlockK rows of `width` columns, stays in half of L2 while all panels pass over it; `whole`: so does
  // all of X.
  struct XBlock {
    bool whole;
    int64_t width;
  };
  XBlock x_block() const;
  void run_panels(const RunContext& ctx, int part, const Range& range) const;

  // Few columns times q8 or q4 weights as they lie (scaled.cc).
  void run_scaled_few(const RunContext& ctx, int part, const Range& range) const;
  void prepare_scaled(const float* x, const Tile& tile) const;

  void run_csr_few(const RunContext& ctx, int part, const Range& range) const;
  void run_csr(const RunContext& ctx, int part, const Range& range) const;
  void run_pairs_few(const RunContext& ctx, int part, const Range& range) const;
  const float* pair_values(const RunContext& ctx, int64_t panel, const Tile& tile) const;
  const uint32_t* pair_places(int64_t panel) const { return w_.places + panel * (w_.cols / 2); }
  // The deltas of a panel, decoded if they have to be.
  const uint8_t* deltas(const RunContext& ctx, int64_t panel, int64_t n, const Tile& tile) const;
  void expand_cols(const RunContext& ctx, const uint8_t* deltas, const uint32_t* counts, int64_t rows, bool table,
                   int64_t stride, int32_t* off) const;
  // The decoded rows times the columns of the range, block by block.
  void multiply(const RunContext& ctx, const Tile& tile, const float* values, int64_t row, int rows, const float* x,
                const Range& range) const;

  // One column whose channels are neighbours: the sparse product needs no offsets.
  bool dot() const { return w_.sparse() && linear_ && out->cols == 1 && source_->plane == 1 && w_.delta_bits == 8; }

  // All columns are one tile: the sparse product uses each delta once, and needs no offsets either.
  bool by_deltas() const {
    return w_.structure == Weights::kCsr && linear_ && !few_ && out->cols <= kDeltaColumns && blocks_.count == 1 &&
           w_.delta_bits == 8;
  }

  // Multiplied as CSR, if its columns are many.
  bool as_csr() const { return w_.sparse() || w_.structure == Weights::kPairs; }

  // Columns as they are shared out: those of the output, or tile after tile.
  int64_t tiled_columns() const { return blocks_.rows ? lines_.tiles(blocks_.rows) * blocks_.tile : out->cols; }
  void multiply_lines(const RunContext& ctx, const Tile& tile, const float* values, int64_t row, int rows,
                      const float* x, const Range& range) const;
  void plan_lines();
  void clear_gaps(int64_t row, int64_t rows, int64_t image, int64_t top, int64_t held) const;

  void split_phases(const RunContext& ctx) const;

  // Lays out the strips if this is a convolution that Winograd's algorithm makes faster.
  bool plan_winograd();
  void run_winograd(const RunContext& ctx) const;
  void winograd_part(const RunContext& ctx, int part, const Range& range) const;  // columns: groups of strips

  Activation act_;
  const float *bias_ = nullptr, *scale_ = nullptr;

  bool staged_ = false, few_ = false, winograd_ = false;
  int64_t dots_ = 0;        // of a product codebook: how many of the last columns codeword_dot takes
  bool linear_ = false;     // sparse and without taps or padding: offsets are multiples of the plane
  Node* source_ = nullptr;  // the input, or its phases
  int64_t largest_panel_ = 0;
  CsrBlocks blocks_;  // sparse weights
  std::vector<int32_t> offsets_;
  // Sparse convolutions in tiles of lines: where the copied lines lie in X, of a tile and of the last of an image.
  LineTiles lines_;
  std::vector<int32_t> copies_[2];

  // Winograd only: the output in strips of tiles.
  std::vector<WinogradStrip> strips_;
  int64_t winograd_groups_ = 0;  // of four strips
};

}  // namespace pyrt
