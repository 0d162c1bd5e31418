// quantize, dequantize, qadd, qmean, qtable: between f32 and u8, and on u8 (docs/format.md, section 4).
#include <cstring>

#include "kernels/int8/finish.h"
#include "ops/op.h"

namespace pyrt {
namespace {

void plane_range(int64_t planes, int part, int parts, int64_t* begin, int64_t* end) {
  *begin = planes * part / parts;
  *end = planes * (part + 1) / parts;
}

int channels_of(const Node& n, int64_t plane) { return static_cast<int>(std::min<int64_t>(4, n.channels - 4 * plane)); }

class QuantizeOp : public Op {
 public:
  explicit QuantizeOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    low_ = attrs.i32(), high_ = attrs.i32();
  }
  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void constrain(Layout* layout) override { layout->share_grid(in[0], out); }
  void run(const RunContext& ctx) override {
    const float inverse = 1.0f / out->scale;
    ctx.parallel(out->elements() * 2, [&](int part, int parts) {
      int64_t begin, end;
      plane_range(out->planes(), part, parts, &begin, &end);
      if (out->mask) out->clear_margins(begin, end);
      for (int64_t p = begin; p < end; ++p) {
        ctx.kernels->quantize_u8({in[0]->row(4 * p), in[0]->plane, channels_of(*out, p), out->bytes(p), out->cols,
                                  &inverse, 0, out->zero, low_, high_, out->mask});
      }
    });
  }

 private:
  int low_, high_;
};

class DequantizeOp : public Op {
 public:
  explicit DequantizeOp(const OpSpec& spec) : Op(spec) {}
  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void constrain(Layout* layout) override { layout->share_grid(in[0], out); }
  void run(const RunContext& ctx) override {
    ctx.parallel(out->elements() * 2, [&](int part, int parts) {
      int64_t begin, end;
      plane_range(in[0]->planes(), part, parts, &begin, &end);
      if (out->mask) out->clear_margins(4 * begin, std::min(4 * end, out->channels));
      for (int64_t p = begin; p < end; ++p) {
        ctx.kernels->dequantize_u8({in[0]->bytes(p), out->row(4 * p), out->plane, channels_of(*out, p), out->cols,
                                    in[0]->scale, in[0]->zero, out->mask});
      }
    });
  }
};

class QAddOp : public Op {
 public:
  explicit QAddOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    a_scale_ = attrs.f32(), b_scale_ = attrs.f32();
    low_ = attrs.i32(), high_ = attrs.i32();
  }
  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    if (!in[1]->same_dims(*in[0])) return error("its inputs have different shapes");
    return {};
  }
  void constrain(Layout* layout) override {
    layout->share_grid(in[0], out);
    layout->share_grid(in[1], out);
  }
  void run(const RunContext& ctx) override {
    ctx.parallel(out->elements() * 2, [&](int part, int parts) {
      int64_t begin, end;
      plane_range(out->planes(), part, parts, &begin, &end);
      if (out->mask) out->clear_margins(begin, end);
      for (int64_t p = begin; p < end; ++p) {
        ctx.kernels->qadd_u8({in[0]->bytes(p), in[1]->bytes(p), out->bytes(p), out->cols, in[0]->zero, in[1]->zero,
                              a_scale_, b_scale_, out->zero, low_, high_, out->mask});
      }
    });
  }

 private:
  float a_scale_, b_scale_;
  int low_, high_;
};

// Sums of the four bytes of columns. Two columns are a word of 64 bits, whose even and odd bytes are added in 16 bits.
struct ByteSums {
  void add(const uint8_t* x, int64_t width) {
    for (; width > 0; width -= 2, x += 8) {
      if (++added_ > kMost) widen();
      uint64_t two = 0;
      if (width > 1) std::memcpy(&two, x, 8);
      else std::memcpy(&two, x, 4);
      even_ += two & kEven;
      odd_ += two >> 8 & kEven;
    }
  }
  void widen() {
    for (int i = 0; i < 4; ++i) {
      of[i % 2 * 2] += static_cast<int32_t>(even_ >> (16 * i) & 0xffff);
      of[i % 2 * 2 + 1] += static_cast<int32_t>(odd_ >> (16 * i) & 0xffff);
    }
    even_ = odd_ = 0;
    added_ = 1;
  }

  int32_t of[4] = {};

 private:
  static constexpr uint64_t kEven = 0x00ff00ff00ff00ff;
  static constexpr int kMost = 65535 / 255;
  uint64_t even_ = 0, odd_ = 0;
  int added_ = 0;
};

// The mean of every channel of an image.
class QMeanOp : public Op {
 public:
  explicit QMeanOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    scale_ = attrs.f32();
    low_ = attrs.i32(), high_ = attrs.i32();
  }
  Status infer() override {
    const int64_t dims[4] = {in[0]->dims[0], in[0]->dims[1], 1, 1};
    set_out(4, dims);
    if (in[0]->height * in[0]->width > INT32_MAX / 255) return error("its image is too large");
    return {};
  }
  void run(const RunContext& ctx) override {
    const Node& x = *in[0];
    ctx.parallel(x.elements() / 4, [&](int part, int parts) {
      int64_t begin, end;
      plane_range(x.planes(), part, parts, &begin, &end);
      for (int64_t p = begin; p < end; ++p) {
        if (out->mask) out->clear(p, p + 1);
        for (int64_t n = 0; n < x.images; ++n) {
          ByteSums sums;
          for (int64_t h = 0; h < x.height; ++h) sums.add(x.bytes(p, n, h), x.width);
          sums.widen();
          const auto count = static_cast<int32_t>(x.height * x.width);
          for (int i = 0; i < 4; ++i) {
            const float mean = static_cast<float>(sums.of[i] - count * x.zero) / static_cast<float>(count);
            out->bytes(p, n, 0)[i] = round_and_clamp(mean * scale_, out->zero, low_, high_);
          }
        }
      }
    });
  }

 private:
  float scale_;
  int low_, high_;
};

// y = table[x], for any function of one value.
class QTableOp : public Op {
 public:
  explicit QTableOp(const OpSpec& spec) : Op(spec), table_(reinterpret_cast<const uint8_t*>(spec.attrs)) {}
  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void run(const RunContext& ctx) override {
    const Node& x = *in[0];
    ctx.parallel(out->elements(), [&](int part, int parts) {
      int64_t begin, end;
      plane_range(out->planes(), part, parts, &begin, &end);
      if (out->mask) out->clear(begin, end);
      for (int64_t p = begin; p < end; ++p) {
        for (int64_t n = 0; n < x.images; ++n) {
          for (int64_t h = 0; h < x.height; ++h) {
            const uint8_t* from = x.bytes(p, n, h);
            uint8_t* to = out->bytes(p, n, h);
            for (int64_t i = 0; i < 4 * x.width; ++i) to[i] = table_[from[i]];
          }
        }
      }
    });
  }

 private:
  const uint8_t* table_;
};

}  // namespace

std::unique_ptr<Op> make_quantized(const OpSpec& spec) {
  switch (spec.kind) {
    case OpKind::kQuantize: return std::make_unique<QuantizeOp>(spec);
    case OpKind::kDequantize: return std::make_unique<DequantizeOp>(spec);
    case OpKind::kQAdd: return std::make_unique<QAddOp>(spec);
    case OpKind::kQMean: return std::make_unique<QMeanOp>(spec);
    default: return std::make_unique<QTableOp>(spec);
  }
}

}  // namespace pyrt
