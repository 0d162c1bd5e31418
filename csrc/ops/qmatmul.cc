// qlinear, qconv2d and qlinear_dynamic: Y = W X on columns of four channels, u8 x s8, with exact sums.
#include <cmath>
#include <cstring>

#include "ops/conv.h"

namespace pyrt {
namespace {

class QMatmulOp : public WeightedOp {
 public:
  explicit QMatmulOp(const OpSpec& spec) : WeightedOp(spec, 4) {
    Attrs attrs(spec);
    dynamic_ = spec.kind == OpKind::kQLinearDynamic;
    if (dynamic_) {
      act_ = attrs.act();
      return;
    }
    residual_scale_ = attrs.f32();
    low_ = attrs.i32(), high_ = attrs.i32();
    conv_ = spec.kind == OpKind::kQConv2d;
    if (conv_) geometry_.read(&attrs);
  }

  void constrain(Layout* layout) override {
    source_ = in[0];
    if (dynamic_) {
      // The input rounded column by column; and of each column the scale, then its reciprocal.
      source_ = layout->scratch();
      source_->u8 = true;
      source_->zero = kMiddle;
      source_->set_shape(in[0]->rank, in[0]->dims, in[0]->axis);
      columns_ = layout->scratch();
      const int64_t dims[2] = {in[0]->width, 2};
      columns_->set_shape(2, dims, 1);
      layout->share_grid(columns_, out);
      layout->share_grid(in[0], out);
    }
    if (geometry_.strided()) source_ = geometry_.phases_of(*in[0], layout);
    if (conv_) source_->halo.widen(geometry_.halo(source_->height, source_->width, *out));
    layout->share_grid(source_, out);
    if (in.size() > 1) layout->share_grid(in[1], out);
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    if (source_->planes() * source_->plane > INT32_MAX) return error("its input is too large; use a smaller batch");
    few_ = out->cols <= kFewColumns;
    dots_ = w_.structure == Weights::kCsr && out->cols <= kDotColumns;
    const int64_t taps = geometry_.taps();
    geometry_.offsets(*source_, depthwise() ? 1 : w_.cols / 4 / taps, &offsets_);
    if (depthwise()) offsets_.resize(static_cast<size_t>(round_up(taps, 4)), offsets_.back());
    *table_bytes += offsets_.size() * sizeof(int32_t);
    if (!depthwise()) *scratch_size = std::max(*scratch_size, w_.s8_scratch());
    return {};
  }

  int64_t flops() const override {
    // Every parameter is used once per position; linear and conv have no others.
    const double flops = 2.0 * static_cast<double>(w_.parameters) * static_cast<double>(out->elements() / w_.rows);
    return static_cast<int64_t>(std::min(flops, 9e18));
  }
  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }
  const char* kernel(const Kernels& k) const override {
    if (depthwise()) return k.qdepthwise_u8_name;
    if (dots_) return k.qcsr_dot_u8_name;
    if (few_) return w_.nibbles ? k.qgemm_u8s4_few_name : k.qgemm_u8_few_name;
    return k.qgemm_u8_name;
  }

  void run(const RunContext& ctx) override {
    if (geometry_.strided()) geometry_.split_columns(ctx, *in[0], *source_);
    if (dynamic_) round_columns(ctx);
    if (depthwise()) return run_depthwise(ctx);
    const int64_t panels = w_.groups * w_.panels_per_group();
    // An exact product takes about a quarter of the time of a float one.
    const int64_t work = w_.rows * w_.cols / 4 * out->cols + out->elements();
    ctx.parallel(work, [&](int part, int parts) {
      int64_t panel = 0, panel_end = panels, col = 0, col_end = out->cols;
      const bool by_rows = panels >= 4 * parts || few_ || out->cols < 32 * parts;
      if (by_rows) {
        panel = panels * part / parts;
        panel_end = panels * (part + 1) / parts;
      } else {
        col = std::min(round_up(out->cols * part / parts, 16), out->cols);
        col_end = std::min(round_up(out->cols * (part + 1) / parts, 16), out->cols);
      }
      if (panel >= panel_end || col >= col_end) return;
      if (out->mask && (by_rows || part == parts - 1)) {
        const int64_t end = w_.panel_row(panel_end - 1) + w_.rows_of(panel_end - 1);
        out->clear_margins(plane_of(w_.panel_row(panel)), out->u8 ? ceil_div(end, 4) : end);
      }
      if (dots_) run_dots(ctx, part, panel, panel_end);
      else run_panels(ctx, part, panel, panel_end, col, col_end);
      if (act_.code != Act::kNone)
        activate(ctx, w_.panel_row(panel), w_.panel_row(panel_end - 1) + w_.rows_of(panel_end - 1), col, col_end);
    });
  }

