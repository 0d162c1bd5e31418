// unary, binary, scalar, affine.
#include <cmath>

#include "ops/op.h"

namespace pyrt {
namespace {

// Splits `channels` among threads.
void channel_range(int64_t channels, int part, int parts, int64_t* begin, int64_t* end) {
  *begin = channels * part / parts;
  *end = channels * (part + 1) / parts;
}

// y = act(x*scale + shift) with scale and shift per channel, or 1 and 0.
class AffineOp : public Op {
 public:
  explicit AffineOp(const OpSpec& spec) : Op(spec), act_(Attrs(spec).act()) {}

  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    for (const Weights* w : spec().weights) {
      if (w->rows != in[0]->channels) {
        return error("has " + std::to_string(w->rows) + " channels, its input " + std::to_string(in[0]->channels));
      }
    }
    return {};
  }
  void constrain(Layout* layout) override {
    layout->share_grid(in[0], out);
    layout->overwrite(out, in[0]);
  }
  const char* kernel(const Kernels& k) const override { return k.affine_f32_name; }
  void run(const RunContext& ctx) override {
    ctx.parallel(out->elements() * 2, [&](int part, int parts) {
      int64_t c, end;
      channel_range(out->channels, part, parts, &c, &end);
      if (out->mask && !out->in_place) out->clear_margins(c, end);
      for (; c < end; ++c) {
        const float scale = spec().weights.empty() ? 1.0f : spec().weights[0]->values[c];
        const float shift = spec().weights.empty() ? 0.0f : spec().weights[1]->values[c];
        ctx.kernels->affine_f32({in[0]->row(c), out->row(c), out->written, scale, shift, act_, out->mask});
      }
    });
  }

 private:
  Activation act_;
};

constexpr uint32_t kFirstComparison = 5;

// a fn b as 1 or 0; the codes are those of the format.
bool compare(uint32_t fn, float a, float b) {
  switch (fn) {
    case 5: return a == b;
    case 6: return a != b;
    case 7: return a < b;
    case 8: return a <= b;
    case 9: return a > b;
    default: return a >= b;
  }
}

class BinaryOpImpl : public Op {
 public:
  explicit BinaryOpImpl(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    fn_ = static_cast<BinaryOp>(attrs.u32());
    act_ = attrs.act();
  }

  Status infer() override {
    const Node &a = *in[0], &b = *in[1];
    int64_t dims[kRankMax];
    for (int d = 0; d < a.rank; ++d) {
      if (a.dims[d] != b.dims[d] && a.dims[d] != 1 && b.dims[d] != 1) {
        return error("cannot broadcast " + std::to_string(a.dims[d]) + " and " + std::to_string(b.dims[d]) +
                     " in dimension " + std::to_string(d));
      }
      dims[d] = a.dims[d] == 1 ? b.dims[d] : a.dims[d];
    }
    set_out(a.rank, dims);
    return {};
  }
  void constrain(Layout* layout) override {
    for (Node* x : in) {
      if (x->same_dims(*out)) layout->share_grid(x, out);
    }
    if (compares()) return;
    flat_ = in[0]->same_dims(*out) && in[1]->same_dims(*out);
    // A factor per channel of one image (squeeze and excitation): the whole plane is one row.
    const Node& b = *in[1];
    gate_ = !flat_ && out->spatial() && in[0]->same_dims(*out) && out->images == 1 && b.channels == out->channels &&
            b.height == 1 && b.width == 1;
    if (gate_) layout->overwrite(out, in[0]);
    if (flat_ && !layout->overwrite(out, in[0])) layout->overwrite(out, in[1]);
  }
  const char* kernel(const Kernels& k) const override { return k.binary_f32_name; }
  void run(const RunContext& ctx) override {
    ctx.parallel(out->elements() * 2, [&](int part, int parts) {
      int64_t begin, end;
      channel_range(out->channels, part, parts, &begin, &end);
      if (flat_) {
        if (out->mask && !out->in_place) out->clear_margins(begin, end);
        for (int64_t c = begin; c < end; ++c) {
          ctx.kernels->binary_f32(
              {in[0]->row(c), in[1]->row(c), out->row(c), out->written, 1, 1, fn_, act_, out->mask});
        }
      } else if (gate_) {
        if (out->mask && !out->in_place) out->clear_margins(begin, end);
        for (int64_t c = begin; c < end; ++c) {
          ctx.kernels->binary_f32(
              {in[0]->row(c), in[1]->row(c), out->row(c), out->written, 1, 0, fn_, act_, out->mask});
        }
      } else {
        broadcast(ctx, begin, end);
      }
    });
  }

 private:
  bool compares() const { return static_cast<uint32_t>(fn_) >= kFirstComparison; }

