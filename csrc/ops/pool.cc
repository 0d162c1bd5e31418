// pool2d and adaptive_pool2d, max and average.
#include <cmath>
#include <limits>

#include "ops/pool_window.h"

namespace pyrt {
namespace {

constexpr int kMaxWindowRows = 256;
constexpr int64_t kBuffer = 2048;  // columns of an image reduced at a time

// [begin, end) of the input that output i covers, inside the image.
struct Window {
  int64_t begin, end;
};

class PoolOp : public Op {
 public:
  explicit PoolOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    max_ = attrs.u32() == 0;
    adaptive_ = spec.kind == OpKind::kAdaptivePool2d;
    if (adaptive_) {
      size_h_ = attrs.i32(), size_w_ = attrs.i32();
      return;
    }
    window_.read(&attrs);
    count_pad_ = attrs.u32() != 0;
    divisor_ = attrs.i32();
  }

  Status infer() override {
    const Node& x = *in[0];
    int64_t dims[4] = {x.dims[0], x.dims[1], size_h_ ? size_h_ : x.height, size_w_ ? size_w_ : x.width};
    if (!adaptive_) {
      const std::string wrong = window_.infer(x, &dims[2], &dims[3]);
      if (!wrong.empty()) return error(wrong);
    }
    set_out(4, dims);
    return {};
  }

  Status prepare(size_t*, size_t* scratch_size) override {
    if (adaptive_) return {};
    rows_read_ = (out->height - 1) * window_.sh + (window_.kh - 1) * window_.dh + 1;
    *scratch_size = std::max(*scratch_size, outside_bytes() + static_cast<size_t>(rows_read_) * sizeof(float*));
    return {};
  }

  bool exact(const Node&) const override { return true; }

  void run(const RunContext& ctx) override {
    const Node& x = *in[0];
    const int64_t window =
        adaptive_ ? ceil_div(x.height, out->height) * ceil_div(x.width, out->width) : window_.kh * window_.kw;
    ctx.parallel(out->elements() * window, [&](int part, int parts) {
      const float** rows = nullptr;
      if (!adaptive_) {
        uint8_t* scratch = ctx.thread_scratch(part);
        float* outside = reinterpret_cast<float*>(scratch);
        std::fill(outside, outside + x.width, neutral());
        rows = reinterpret_cast<const float**>(scratch + outside_bytes());
        std::fill(rows, rows + rows_read_, outside);
      }
      const int64_t end = x.channels * (part + 1) / parts;
      for (int64_t c = x.channels * part / parts; c < end; ++c) {
        if (out->mask) out->clear(c, c + 1);
        for (int64_t n = 0; n < x.images; ++n) {
          if (!adaptive_) pool_plane(ctx, c, n, rows);
          else if (global_mean()) out->row(c, n, 0)[0] = sum_image(ctx, c, n) / static_cast<float>(x.height * x.width);
          else pool_adaptive(ctx, c, n);
        }
      }
    });
  }

 private:
  float neutral() const { return max_ ? -std::numeric_limits<float>::infinity() : 0.0f; }

  bool global_mean() const { return adaptive_ && !max_ && out->height == 1 && out->width == 1; }

  float sum_image(const RunContext& ctx, int64_t c, int64_t n) const {
    const Node& x = *in[0];
    float sum;
    ctx.kernels->sum_f32({x.row(c, n, 0), x.pitch, x.height, x.width, &sum});
    return sum;
  }

  size_t outside_bytes() const { return static_cast<size_t>(round_up(in[0]->width * 4, 64)); }

  // Windows of one size and stride.
  void pool_plane(const RunContext& ctx, int64_t c, int64_t n, const float** rows) const {
    const Node& x = *in[0];
    const int64_t inside = std::min(x.height, rows_read_ - window_.ph);
    for (int64_t h = 0; h < inside; ++h) rows[window_.ph + h] = x.row(c, n, h);
    ctx.kernels->pool_f32({rows, static_cast<int>(x.width), static_cast<int>(window_.kh), static_cast<int>(window_.kw),
                           static_cast<int>(window_.sh), static_cast<int>(window_.sw), static_cast<int>(window_.dh),
                           static_cast<int>(window_.dw), static_cast<int>(-window_.pw), out->row(c, n, 0), out->pitch,
                           static_cast<int>(out->height), static_cast<int>(out->width), max_});
    if (max_) return;
    // Windows within the row share a divisor; those that reach past its ends have their own.
    const bool same = (divisor_ != 0) || (window_.ph == 0 && window_.pw == 0 && !window_.ceil_mode);
    const int64_t left = same ? 0 : std::min(ceil_div(window_.pw, window_.sw), out->width);
    const int64_t right =
        same ? out->width : std::clamp(floor_div(x.width + window_.pw - window_.kw, window_.sw) + 1, left, out->width);
    for (int64_t h = 0; h < out->height; ++h) {
      float* y = out->row(c, n, h);
      const auto within = static_cast<float>(divisor(h, left));
      for (int64_t w = 0; w < left; ++w) y[w] /= static_cast<float>(divisor(h, w));
      for (int64_t w = left; w < right; ++w) y[w] /= within;
      for (int64_t w = right; w < out->width; ++w) y[w] /= static_cast<float>(divisor(h, w));
    }
  }

