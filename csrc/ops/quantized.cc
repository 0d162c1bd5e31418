// quantize, dequantize, qadd, qmean, qtable: between f32 and u8, and on u8 (docs/format.md, section 4).
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
          int32_t sums[4] = {};
          for (int64_t h = 0; h < x.height; ++h) add_row(x.bytes(p, n, h), x.width, sums);
          const auto count = static_cast<int32_t>(x.height * x.width);
          for (int i = 0; i < 4; ++i) {
            const float mean = static_cast<float>(sums[i] - count * x.zero) / static_cast<float>(count);
            out->bytes(p, n, 0)[i] = round_and_clamp(mean * scale_, out->zero, low_, high_);
          }
        }
      }
    });
  }

 private:
  // In plain variables, which stay in registers; an array would be stored for every column.
  static void add_row(const uint8_t* x, int64_t width, int32_t* sums) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (int64_t w = 0; w < width; ++w) s0 += x[4 * w], s1 += x[4 * w + 1], s2 += x[4 * w + 2], s3 += x[4 * w + 3];
    sums[0] += s0, sums[1] += s1, sums[2] += s2, sums[3] += s3;
  }
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
