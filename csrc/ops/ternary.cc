// Weights of two or three values a row (binary, ternary). Few columns are multiplied by their bits, by tables of sums
// of X; for many, panels are widened to f32 first, as all encodings are.
#include "ops/matmul.h"

namespace pyrt {
namespace {

const uint32_t* panel_words(const Weights& w, int64_t panel) {
  return reinterpret_cast<const uint32_t*>(w.packed) + panel * w.packed_cols() / 32 * w.packed_bits * kPanel;
}

const float* panel_scales(const Weights& w, int64_t panel) {
  return static_cast<const float*>(w.scales) + panel * w.packed_bits * kPanel;
}

}  // namespace

void MatmulOp::widen_ternary(const RunContext& ctx, int64_t panel, int64_t k0, int64_t k, float* out) const {
  const WidenTernaryFn widen = w_.packed_bits == 1 ? ctx.kernels->widen_binary : ctx.kernels->widen_ternary;
  const uint32_t* words = panel_words(w_, panel) + k0 / 32 * w_.packed_bits * kPanel;
  widen({words, panel_scales(w_, panel), static_cast<int>(round_up(k, 32)), out});
}

void MatmulOp::run_ternary_few(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, out->cols, &bump);
  const TernaryFn gemm = w_.packed_bits == 1 ? ctx.kernels->gemm_binary_few : ctx.kernels->gemm_ternary_few;
  const int64_t padded = w_.packed_cols(), per_group = w_.panels_per_group();
  for (int64_t panel = range.panel, end; panel < range.panel_end; panel = end) {
    end = std::min(range.panel_end, (panel / per_group + 1) * per_group);  // of the group
    const float* x = group_x(panel);
    for (int64_t c = 0; c < out->cols; ++c) {
      float* to = tile.values + c * padded;
      for (int64_t k = 0; k < w_.cols; ++k) to[k] = x[offsets_[static_cast<size_t>(k)] + c];
      std::fill(to + w_.cols, to + padded, 0.0f);
    }
    const int64_t row = w_.panel_row(panel), rows = w_.panel_row(end - 1) + w_.rows_of(end - 1) - row;
    gemm({{panel_words(w_, panel), nullptr, static_cast<int>(padded), tile.values, out->row(row), out->plane,
           static_cast<int>(rows), static_cast<int>(out->cols), true, true, epilogue(row, 0)},
          panel_scales(w_, panel),
          tile.tables});
  }
}

}  // namespace pyrt
