// Depthwise conv2d, plane by plane. Its padding is a table of row pointers and masked columns, so that no other op has
// to leave room for it, and a stride is taken as the rows are loaded.
#include <algorithm>
#include <cstring>

#include "ops/conv.h"
#include "ops/op.h"

namespace pyrt {
namespace {

constexpr int64_t kMaxTaps = 1024;

class DepthwiseOp : public WeightedOp {
 public:
  explicit DepthwiseOp(const OpSpec& spec) : WeightedOp(spec, 1) {
    Attrs attrs(spec);
    act_ = attrs.act();
    bias_ = spec.weights.size() > 1 ? spec.weights[1]->values : nullptr;
    scale_ = spec.weights.size() > 2 ? spec.weights[2]->values : nullptr;
    conv_ = true;
    geometry_.read(&attrs);
  }

  void constrain(Layout* layout) override {
    if (in.size() > 1) layout->share_grid(in[1], out);
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    const bool dense = geometry_.kh == geometry_.kw && geometry_.dh == 1 && geometry_.dw == 1;
    pruned_ = has_zeros();
    square_ = dense ? static_cast<int>(geometry_.kh) : 0;
    tap_row_.clear();
    tap_col_.clear();
    for (int64_t i = 0; i < geometry_.kh; ++i) {
      for (int64_t j = 0; j < geometry_.kw; ++j) {
        tap_row_.push_back(static_cast<int32_t>(i * geometry_.dh));
        tap_col_.push_back(static_cast<int32_t>(j * geometry_.dw - geometry_.pad.left));
      }
    }
    rows_read_ = (out->height - 1) * geometry_.sh + (geometry_.kh - 1) * geometry_.dh + 1;
    *table_bytes += 2 * tap_row_.size() * sizeof(int32_t);
    *scratch_size = std::max(*scratch_size, zeros_bytes() + static_cast<size_t>(rows_read_) * sizeof(float*));
    return {};
  }

  bool exact(const Node&) const override { return true; }

  int64_t flops() const override { return 2 * geometry_.taps() * out->elements(); }
  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }
  const char* kernel(const Kernels& k) const override { return k.depthwise_f32_name; }

  void run(const RunContext& ctx) override {
    ctx.parallel((geometry_.taps() + 4) * out->elements(), [&](int part, int parts) {
      uint8_t* scratch = ctx.thread_scratch(part);
      float* zeros = reinterpret_cast<float*>(scratch);
      const float** rows = reinterpret_cast<const float**>(scratch + zeros_bytes());
      std::memset(zeros, 0, zeros_bytes());
      std::fill(rows, rows + rows_read_, zeros);
      run_channels(ctx, w_.groups * part / parts, w_.groups * (part + 1) / parts, rows);
    });
  }

 private:
  size_t zeros_bytes() const { return static_cast<size_t>(round_up(in[0]->width * 4, 64)); }

  // Small planes take as long as their arguments, so these are filled in once.
  void run_channels(const RunContext& ctx, int64_t begin, int64_t end, const float** rows) const {
    const Node& x = *in[0];
    const int64_t multiplier = w_.rows_per_group(), top = geometry_.pad.top, pitch = x.pitch;
    const int64_t inside = std::min(x.height, rows_read_ - top);
    Epilogue e;
    e.act = act_;
    DepthwiseArgs args{nullptr,
                       tap_row_.data(),
                       tap_col_.data(),
                       static_cast<int>(geometry_.taps()),
                       square_,
                       rows,
                       static_cast<int>(x.width),
                       static_cast<int>(geometry_.sh),
                       static_cast<int>(geometry_.sw),
                       nullptr,
                       out->pitch,
                       static_cast<int>(out->height),
                       static_cast<int>(out->width),
                       e};
    float decoded[kMaxTaps];
    for (int64_t c = begin; c < end; ++c) {
      if (out->mask) out->clear(c * multiplier, (c + 1) * multiplier);
      for (int64_t n = 0; n < x.images; ++n) {
        const float* first = x.row(c, n, 0);
        for (int64_t h = 0; h < inside; ++h) rows[top + h] = first + h * pitch;
        for (int64_t row = c * multiplier; row < (c + 1) * multiplier; ++row) {
          args.w = taps_of(ctx, row, decoded);
          args.y = out->row(row, n, 0);
          if (bias_) args.epilogue.bias = bias_ + row;
          if (scale_) args.epilogue.scale = scale_ + row;
          if (in.size() > 1) args.epilogue.residual = in[1]->row(row, n, 0);
          if (pruned_) run_pruned(ctx, args);
          else ctx.kernels->depthwise_f32(args);
        }
      }
    }
  }

  // The weights of an output channel, where they lie or decoded.
  const float* taps_of(const RunContext& ctx, int64_t row, float* decoded) const {
    const int64_t taps = geometry_.taps(), first = row * taps;
    if (w_.values) return w_.values + first;
    if (w_.halves) {
      ctx.kernels->widen_f16({w_.halves + first, taps, decoded});
    } else {
      ctx.kernels->expand_index_f32(
          {w_.index, static_cast<uint64_t>(first), w_.index_bits, taps, w_.book, w_.book_size, decoded});
    }
    return decoded;
  }

  // Zero taps are skipped, unless so few that the square, which shares its loads, is still faster.
  void run_pruned(const RunContext& ctx, DepthwiseArgs args) const {
    int32_t tap_row[kMaxTaps], tap_col[kMaxTaps];
    float kept[kMaxTaps];
    int count = 0;
    for (int t = 0; t < args.taps; ++t) {
      if (args.w[t] == 0.0f) continue;
      tap_row[count] = args.tap_row[t];
      tap_col[count] = args.tap_col[t];
      kept[count++] = args.w[t];
    }
    if (!square_ || 2 * count <= args.taps) {
      args.w = kept;
      args.tap_row = tap_row;
      args.tap_col = tap_col;
      args.taps = count;
      args.square = 0;
    }
    ctx.kernels->depthwise_f32(args);
  }

  bool has_zeros() const {
    const int64_t n = w_.rows * w_.cols;
    if (w_.values) return std::find(w_.values, w_.values + n, 0.0f) != w_.values + n;
    if (w_.halves) return std::any_of(w_.halves, w_.halves + n, [](uint16_t h) { return (h & 0x7fff) == 0; });
    return std::find(w_.book, w_.book + w_.book_size, 0.0f) != w_.book + w_.book_size;
  }

  Activation act_;
  const float *bias_ = nullptr, *scale_ = nullptr;

  int square_ = 0;
  bool pruned_ = false;
  int64_t rows_read_ = 0;  // rows of the padded input, up to the last one read
  std::vector<int32_t> tap_row_, tap_col_;
};

}  // namespace

std::unique_ptr<Op> make_depthwise(const OpSpec& spec) { return std::make_unique<DepthwiseOp>(spec); }

}  // namespace pyrt
