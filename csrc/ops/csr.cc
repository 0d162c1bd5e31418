// Products with sparse weights: CSR, and CSR in blocks of four rows.
#include "ops/matmul.h"

namespace pyrt {
namespace {

void prefetch(const float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i);
}

}  // namespace

// The deltas of a panel, decoded if they have to be.
const uint8_t* MatmulOp::deltas(const RunContext& ctx, int64_t panel, int64_t n, const Tile& tile) const {
  if (w_.deltas) return static_cast<const uint8_t*>(w_.deltas) + w_.panel_start[panel] * w_.delta_bits / 8;
  w_.delta_code.decode(*ctx.kernels, panel, n, tile.deltas);
  return tile.deltas;
}
// stride: of columns, if their offsets are not those of the table.
void MatmulOp::expand_cols(const RunContext& ctx, const uint8_t* deltas, const uint32_t* counts, int64_t rows,
                           bool table, int64_t stride, int32_t* off) const {
  constexpr int64_t kMostColumns = 1 << 21;  // with taps
  const int64_t taps = geometry_.taps();
  const bool periodic = table && taps < w_.cols && w_.cols < kMostColumns;
  if (periodic) stride = offsets_[static_cast<size_t>(taps)] - offsets_[0];
  const ExpandColsFn expand = w_.delta_bits == 8 ? ctx.kernels->expand_cols_u8 : ctx.kernels->expand_cols_u16;
  expand({deltas, counts, static_cast<int>(rows), table ? offsets_.data() : nullptr,
          periodic ? static_cast<int>(taps) : 0, static_cast<int32_t>(stride), off});
}

void MatmulOp::run_csr_few(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    const int64_t row = w_.panel_row(panel), block = w_.block();
    const auto rows = static_cast<int>(w_.rows_of(panel) / block);
    const int64_t first = w_.panel_start[panel], n = w_.panel_start[panel + 1] - first;
    for (int64_t r = 0; r < rows; ++r) tile.counts[r] = w_.row_count(row / block + r);
    const uint8_t* in = deltas(ctx, panel, n, tile);
    const float* values = w_.values ? w_.values + first * block : tile.values;
    if (!w_.values) decode_values(ctx, panel, first * block, n * block, tile.symbols, tile.values);
    const int64_t base = first_row(row);
    if (dot()) {
      const CsrDotFn product = block > 1 ? ctx.kernels->bcsr_f32_dot : ctx.kernels->csr_f32_dot;
      product({in, values, tile.counts, rows, group_x(panel), out->row(base), out->plane, epilogue(base, 0),
               static_cast<int>(block), order(row)});
      continue;
    }
    if (by_deltas()) {
      ctx.kernels->csr_deltas_f32({in, values, tile.counts, rows, group_x(panel), source_->plane, out->row(row),
                                   out->plane, static_cast<int>(out->cols), epilogue(row, 0)});
      continue;
    }
    expand_cols(ctx, in, tile.counts, rows, !linear_, source_->plane, tile.off);
    const CsrFewFn few = block > 1 ? ctx.kernels->bcsr_f32_few : ctx.kernels->csr_f32_few;
    few({tile.off, values, tile.counts, rows, group_x(panel), out->row(base), out->plane, static_cast<int>(out->cols),
         epilogue(base, 0), static_cast<int>(block), order(row)});
  }
}

const float* MatmulOp::pair_values(const RunContext& ctx, int64_t panel, const Tile& tile) const {
  const int64_t n = w_.cols / 2 * kPanel;
  if (w_.values) return w_.values + panel * n;
  decode_values(ctx, panel, panel * n, n, tile.symbols, tile.panel);
  return tile.panel;
}

void MatmulOp::run_pairs_few(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  const float* x = nullptr;
  int64_t group = -1;
  const bool contiguous = linear_ && out->cols == 1 && source_->plane == 1;
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    if (panel / w_.panels_per_group() != group) {
      group = panel / w_.panels_per_group();
      x = group_x(panel);
      if (!contiguous) {
        for (int64_t k = 0; k < w_.cols; ++k) {
          const float* from = x + (linear_ ? k * source_->plane : offsets_[static_cast<size_t>(k)]);
          for (int64_t c = 0; c < out->cols; ++c) tile.columns[c * w_.cols + k] = from[c];
        }
        x = tile.columns;
      }
    }
    const int64_t row = w_.panel_row(panel);
    ctx.kernels->pairs_f32_few({pair_values(ctx, panel, tile), pair_places(panel), static_cast<int>(w_.cols / 4), x,
                                w_.cols, out->row(row), out->plane, static_cast<int>(w_.rows_of(panel)),
                                static_cast<int>(out->cols), epilogue(row, 0)});
  }
}