 private:
  bool depthwise() const { return w_.structure == Weights::kRows; }
  int64_t plane_of(int64_t row) const { return out->u8 ? row / 4 : row; }

  QuantEpilogue epilogue(int64_t row, int64_t col) const {
    QuantEpilogue e{};
    e.shift = spec().weights[1]->ints + row;
    e.scale = spec().weights[2]->values + row;
    e.bias = spec().weights[3]->values + row;
    if (in.size() > 1) {
      e.residual = in[1]->bytes(row / 4) + 4 * col;
      e.residual_scale = residual_scale_;
      e.residual_zero = in[1]->zero;
    }
    if (dynamic_) e.columns = columns_->row(0) + col;
    e.zero = out->zero;
    e.low = low_;
    e.high = high_;
    if (out->mask) e.mask = out->mask + col / 8;
    return e;
  }

  void run_panels(const RunContext& ctx, int part, int64_t panel_begin, int64_t panel_end, int64_t col,
                  int64_t col_end) const {
    const int64_t k = w_.cols / 4, per_group = source_->planes() / w_.groups;
    // A block of X stays in half of L2 while all panels pass over it.
    const int64_t fit = cache_sizes().l2 / 2 / (4 * per_group) / 48 * 48;
    const int64_t width = std::max<int64_t>(fit, 48);
    for (; col < col_end; col += width) {
      const int64_t cols = std::min(width, col_end - col);
      // As in matmul.cc: the `few` form takes a narrow product, and the narrow end of a wide one.
      const int64_t odd = cols % 16;
      const int64_t tail = few_ ? cols : col + cols == out->cols && odd <= kFewColumns ? odd : 0;
      for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
        const int64_t row = w_.panel_row(panel);
        const float* x = source_->row(panel / w_.panels_per_group() * per_group);
        // Few columns are multiplied by nibbles as they lie, all else by a panel of bytes.
        const uint8_t* nibbles = w_.nibbles ? w_.nibbles + panel * ceil_div(w_.cols, 8) * 64 : nullptr;
        const int8_t* bytes = nullptr;
        if (!nibbles || cols > tail) bytes = w_.s8_panel(*ctx.kernels, panel, ctx.thread_scratch(part));
        const Fit* fits = nibbles ? nullptr : w_.fits.data() + panel * w_.fits_per_panel();  // four of -8..7 always do
        const auto product = [&](QGemmFn gemm, const void* w, int64_t c, int64_t n) {
          if (n == 0) return;
          gemm({w, offsets_.data(), static_cast<int>(k), fits, reinterpret_cast<const uint8_t*>(x + c),
                out->row(plane_of(row)) + c, !out->u8, out->plane, static_cast<int>(w_.rows_of(panel)),
                static_cast<int>(n), epilogue(row, c)});
        };
        product(ctx.kernels->qgemm_u8, bytes, col, cols - tail);
        if (nibbles) product(ctx.kernels->qgemm_u8s4_few, nibbles, col + cols - tail, tail);
        else product(ctx.kernels->qgemm_u8_few, bytes, col + cols - tail, tail);
      }
    }
  }

  // Sparse weights entry by entry: a dense panel costs more to make than three columns of such sums.
  void run_dots(const RunContext& ctx, int part, int64_t panel_begin, int64_t panel_end) const {
    const int64_t per_group = source_->planes() / w_.groups, stride = w_.cols + 1;
    uint8_t* scratch = ctx.thread_scratch(part);
    auto* words = reinterpret_cast<uint16_t*>(scratch);  // less than the panel whose place they take
    for (int64_t panel = panel_begin, group = -1; panel < panel_end; ++panel) {
      if (panel / w_.panels_per_group() != group) {
        group = panel / w_.panels_per_group();
        for (int64_t c = 0; c < out->cols; ++c)
          widen_column(source_->bytes(group * per_group) + 4 * c, words + c * stride);
      }
      uint32_t counts[kPanel];
      const int64_t row = w_.panel_row(panel);
      ctx.kernels->qcsr_dot_u8({w_.csr_s8(*ctx.kernels, panel, counts, scratch), words, stride, out->row(plane_of(row)),
                                !out->u8, out->plane, static_cast<int>(out->cols), epilogue(row, 0)});
    }
  }