  // Row by row: the innermost column dimension is one call, the others are loops.
  void broadcast(const RunContext& ctx, int64_t begin, int64_t end) const {
    if (out->mask) out->clear(begin, end);
    int64_t sa[kRankMax], sb[kRankMax], sy[kRankMax];
    in[0]->strides(sa);
    in[1]->strides(sb);
    out->strides(sy);
    int inner = -1;
    for (int d = 0; d < out->rank; ++d) {
      if (in[0]->dims[d] == 1) sa[d] = 0;
      if (in[1]->dims[d] == 1) sb[d] = 0;
      if (d != out->axis) inner = d;
    }
    int64_t from[kRankMax] = {}, to[kRankMax], at[kRankMax];
    for (int d = 0; d < out->rank; ++d) to[d] = d == inner ? 1 : out->dims[d];
    if (out->axis >= 0) from[out->axis] = begin, to[out->axis] = end;
    else if (begin > 0) return;
    const int64_t n = inner >= 0 ? out->dims[inner] : 1;
    const int a_step = inner >= 0 && sa[inner] != 0, b_step = inner >= 0 && sb[inner] != 0;
    std::copy(from, from + out->rank, at);
    for (int d = 0; d < out->rank; ++d) {
      if (from[d] >= to[d]) return;
    }
    for (;;) {
      int64_t a = 0, b = 0, y = 0;
      for (int d = 0; d < out->rank; ++d) a += at[d] * sa[d], b += at[d] * sb[d], y += at[d] * sy[d];
      const float *pa = in[0]->data + a, *pb = in[1]->data + b;
      float* py = out->data + y;
      if (compares()) {
        for (int64_t i = 0; i < n; ++i) py[i] = compare(static_cast<uint32_t>(fn_), pa[i * a_step], pb[i * b_step]);
        ctx.kernels->affine_f32({py, py, n, 1.0f, 0.0f, act_, nullptr});
      } else {
        ctx.kernels->binary_f32({pa, pb, py, n, a_step, b_step, fn_, act_, nullptr});
      }
      int d = out->rank - 1;
      for (; d >= 0; --d) {
        if (++at[d] < to[d]) break;
        at[d] = from[d];
      }
      if (d < 0) return;
    }
  }

  BinaryOp fn_;
  Activation act_;
  bool flat_ = false, gate_ = false;
};

class ScalarOp : public Op {
 public:
  explicit ScalarOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    fn_ = attrs.u32();
    reversed_ = attrs.u32() != 0;
    value_ = attrs.f32();
    act_ = attrs.act();
  }

  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void constrain(Layout* layout) override {
    layout->share_grid(in[0], out);
    layout->overwrite(out, in[0]);
  }
  void run(const RunContext& ctx) override {
    ctx.parallel(out->elements() * (fn_ == kPow ? 40 : 2), [&](int part, int parts) {
      int64_t begin, end;
      channel_range(out->channels, part, parts, &begin, &end);
      if (out->mask && !out->in_place) out->clear_margins(begin, end);
      for (int64_t c = begin; c < end; ++c) {
        const float *a = in[0]->row(c), *b = &value_;
        float* y = out->row(c);
        if (fn_ == kPow) {
          for (int64_t i = 0; i < out->written; ++i) y[i] = reversed_ ? std::pow(value_, a[i]) : std::pow(a[i], value_);
          ctx.kernels->affine_f32({y, y, out->written, 1.0f, 0.0f, act_, out->mask});
          continue;
        }
        if (fn_ >= kFirstComparison) {
          for (int64_t i = 0; i < out->written; ++i) {
            y[i] = reversed_ ? compare(fn_, value_, a[i]) : compare(fn_, a[i], value_);
          }
          ctx.kernels->affine_f32({y, y, out->written, 1.0f, 0.0f, act_, out->mask});
          continue;
        }
        int a_step = 1, b_step = 0;
        if (reversed_) std::swap(a, b), std::swap(a_step, b_step);
        ctx.kernels->binary_f32({a, b, y, out->written, a_step, b_step, static_cast<BinaryOp>(fn_), act_, out->mask});
      }
    });
  }

 private:
  static constexpr uint32_t kPow = 4;
  uint32_t fn_;
  bool reversed_;
  float value_;
  Activation act_;
};

}  // namespace

std::unique_ptr<Op> make_elementwise(const OpSpec& spec) {
  switch (spec.kind) {
    case OpKind::kBinary: return std::make_unique<BinaryOpImpl>(spec);
    case OpKind::kScalar: return std::make_unique<ScalarOp>(spec);
    default: return std::make_unique<AffineOp>(spec);
  }
}

}  // namespace pyrt
