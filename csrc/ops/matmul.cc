#include "ops/matmul.h"

namespace pyrt {

MatmulOp::MatmulOp(const OpSpec& spec) : WeightedOp(spec, 1) {
  Attrs attrs(spec);
  act_ = attrs.act();
  bias_ = spec.weights.size() > 1 ? spec.weights[1]->values : nullptr;
  scale_ = spec.weights.size() > 2 ? spec.weights[2]->values : nullptr;
  conv_ = spec.kind == OpKind::kConv2d;
  if (conv_) geometry_.read(&attrs);
}

void MatmulOp::constrain(Layout* layout) {
  staged_ = geometry_.strided();
  source_ = in[0];
  if (staged_) source_ = geometry_.phases_of(*in[0], layout);
  if (conv_) source_->halo.widen(geometry_.halo(source_->height, source_->width, *out));
  layout->share_grid(source_, out);
  if (in.size() > 1) layout->share_grid(in[1], out);
}

Status MatmulOp::prepare(size_t* table_bytes, size_t* scratch_size) {
  if (source_->channels * source_->plane > INT32_MAX) {
    return error("its input of " + std::to_string(source_->channels * source_->plane) +
                 " elements is too large; use a smaller batch");
  }
  few_ = out->cols <= kFewColumns;
  dots_ = dot_columns(out->cols);
  linear_ = as_csr() && geometry_.taps() == 1 && geometry_.row_shift(0) == 0 && geometry_.col_shift(0) == 0;
  if (!linear_) geometry_.offsets(*source_, w_.cols / geometry_.taps(), &offsets_);
  largest_panel_ = 0;
  const bool wide = isa_includes(isa, Isa::kAvx512);
  const int64_t pass = wide ? CsrBlocks::kWidest : 2;
  if (w_.structure == Weights::kPairs) {
    largest_panel_ = w_.cols / 2 * kPanel;
    blocks_ = CsrBlocks::choose(w_.rows_per_group(), w_.cols, w_.rows_per_group() * w_.cols / 2, out->cols, !linear_,
                                true, pass);
  }
  if (w_.sparse()) {
    const int64_t block = w_.block();
    // A load serves four rows of a block, so that multiply-adds are the limit, but where narrow tiles repeat it often.
    const bool packs = block == 1 || (block > 4 && !wide);
    blocks_ = CsrBlocks::choose(w_.rows_per_group() / block, w_.cols,
                                static_cast<int64_t>(w_.entries) / w_.groups / block, out->cols, !linear_, packs, pass);
    for (int64_t p = 0; p < w_.groups * w_.panels_per_group(); ++p) {
      largest_panel_ = std::max<int64_t>(largest_panel_, w_.panel_start[p + 1] - w_.panel_start[p]);
    }
  }
  // A narrower vector would need several passes over W for a tile.
  if (act_.code <= Act::kClamp && as_csr() && blocks_.packed && w_.block() == 1 && !few_) plan_lines();
  winograd_ = plan_winograd();
  *table_bytes += (offsets_.size() + copies_[0].size() + copies_[1].size()) * sizeof(int32_t) +
                  strips_.size() * sizeof(WinogradStrip);
  uint8_t* none = nullptr;
  Bump bump(none);
  Tile(w_, largest_panel_, blocks_, w_.product() ? dots_ : few_ ? out->cols : 0, &bump);
  if (winograd_) WinogradTile(*this, &bump);
  *scratch_size = std::max(*scratch_size, bump.used(none));
  return {};
}

bool MatmulOp::exact(const Node& x) const {
  if (staged_ && &x == in[0]) return true;
  // Sparse products read each row many times, and a load that straddles cache lines takes twice as long.
  if (as_csr()) return false;
  // Planes a multiple of 1 KB apart would meet in few sets of the cache.
  if (x.channels > 8 && x.cols % 256 == 0) return false;
  // Whole vectors, and a rest that the few-column products do: they read their columns one by one, and write no others.
  if (w_.product()) return x.cols % 16 == dot_columns(x.cols);
  return w_.structure == Weights::kPanels && x.cols % 16 <= kFewColumns;
}

int64_t MatmulOp::flops() const {
  const int64_t positions = out->elements() / w_.rows;
  // In double, since a sparse weight may declare any number of columns.
  const double flops =
      2.0 * static_cast<double>(w_.rows) * static_cast<double>(w_.cols) * static_cast<double>(positions);
  return static_cast<int64_t>(std::min(flops, 9e18));
}

const char* MatmulOp::kernel(const Kernels& k) const {
  if (winograd_) return k.winograd_input_f32_name;
  if (w_.structure == Weights::kPairs && few_) return k.pairs_f32_few_name;
  if (dot()) return w_.blocks() ? k.bcsr_f32_dot_name : k.csr_f32_dot_name;
  if (w_.blocks()) return few_ ? k.bcsr_f32_few_name : k.bcsr_f32_name;
  if (by_deltas()) return k.csr_deltas_f32_name;
  if (blocks_.rows) return k.csr_lines_f32_name;
  if (as_csr()) return few_ ? k.csr_f32_few_name : k.csr_f32_name;
  if (few_ && w_.packed) {
    switch (w_.packed_bits) {
      case 1: return k.gemm_binary_few_name;
      case 2: return k.gemm_ternary_few_name;
      case 4: return k.gemm_q4_few_name;
      default: return k.gemm_q8_few_name;
    }
  }
  if (by_codewords()) return dots_ == out->cols ? k.codeword_dot_f32_name : k.gemm_codewords_f32_name;
  if (few_) return w_.halves ? k.gemm_f16_few_name : k.gemm_f32_few_name;
  return k.gemm_f32_name;
}

void MatmulOp::run(const RunContext& ctx) {
  if (staged_) split_phases(ctx);
  if (winograd_) return run_winograd(ctx);
  const int64_t panels = w_.groups * w_.panels_per_group();
  const int64_t work = static_cast<int64_t>(w_.entries) * w_.codeword * out->cols + out->elements();
  ctx.parallel(work, [&](int part, int parts) {
    const int64_t cols = tiled_columns();
    Range range{0, panels, 0, cols};
    // Rows are split where every thread gets enough panels, since decoding is then done once; else columns are.
    // The order of a sparse sum depends on the tile a column lies in, so tiles are not cut.
    const bool csr = as_csr();
    const int64_t granule = csr ? blocks_.tile : 16;
    // Copying X costs more than decoding twice.
    const bool by_rows = (panels >= 4 * parts && !(csr && blocks_.packed)) || few_ || cols < 2 * granule * parts;
    if (by_rows) {
      range.panel = first_panel(part, parts, panels);
      range.panel_end = first_panel(part + 1, parts, panels);
    } else {
      range.col = std::min(round_up(cols * part / parts, granule), cols);
      range.col_end = std::min(round_up(cols * (part + 1) / parts, granule), cols);
    }
    if (range.panel >= range.panel_end || range.col >= range.col_end) return;
    if (out->mask && (by_rows || part == parts - 1)) clear_margins(range);
    if (w_.structure == Weights::kPairs && few_) run_pairs_few(ctx, part, range);
    else if (csr && (few_ || by_deltas())) run_csr_few(ctx, part, range);
    else if (csr) run_csr(ctx, part, range);
    else if (w_.packed && few_)
      w_.packed_bits < 4 ? run_ternary_few(ctx, part, range) : run_scaled_few(ctx, part, range);
    else if (by_codewords()) run_codewords(ctx, part, range);
    else run_panels(ctx, part, range);
  });
}

int64_t MatmulOp::first_panel(int64_t part, int64_t parts, int64_t panels) const {
  if (!w_.sparse()) return panels * part / parts;
  // By entries, plus a constant per panel for its rows of output.
  const uint64_t total = w_.panel_start[panels] + static_cast<uint64_t>(w_.rows) * 2;
  const uint64_t target = total * static_cast<uint64_t>(part) / static_cast<uint64_t>(parts);
  const uint64_t per_panel = static_cast<uint64_t>(w_.rows) * 2 / static_cast<uint64_t>(panels);
  int64_t low = 0, high = panels;
  while (low < high) {
    const int64_t mid = (low + high) / 2;
    if (w_.panel_start[mid] + per_panel * static_cast<uint64_t>(mid) < target) low = mid + 1;
    else high = mid;
  }
  return low;
}

Epilogue MatmulOp::epilogue(int64_t row, int64_t col) const {
  Epilogue e;
  e.act = act_;
  if (bias_) e.bias = bias_ + row;
  if (scale_) e.scale = scale_ + row;
  if (in.size() > 1) e.residual = in[1]->row(row) + col;
  if (out->mask) e.mask = out->mask + col / 8;
  return e;
}

void MatmulOp::decode_values(const RunContext& ctx, int64_t chunk, int64_t first, int64_t n, uint8_t* symbols,
                             float* values) const {
  if (w_.halves) {
    ctx.kernels->widen_f16({w_.halves + first, n, values});
  } else if (w_.index) {
    ctx.kernels->expand_index_f32(
        {w_.index, static_cast<uint64_t>(first), w_.index_bits, n, w_.book, w_.book_size, values});
  } else {
    w_.index_code.decode(*ctx.kernels, chunk, n, symbols);
    ctx.kernels->expand_index_f32({symbols, 0, 8, n, w_.book, w_.book_size, values});
  }
}

void MatmulOp::decode_block(const RunContext& ctx, int64_t panel, int64_t block, const Tile& tile,
                            float* values) const {
  const int64_t block_k = decoded_columns(), k0 = block * block_k, k = std::min(block_k, w_.cols - k0);
  if (w_.packed && w_.packed_bits < 4) return widen_ternary(ctx, panel, k0, k, values);
  if (w_.packed) return widen_scaled(ctx, panel, k0, k, values);
  const int64_t chunk = panel * ceil_div(w_.cols, block_k) + block, first = (panel * w_.cols + k0) * kPanel;
  if (w_.product()) return expand_codewords(ctx, chunk, first, k, tile, values);
  decode_values(ctx, chunk, first, k * kPanel, tile.symbols, values);
}

MatmulOp::XBlock MatmulOp::x_block() const {
  const int64_t half_l2 = cache_sizes().l2 / 2 / static_cast<int64_t>(sizeof(float));
  if (source_->channels / w_.groups * out->cols <= half_l2) return {true, out->cols};
  return {false, std::max<int64_t>(half_l2 / std::min(w_.cols, kBlockK) / 48 * 48, 48)};
}

void MatmulOp::run_panels(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, 0, &bump);
  if (w_.product()) widen_book(ctx, tile);
  const bool as_stored = w_.values || (few_ && w_.halves);  // the kernel reads the weights where they lie
  // Weights that are not decoded are best read from end to end, as long as X stays in L2 meanwhile.
  const XBlock x = x_block();
  const int64_t block_k = as_stored && (few_ || x.whole) ? w_.cols : decoded_columns();
  const GemmFn few = few_ && w_.halves ? ctx.kernels->gemm_f16_few : ctx.kernels->gemm_f32_few;
  const int64_t blocks = ceil_div(w_.cols, block_k);
  for (int64_t col = range.col; col < range.col_end; col += x.width) {
    const int64_t cols = std::min(x.width, range.col_end - col);
    // A vector of 16 columns costs 16 multiply-adds per panel and weight column, however few of them are used; the
    // `few` form costs one per column. So it takes all of a narrow product, and the narrow end of a wide one.
    const int64_t odd = cols % 16;
    const int64_t tail = few_ ? cols : col + cols == out->cols && odd <= kFewColumns ? odd : 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t k0 = b * block_k, k = std::min(block_k, w_.cols - k0);
      for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
        const int64_t row = w_.panel_row(panel), entry = (panel * w_.cols + k0) * kPanel;
        const void* values = w_.halves ? static_cast<const void*>(w_.halves + entry) : w_.values + entry;
        if (!as_stored) {
          decode_block(ctx, panel, b, tile, tile.values);
          values = tile.values;
        }
        const auto product = [&](GemmFn gemm, int64_t c, int64_t n) {
          if (n == 0) return;
          gemm({values, offsets_.data() + k0, static_cast<int>(k), group_x(panel) + c, out->row(row) + c, out->plane,
                static_cast<int>(w_.rows_of(panel)), static_cast<int>(n), b == 0, b == blocks - 1, epilogue(row, c)});
        };
        product(ctx.kernels->gemm_f32, col, cols - tail);
        product(few, col + cols - tail, tail);
      }
    }
  }
}

