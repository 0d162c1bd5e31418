// Dense 3x3 convolutions of stride 1 by Winograd's algorithm F(4x4, 3x3) (Lavin and Gray, 2016): tiles of 4x4 outputs
// from 36 products per channel instead of 144. Weights are transformed a panel at a time on their way into the
// product, so that the file keeps the plain ones and nothing is held twice.
#include "kernels/winograd/winograd.h"

#include "ops/matmul.h"

namespace pyrt {
namespace {

constexpr int64_t kChannels = 64;  // of weights transformed at a time: 36 x 64 x 16 floats, a part of L2
constexpr int64_t kGroups = 3;     // groups of tiles at a time: 48 columns of products, the width of the widest tile
constexpr int64_t kElements = kWinogradProducts;
constexpr int64_t kPad = 16;  // an odd number of cache lines between elements, so that they meet different sets
constexpr int64_t kPitch = kGroups * kWinogradStrip;

}  // namespace

MatmulOp::WinogradTile::WinogradTile(const MatmulOp& op, Bump* bump) {
  const int64_t channels = op.source_->channels;
  u_stride = channels * kPitch + kPad;
  u = bump->take<float>(kElements * u_stride);
  weights = bump->take<float>(kElements * (kChannels * kPanel + kPad));
  products = bump->take<float>(kElements * (kPanel * kPitch + kPad));
  if (!op.w_.values) panel = bump->take<float>(round_up(op.w_.cols, 32) * kPanel);
}

bool MatmulOp::plan_winograd() {
  const bool fits = conv_ && geometry_.kh == 3 && geometry_.kw == 3 && !geometry_.strided() && geometry_.dh == 1 &&
                    geometry_.dw == 1 && w_.groups == 1 && w_.structure == Weights::kPanels;
  if (!fits || few_) return false;
  const int64_t height = out->height, width = out->width, channels = source_->channels;
  const int64_t strips = out->images * ceil_div(height, kWinogradTile) * ceil_div(width, kWinogradStrip);
  winograd_groups_ = ceil_div(strips, 4);
  // In vector instructions for each input channel: the products, and what the transforms cost beside them.
  const double rows = static_cast<double>(w_.rows), groups = static_cast<double>(winograd_groups_);
  const double direct = 9 * rows * static_cast<double>(ceil_div(out->cols, 16));
  const double per_group = 36 * rows + 330 + 400 * rows / static_cast<double>(channels);
  const double weights = 160.0 * static_cast<double>(ceil_div(w_.rows, kPanel) * ceil_div(winograd_groups_, kGroups));
  if (groups * per_group + weights > 0.9 * direct) return false;

  strips_.clear();
  for (int64_t n = 0; n < out->images; ++n) {
    for (int64_t h = 0; h < height; h += kWinogradTile) {
      for (int64_t w = 0; w < width; w += kWinogradStrip) {
        WinogradStrip s;
        s.x = static_cast<int32_t>(n * source_->image + (h - geometry_.pad.top) * source_->pitch + w -
                                   geometry_.pad.left);
        s.y = static_cast<int32_t>(n * out->image + h * out->pitch + w);
        s.in_rows = static_cast<int16_t>(std::min<int64_t>(kWinogradIn, height + 2 - h));
        s.in_cols = static_cast<int16_t>(std::min<int64_t>(kWinogradStrip + 2, width + 2 - w));
        s.out_rows = static_cast<int16_t>(std::min<int64_t>(kWinogradTile, height - h));
        s.out_cols = static_cast<int16_t>(std::min<int64_t>(kWinogradStrip, width - w));
        s.gap = out->mask && w + kWinogradStrip >= width ? static_cast<int32_t>(out->pitch - width) : 0;
        strips_.push_back(s);
      }
    }
  }
  strips_.resize(static_cast<size_t>(winograd_groups_ * 4));
  offsets_.clear();
  for (int64_t c = 0; c < kChannels; ++c) offsets_.push_back(static_cast<int32_t>(c * kPitch));
  return true;
}

void MatmulOp::run_winograd(const RunContext& ctx) const {
  ctx.parallel(w_.rows * source_->channels * winograd_groups_ * 16 * kElements, [&](int part, int parts) {
    const int64_t panels = w_.panels_per_group();
    Range range{0, panels, 0, winograd_groups_};
    // By tiles, whose transforms are then done once; by rows where the tiles do not divide well.
    if (winograd_groups_ % parts == 0 || winograd_groups_ >= 4 * parts) {
      range.col = winograd_groups_ * part / parts;
      range.col_end = winograd_groups_ * (part + 1) / parts;
    } else {
      range.panel = panels * part / parts;
      range.panel_end = panels * (part + 1) / parts;
    }
    if (out->mask) out->clear_around(w_.rows * part / parts, w_.rows * (part + 1) / parts);
    winograd_part(ctx, part, range);
  });
}

void MatmulOp::winograd_part(const RunContext& ctx, int part, const Range& range) const {
  Bump bump(ctx.thread_scratch(part));
  const Tile tile(w_, largest_panel_, blocks_, dots_, &bump);
  const WinogradTile wino(*this, &bump);
  const int64_t channels = source_->channels, block_k = decoded_columns();
  const int64_t blocks = ceil_div(w_.cols, block_k);
  if (w_.product()) widen_book(ctx, tile);
  const int64_t w_stride = kChannels * kPanel + kPad, m_stride = kPanel * kPitch + kPad;
  const int64_t passes = ceil_div(range.col_end - range.col, kGroups);
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t group = range.col + (range.col_end - range.col) * pass / passes;
    const int groups = static_cast<int>(range.col + (range.col_end - range.col) * (pass + 1) / passes - group);
    const WinogradStrip* strips = strips_.data() + group * 4;
    for (int64_t c = 0; c < channels; ++c) {
      ctx.kernels->winograd_input_f32(
          {source_->row(c), source_->pitch, strips, groups, wino.u + c * kPitch, wino.u_stride});
    }
    for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
      const int64_t row = w_.panel_row(panel);
      const int rows = static_cast<int>(w_.rows_of(panel));
      const float* w = w_.values + panel * w_.cols * kPanel;
      if (!w_.values) {
        for (int64_t b = 0; b < blocks; ++b) {
          decode_block(ctx, panel, b, tile, wino.panel + b * block_k * kPanel);
        }
        w = wino.panel;
      }
      for (int64_t c = 0; c < channels; c += kChannels) {
        const int k = static_cast<int>(std::min(kChannels, channels - c));
        ctx.kernels->winograd_weights_f32({w + c * 9 * kPanel, k, wino.weights, w_stride});
        for (int64_t e = 0; e < kElements; ++e) {
          ctx.kernels->gemm_f32({wino.weights + e * w_stride,
                                 offsets_.data(),
                                 k,
                                 wino.u + e * wino.u_stride + c * kPitch,
                                 wino.products + e * m_stride,
                                 kPitch,
                                 rows,
                                 groups * kWinogradStrip,
                                 c == 0,
                                 false,
                                 {}});
        }
      }
      Epilogue finish = epilogue(row, 0);
      finish.mask = nullptr;  // strips know their gaps
      ctx.kernels->winograd_output_f32(
          {wino.products, m_stride, kPitch, rows, strips, groups, out->row(row), out->plane, out->pitch, finish});
    }
  }
}

}  // namespace pyrt