void MatmulOp::run_csr(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  // Offsets count from X, or from its packed copy.
  const bool table = blocks_.rows || (!linear_ && !blocks_.packed);
  const int64_t block = w_.block();
  const auto stride = static_cast<int32_t>(blocks_.packed ? blocks_.tile : source_->plane);
  for (int64_t panel = range.panel; panel < range.panel_end;) {
    // As many panels of a group as are decoded together.
    const bool pairs = w_.structure == Weights::kPairs;
    const int64_t row = w_.panel_row(panel), group = panel / w_.panels_per_group();
    const int64_t first = pairs ? 0 : w_.panel_start[panel];
    const float* x = group_x(panel);
    int64_t rows = 0, entries = 0;
    for (; panel < range.panel_end && panel / w_.panels_per_group() == group; ++panel) {
      if (w_.structure == Weights::kPairs) {
        const int64_t n = w_.cols / 2 * w_.rows_of(panel);
        if (rows > 0 && (entries + n > blocks_.entries || rows + w_.rows_of(panel) > kDecodedRows)) break;
        std::fill_n(tile.counts + rows, w_.rows_of(panel), static_cast<uint32_t>(w_.cols / 2));
        ctx.kernels->expand_pairs_f32({pair_values(ctx, panel, tile), pair_places(panel), static_cast<int>(w_.cols / 4),
                                       static_cast<int>(w_.rows_of(panel)), table ? offsets_.data() : nullptr, stride,
                                       tile.off + entries, tile.values + entries});
        rows += w_.rows_of(panel), entries += n;
        continue;
      }
      const int64_t start = w_.panel_start[panel], n = w_.panel_start[panel + 1] - start;
      const int64_t more = w_.rows_of(panel) / block;
      if (rows > 0 && (entries + n > blocks_.entries || rows + more > kDecodedRows)) break;
      for (int64_t r = rows; r < rows + more; ++r) tile.counts[r] = w_.row_count(row / block + r);
      // Blocks of columns jump through the values, where no hardware prefetcher follows.
      if (w_.values && blocks_.count > 1) prefetch(w_.values + start * block, n * block);
      if (!w_.values) decode_values(ctx, panel, start * block, n * block, tile.symbols, tile.values + entries * block);
      expand_cols(ctx, deltas(ctx, panel, n, tile), tile.counts + rows, more, table, stride, tile.off + entries);
      rows += more, entries += n;
    }
    multiply(ctx, tile, w_.values && !pairs ? w_.values + first * block : tile.values, row, static_cast<int>(rows), x,
             range);
  }
}

void MatmulOp::plan_lines() {
  constexpr double kGain = 0.86;  // less is none: sums of many lines take longer to start and finish
  const int64_t channels = w_.cols / geometry_.taps(), m = w_.rows_per_group();
  const int64_t entries = w_.structure == Weights::kPairs ? w_.rows * w_.cols / 2 : static_cast<int64_t>(w_.entries);
  const double per_row = static_cast<double>(entries) / static_cast<double>(w_.rows);
  const CsrBlocks columns = blocks_;
  double least = kGain * columns.cost({geometry_, *source_, *out, 16, isa}, per_row, channels, m, *out);
  for (const int64_t line : {8, 16}) {
    const LineTiles tiles(geometry_, *source_, *out, line, isa);
    for (int64_t n = 2; n <= tiles.most_rows(); ++n) {
      if (ceil_div(out->height, tiles.bands(n)) != n) continue;
      const CsrBlocks found = columns.with_lines(tiles, channels, n);
      const double cost = found.cost(tiles, per_row, channels, m, *out);
      if (cost >= least) continue;
      least = cost;
      lines_ = tiles, blocks_ = found;
    }
  }
  if (!blocks_.rows) return;
  const int64_t last = out->height - (lines_.bands(blocks_.rows) - 1) * blocks_.rows;
  copies_[0] = lines_.sources(channels, blocks_.rows, blocks_.rows);
  copies_[1] = lines_.sources(channels, blocks_.rows, last);
  offsets_ = lines_.offsets(channels, blocks_.rows);
}