  // Windows of varying size: the rows are reduced first, all columns at once; then the columns of each window.
  void pool_adaptive(const RunContext& ctx, int64_t c, int64_t n) const {
    const Node& x = *in[0];
    for (int64_t h = 0; h < out->height; ++h) {
      const float* rows[kMaxWindowRows];
      int count = 0;
      const int64_t end = ceil_div((h + 1) * x.height, out->height);
      float* y = out->row(c, n, h);
      std::fill(y, y + out->width, neutral());
      for (int64_t hi = h * x.height / out->height; hi < end; ++hi) {
        rows[count++] = x.row(c, n, hi);
        if (count < kMaxWindowRows && hi + 1 < end) continue;
        fold(ctx, rows, count, y);
        count = 0;
      }
      if (max_) continue;
      for (int64_t w = 0; w < out->width; ++w) y[w] /= static_cast<float>(divisor(h, w));
    }
  }

  // Wide images are done in pieces that fit a small buffer.
  void fold(const RunContext& ctx, const float* const* rows, int count, float* y) const {
    float reduced[kBuffer];
    for (int64_t w = 0; w < out->width;) {
      const int64_t from = columns(w).begin;
      int64_t w_end = w + 1;
      while (w_end < out->width && columns(w_end).end - from <= kBuffer) ++w_end;
      const int64_t to = columns(w_end - 1).end;
      const float* shifted[kMaxWindowRows];
      for (int r = 0; r < count; ++r) shifted[r] = rows[r] + from;
      // A window wider than the buffer is folded piece by piece.
      for (int64_t at = from; at < to; at += kBuffer) {
        const int64_t piece = std::min(kBuffer, to - at);
        ctx.kernels->reduce_rows_f32({shifted, count, reduced, static_cast<int>(piece), max_});
        for (int64_t i = w; i < w_end; ++i) fold_columns(reduced, at, at + piece, i, y);
        for (int r = 0; r < count; ++r) shifted[r] += piece;
      }
      w = w_end;
    }
  }

  void fold_columns(const float* reduced, int64_t from, int64_t to, int64_t w, float* y) const {
    const Window window = columns(w);
    const int64_t end = std::min(window.end, to);
    float acc = y[w];
    for (int64_t i = std::max(window.begin, from); i < end; ++i) {
      const float v = reduced[i - from];
      if (!max_) acc += v;
      else acc = v > acc || std::isnan(v) ? v : acc;
    }
    y[w] = acc;
  }

  Window columns(int64_t w) const {
    const int64_t width = in[0]->width;
    return {w * width / out->width, ceil_div((w + 1) * width, out->width)};
  }

  int64_t divisor(int64_t h, int64_t w) const {
    const Node& x = *in[0];
    if (adaptive_) {
      const Window c = columns(w);
      return (ceil_div((h + 1) * x.height, out->height) - h * x.height / out->height) * (c.end - c.begin);
    }
    if (divisor_ != 0) return divisor_;
    // Padding counts when asked for, but only as far as the declared padding reaches (ceil_mode goes past it).
    const auto extent = [this](int64_t i, int64_t k, int64_t stride, int64_t pad, int64_t n) {
      const int64_t begin = i * stride - pad, end = std::min(begin + k, n + pad);
      return count_pad_ ? end - begin : std::min(end, n) - std::max<int64_t>(begin, 0);
    };
    return extent(h, window_.kh, window_.sh, window_.ph, x.height) *
           extent(w, window_.kw, window_.sw, window_.pw, x.width);
  }

  bool max_, adaptive_;
  int64_t rows_read_ = 0;  // rows of the padded input, up to the last one read
  int64_t size_h_ = 0, size_w_ = 0;
  PoolWindow window_;
  int64_t divisor_ = 0;
  bool count_pad_ = false;
};

}  // namespace

std::unique_ptr<Op> make_pool(const OpSpec& spec) { return std::make_unique<PoolOp>(spec); }

}  // namespace pyrt