void MatmulOp::split_phases(const RunContext& ctx) const {
  const Node& x = *in[0];
  ctx.parallel(x.elements() * 2, [&](int part, int parts) {
    const int64_t planes = geometry_.phases();
    const int64_t end = x.channels * (part + 1) / parts;
    for (int64_t c = x.channels * part / parts; c < end; ++c) {
      source_->clear_margins(c * planes, (c + 1) * planes);
      for (int64_t p = 0; p < planes; ++p) {
        const int64_t h0 = geometry_.phase_row(p), w0 = geometry_.phase_col(p);
        const int64_t rows = ceil_div(x.height - h0, geometry_.sh), cols = ceil_div(x.width - w0, geometry_.sw);
        for (int64_t n = 0; n < x.images; ++n) {
          const auto copy = [&](int64_t first, int64_t end, int64_t held, int64_t width) {
            ctx.kernels->copy_rows_f32({x.row(c, n, h0 + first * geometry_.sh) + w0, x.pitch * geometry_.sh,
                                        static_cast<int>(geometry_.sw), static_cast<int>(held),
                                        source_->row(c * planes + p, n, first), source_->pitch,
                                        static_cast<int>(end - first), static_cast<int>(width)});
          };
          // Rows with the gap behind them; but behind the last one is the margin.
          const bool last = n + 1 == x.images;
          const int64_t full = last ? source_->height - 1 : source_->image / source_->pitch;
          const int64_t filled = std::min(std::max<int64_t>(rows, 0), full);
          copy(0, filled, cols, source_->pitch);
          copy(filled, full, 0, source_->pitch);
          if (last) copy(full, full + 1, rows > full ? cols : 0, source_->width);
        }
      }
    }
  });
}

std::unique_ptr<Op> make_matmul(const OpSpec& spec) {
  // One channel per group and a row per output channel is not a product of matrices.
  if (spec.weights[0]->structure == Weights::kRows) return make_depthwise(spec);
  return std::make_unique<MatmulOp>(spec);
}

}  // namespace pyrt