// The decoded rows times the columns of the range, block by block.
void MatmulOp::multiply(const RunContext& ctx, const Tile& tile, const float* values, int64_t row, int rows,
                        const float* x, const Range& range) const {
  const CsrFn product = w_.block() > 1 ? ctx.kernels->bcsr_f32 : ctx.kernels->csr_f32;
  const int64_t count = blocks_.count;
  const int64_t span = blocks_.packed ? blocks_.copied : blocks_.k * source_->plane;  // offsets of a block
  const int64_t base = first_row(row);
  uint32_t at = 0;
  for (int r = 0; r < rows; ++r) {
    tile.bounds[r] = at;
    at += tile.counts[r];
    tile.bounds[count * rows + r] = at;
  }
  for (int64_t b = 1; b < count; ++b) {
    ctx.kernels->split_rows({tile.off, tile.bounds + (b - 1) * rows, tile.bounds + count * rows, rows,
                             static_cast<int32_t>(b * span), tile.bounds + b * rows});
  }
  if (blocks_.rows) return multiply_lines(ctx, tile, values, row, rows, x, range);
  for (int64_t col = range.col; col < range.col_end; col += blocks_.tile) {
    const auto cols = static_cast<int>(std::min(blocks_.tile, range.col_end - col));
    for (int64_t b = 0; b < count; ++b) {
      const int64_t k0 = b * blocks_.k, k = std::min(blocks_.k, w_.cols - k0);
      const float* from = x + col;
      if (blocks_.packed) {
        ctx.kernels->pack_rows_f32(
            {x + col, offsets_.data() + k0, static_cast<int>(k), cols, tile.packed, blocks_.tile});
        from = tile.packed - k0 * blocks_.tile;  // so that the offsets of the block lie in the copy
      }
      product({tile.off, values, tile.bounds + b * rows, tile.bounds + (b + 1) * rows, rows, from, out->row(base) + col,
               out->plane, cols, b == 0, b == count - 1, epilogue(base, col), static_cast<int>(w_.block()),
               order(row)});
    }
  }
}

void MatmulOp::multiply_lines(const RunContext& ctx, const Tile& tile, const float* values, int64_t row, int rows,
                              const float* x, const Range& range) const {
  const int64_t line = lines_.line(), pieces = lines_.pieces(), bands = lines_.bands(blocks_.rows);
  const int64_t channel_lines = lines_.lines(blocks_.rows),
                channels = blocks_.copied / LineTiles::kCopied / channel_lines;
  const int64_t all = static_cast<int64_t>(copies_[0].size()) / channel_lines;
  for (int64_t t = range.col / blocks_.tile; t < range.col_end / blocks_.tile; ++t) {
    const int64_t col = t % pieces * line, band = t / pieces % bands, image = t / pieces / bands;
    const int64_t top = band * blocks_.rows, held = std::min(blocks_.rows, out->height - top);
    const int64_t at = image * out->image + top * out->pitch + col;
    const auto line_cols = static_cast<int>(std::min<int64_t>(out->width - col, line));
    for (int64_t b = 0; b < blocks_.count; ++b) {
      const int64_t first = b * channels, k = std::min(channels, all - first) * channel_lines;
      ctx.kernels->pack_rows_f32({x + at, copies_[held < blocks_.rows].data() + first * channel_lines,
                                  static_cast<int>(k), LineTiles::kCopied, tile.packed, LineTiles::kCopied});
      Epilogue finish = epilogue(row, at);
      finish.mask = nullptr;  // the gaps are not among the columns of a line
      ctx.kernels->csr_lines_f32({tile.off, values, tile.bounds + b * rows, tile.bounds + (b + 1) * rows, rows,
                                  tile.packed - b * blocks_.copied, out->row(row) + at, out->plane,
                                  static_cast<int>(held * line), b == 0, b == blocks_.count - 1, finish, 1, nullptr,
                                  static_cast<int>(line), out->pitch, line_cols});
    }
    if (out->mask && col + line >= out->width) clear_gaps(row, rows, image, top, held);
  }
}

// The gaps behind some rows of an image, and below it.
void MatmulOp::clear_gaps(int64_t row, int64_t rows, int64_t image, int64_t top, int64_t held) const {
  const bool bottom = top + held == out->height, last = bottom && image + 1 == out->images;
  for (int64_t c = row; c < row + rows; ++c) {
    for (int64_t h = top; h < top + held - last; ++h) {
      std::fill(out->row(c, image, h) + out->width, out->row(c, image, h + 1), 0.0f);
    }
    if (bottom && !last) std::fill(out->row(c, image, out->height), out->row(c, image + 1, 0), 0.0f);
  }
}

}  // namespace pyrt
