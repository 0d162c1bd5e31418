// binarize and signs: between f32 and bits.
#include "ops/op.h"

namespace pyrt {
namespace {

class BinarizeOp : public Op {
 public:
  explicit BinarizeOp(const OpSpec& spec) : Op(spec) {}
  Status infer() override {
    if (!spec().weights.empty() && spec().weights[0]->rows != in[0]->channels) {
      return error("has " + std::to_string(spec().weights[0]->rows) + " thresholds, its input " +
                   std::to_string(in[0]->channels) + " channels");
    }
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void constrain(Layout* layout) override { layout->share_grid(in[0], out); }
  const char* kernel(const Kernels& k) const override { return k.binarize_name; }
  void run(const RunContext& ctx) override {
    static const float kZeros[kBitChannels] = {};
    ctx.parallel(out->elements(), [&](int part, int parts) {
      const int64_t planes = out->planes(), begin = planes * part / parts, end = planes * (part + 1) / parts;
      if (out->mask) out->clear_margins(begin, end);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t row = p * kBitChannels;
        const int rows = static_cast<int>(std::min<int64_t>(kBitChannels, out->channels - row));
        const float* at_least = spec().weights.empty() ? kZeros : spec().weights[0]->values + row;
        ctx.kernels->binarize({in[0]->row(row), in[0]->plane, rows, at_least, reinterpret_cast<uint32_t*>(out->row(p)),
                               out->cols, out->mask});
      }
    });
  }
};

class SignsOp : public Op {
 public:
  explicit SignsOp(const OpSpec& spec) : Op(spec) {}
  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void constrain(Layout* layout) override { layout->share_grid(in[0], out); }
  void run(const RunContext& ctx) override {
    const Node& x = *in[0];
    ctx.parallel(out->elements(), [&](int part, int parts) {
      const int64_t end = out->channels * (part + 1) / parts;
      for (int64_t c = out->channels * part / parts; c < end; ++c) {
        if (out->mask) out->clear(c, c + 1);
        for (int64_t n = 0; n < x.images; ++n) {
          for (int64_t h = 0; h < x.height; ++h) {
            const auto* from = reinterpret_cast<const uint32_t*>(x.row(c / kBitChannels, n, h));
            float* to = out->row(c, n, h);
            for (int64_t i = 0; i < x.width; ++i) to[i] = from[i] >> (c % kBitChannels) & 1 ? 1.0f : -1.0f;
          }
        }
      }
    });
  }
};

}  // namespace

std::unique_ptr<Op> make_signs(const OpSpec& spec) {
  if (spec.kind == OpKind::kBinarize) return std::make_unique<BinarizeOp>(spec);
  return std::make_unique<SignsOp>(spec);
}

}  // namespace pyrt
