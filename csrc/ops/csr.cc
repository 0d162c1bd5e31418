// Products with sparse weights: CSR, and CSR in blocks of four rows.
#include "ops/matmul.h"

namespace pyrt {
namespace {

void prefetch(const float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i);
}

}  // namespace

uint32_t MatmulOp::row_count(int64_t row) const {
  if (w_.count_bits == 8) return static_cast<const uint8_t*>(w_.row_counts)[row];
  // The 16- and 32-bit counts follow 4-byte panel starts, so they are aligned.
  if (w_.count_bits == 16) return static_cast<const uint16_t*>(w_.row_counts)[row];
  return static_cast<const uint32_t*>(w_.row_counts)[row];
}

// The deltas of a panel, decoded if they have to be.
const uint8_t* MatmulOp::deltas(const RunContext& ctx, int64_t panel, int64_t n, const Tile& tile) const {
  if (w_.deltas) return static_cast<const uint8_t*>(w_.deltas) + w_.panel_start[panel] * w_.delta_bits / 8;
  decode_symbols(ctx, w_.delta_code, panel, n, tile.deltas);
  return tile.deltas;
}
ExpandColsFn MatmulOp::expand_cols(const RunContext& ctx) const {
  return w_.delta_bits == 8 ? ctx.kernels->expand_cols_u8 : ctx.kernels->expand_cols_u16;
}

void MatmulOp::run_csr_few(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    const int64_t row = panel_row(panel), block = w_.block();
    const auto rows = static_cast<int>(panel_rows(panel) / block);
    const int64_t first = w_.panel_start[panel], n = w_.panel_start[panel + 1] - first;
    for (int64_t r = 0; r < rows; ++r) tile.counts[r] = row_count(row / block + r);
    const uint8_t* in = deltas(ctx, panel, n, tile);
    const float* values = w_.values ? w_.values + first * block : tile.values;
    if (!w_.values) decode_values(ctx, panel, first * block, n * block, tile.symbols, tile.values);
    if (dot()) {
      ctx.kernels->csr_f32_dot(
          {in, values, tile.counts, rows, group_x(panel), out->row(row), out->plane, epilogue(row, 0)});
      continue;
    }
    expand_cols(ctx)(
        {in, tile.counts, rows, linear_ ? nullptr : offsets_.data(), static_cast<int32_t>(source_->plane), tile.off});
    const CsrFewFn few = block > 1 ? ctx.kernels->bcsr_f32_few : ctx.kernels->csr_f32_few;
    few({tile.off, values, tile.counts, rows, group_x(panel), out->row(row), out->plane, static_cast<int>(out->cols),
         epilogue(row, 0)});
  }
}

void MatmulOp::run_csr(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  // Offsets count from X, or from its packed copy.
  const bool table = !linear_ && !blocks_.packed;
  const int64_t block = w_.block();
  const auto stride = static_cast<int32_t>(blocks_.packed ? blocks_.tile : source_->plane);
  for (int64_t panel = range.panel; panel < range.panel_end;) {
    // As many panels of a group as are decoded together.
    const int64_t row = panel_row(panel), first = w_.panel_start[panel], group = panel / w_.panels_per_group();
    const float* x = group_x(panel);
    int64_t rows = 0, entries = 0;
    for (; panel < range.panel_end && panel / w_.panels_per_group() == group; ++panel) {
      const int64_t start = w_.panel_start[panel], n = w_.panel_start[panel + 1] - start;
      const int64_t more = panel_rows(panel) / block;
      if (rows > 0 && (entries + n > blocks_.entries || rows + more > kDecodedRows)) break;
      for (int64_t r = rows; r < rows + more; ++r) tile.counts[r] = row_count(row / block + r);
      // Blocks of columns jump through the values, where no hardware prefetcher follows.
      if (w_.values && blocks_.count > 1) prefetch(w_.values + start * block, n * block);
      if (!w_.values) decode_values(ctx, panel, start * block, n * block, tile.symbols, tile.values + entries * block);
      expand_cols(ctx)({deltas(ctx, panel, n, tile), tile.counts + rows, static_cast<int>(more),
                        table ? offsets_.data() : nullptr, stride, tile.off + entries});
      rows += more, entries += n;
    }
    multiply(ctx, tile, w_.values ? w_.values + first * block : tile.values, row, static_cast<int>(rows), x, range);
  }
}

// The decoded rows times the columns of the range, block by block.
void MatmulOp::multiply(const RunContext& ctx, const Tile& tile, const float* values, int64_t row, int rows,
                        const float* x, const Range& range) const {
  const CsrFn product = w_.block() > 1 ? ctx.kernels->bcsr_f32 : ctx.kernels->csr_f32;
  const int64_t count = blocks_.count, stride = blocks_.packed ? blocks_.tile : source_->plane;
  uint32_t at = 0;
  for (int r = 0; r < rows; ++r) {
    tile.bounds[r] = at;
    at += tile.counts[r];
    tile.bounds[count * rows + r] = at;
  }
  for (int64_t b = 1; b < count; ++b) {
    ctx.kernels->split_rows({tile.off, tile.bounds + (b - 1) * rows, tile.bounds + count * rows, rows,
                             static_cast<int32_t>(b * blocks_.k * stride), tile.bounds + b * rows});
  }
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
      product({tile.off, values, tile.bounds + b * rows, tile.bounds + (b + 1) * rows, rows, from, out->row(row) + col,
               out->plane, cols, b == 0, b == count - 1, epilogue(row, col)});
    }
  }
}

}  // namespace pyrt