  void widen_column(const uint8_t* x, uint16_t* words) const {
    for (int64_t k = 0; k < w_.cols; k += 4) {
      uint8_t four[4];
      std::memcpy(four, x + 4 * static_cast<ptrdiff_t>(offsets_[static_cast<size_t>(k / 4)]), 4);
      for (int i = 0; i < 4; ++i) words[k + i] = four[i];
    }
    words[w_.cols] = 0;
  }

  // Symmetric per column: the largest magnitude becomes 127 steps from the middle.
  void round_columns(const RunContext& ctx) const {
    const Node& x = *in[0];
    float *scales = columns_->row(0), *inverses = columns_->row(1);
    std::fill(scales, scales + x.cols, 1e-5f);
    for (int64_t c = 0; c < x.channels; ++c) {
      const float* row = x.row(c);
      for (int64_t i = 0; i < x.cols; ++i) scales[i] = std::max(scales[i], std::abs(row[i]));  // keeps no NaN
    }
    for (int64_t i = 0; i < x.cols; ++i) {
      scales[i] = std::min(scales[i], kLargest) / 127.0f;
      inverses[i] = 1.0f / scales[i];
    }
    ctx.parallel(x.elements() * 2, [&](int part, int parts) {
      const int64_t planes = source_->planes(), end = planes * (part + 1) / parts;
      for (int64_t p = planes * part / parts; p < end; ++p) {
        ctx.kernels->quantize_u8({x.row(4 * p), x.plane, static_cast<int>(std::min<int64_t>(4, x.channels - 4 * p)),
                                  source_->bytes(p), x.cols, inverses, 1, kMiddle, 1, 255, nullptr});
      }
    });
  }

  void activate(const RunContext& ctx, int64_t row, int64_t row_end, int64_t col, int64_t col_end) const {
    for (; row < row_end; ++row) {
      float* y = out->row(row) + col;
      const uint8_t* mask = out->mask ? out->mask + col / 8 : nullptr;
      ctx.kernels->affine_f32({y, y, col_end - col, 1.0f, 0.0f, act_, mask});
    }
  }

  void run_depthwise(const RunContext& ctx) const {
    ctx.parallel(w_.rows * w_.cols * out->cols / 4, [&](int part, int parts) {
      const int64_t planes = out->planes(), taps = geometry_.taps();
      const int64_t phases = geometry_.strided() ? geometry_.phases() : 1;
      const int64_t end = planes * (part + 1) / parts;
      for (int64_t p = planes * part / parts; p < end; ++p) {
        if (out->mask) out->clear_margins(p, p + 1);
        ctx.kernels->qdepthwise_u8(
            {w_.int8s + p * round_up(taps, 4) * 4, offsets_.data(), static_cast<int>(taps),
             w_.row_fits[static_cast<size_t>(p)] != 0, static_cast<int>(std::min<int64_t>(4, out->channels - 4 * p)),
             source_->bytes(p * phases), out->bytes(p), static_cast<int>(out->cols), epilogue(4 * p, 0)});
      }
    });
  }

  static constexpr uint8_t kMiddle = 128;
  static constexpr int64_t kDotColumns = 3;
  static constexpr float kLargest = 0x1p100f;

  float residual_scale_ = 0.0f;
  int low_ = 0, high_ = 255;
  bool few_ = false, dots_ = false, dynamic_ = false;
  Activation act_;
  Node* source_ = nullptr;   // the input, its phases, or what it is rounded to
  Node* columns_ = nullptr;  // dynamic: scales of its columns
  std::vector<int32_t> offsets_;
};

}  // namespace

std::unique_ptr<Op> make_qmatmul(const OpSpec& spec) { return std::make_unique<QMatmulOp>(spec); }

}  // namespace pyrt
