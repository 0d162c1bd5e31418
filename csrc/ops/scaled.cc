// Weights of 8 or 4 bits that share scales (q8, q4). Few columns are multiplied by them as they lie; for many, panels
// are widened to f32 first, as all encodings are.
#include "ops/matmul.h"

namespace pyrt {
namespace {

const void* panel_scales(const Weights& w, int64_t panel) {
  const int64_t at = panel * w.scale_groups() * kPanel;
  if (w.half_scales) return static_cast<const uint16_t*>(w.scales) + at;
  return static_cast<const float*>(w.scales) + at;
}

const uint8_t* panel_integers(const Weights& w, int64_t panel) {
  return w.packed + panel * w.packed_cols() * kPanel * w.packed_bits / 8;
}

}  // namespace

void MatmulOp::widen_scaled(const RunContext& ctx, int64_t panel, int64_t k0, int64_t k, float* out) const {
  const WidenScaledFn widen = w_.packed_bits == 8 ? ctx.kernels->widen_q8 : ctx.kernels->widen_q4;
  const int64_t n = round_up(k, 32 / w_.packed_bits);
  widen({panel_integers(w_, panel) + k0 * kPanel * w_.packed_bits / 8, panel_scales(w_, panel), w_.half_scales,
         static_cast<int>(w_.scale_columns), k0, static_cast<int>(n), out});
}

// The columns of X one behind the other; for q4, each element divided by the power of two that its field of a word is a
// multiple of, and of each group of elements their sum times what fields have too much.
void MatmulOp::prepare_scaled(const float* x, const Tile& tile) const {
  const bool q4 = w_.packed_bits == 4;
  const int64_t padded = w_.packed_cols(), groups = w_.scale_groups();
  const float factors[4] = {1.0f, q4 ? 0x1p-4f : 1.0f, q4 ? 0x1p-8f : 1.0f, q4 ? 0x1p-12f : 1.0f};
  for (int64_t c = 0; c < out->cols; ++c) {
    float* to = tile.values + c * padded;
    for (int64_t g = 0, k = 0; g < groups; ++g) {
      float sums[4] = {};
      for (const int64_t end = std::min(k + w_.scale_columns, w_.cols); k < end; ++k) {
        const float v = x[offsets_[static_cast<size_t>(k)] + c];
        sums[k % 4] += v;
        to[k] = v * factors[k % 4];
      }
      tile.sums[c * groups + g] = 8.0f * ((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    std::fill(to + w_.cols, to + padded, 0.0f);
  }
}

void MatmulOp::run_scaled_few(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, out->cols, &bump);
  const ScaledFn gemm = w_.packed_bits == 8 ? ctx.kernels->gemm_q8_few : ctx.kernels->gemm_q4_few;
  const float* prepared = nullptr;
  for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
    const float* x = group_x(panel);
    if (x != prepared) prepare_scaled(x, tile), prepared = x;
    const int64_t row = w_.panel_row(panel);
    gemm({{panel_integers(w_, panel), nullptr, static_cast<int>(w_.packed_cols()), tile.values, out->row(row),
           out->plane, static_cast<int>(w_.rows_of(panel)), static_cast<int>(out->cols), true, true, epilogue(row, 0)},
          panel_scales(w_, panel),
          w_.half_scales,
          static_cast<int>(w_.scale_columns),
          tile.sums,
          static_cast<int>(w_.scale_groups())});
  }
}

}  // namespace pyrt
