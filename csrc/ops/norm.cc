// Layer norm and RMS norm along the channels.
#include "ops/op.h"

namespace pyrt {
namespace {

class NormOp : public Op {
 public:
  explicit NormOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    rms_ = attrs.u32() != 0;
    eps_ = attrs.f32();
  }

  Status infer() override {
    const int64_t channels = spec().weights[0]->rows;
    if (in[0]->channels != channels) {
      return error("has " + std::to_string(channels) + " channels, its input " + std::to_string(in[0]->channels));
    }
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  void constrain(Layout* layout) override {
    layout->share_grid(in[0], out);
    layout->overwrite(out, in[0]);
  }
  bool exact(const Node&) const override { return true; }
  const char* kernel(const Kernels& k) const override { return k.norm_f32_name; }

  void run(const RunContext& ctx) override {
    if (out->mask && !out->in_place) out->clear_margins(0, out->channels);
    ctx.parallel(out->elements() * 4, [&](int part, int parts) {
      const auto bound = [&](int p) { return std::min(round_up(out->cols * p / parts, 16), out->cols); };
      const int64_t col = bound(part), cols = bound(part + 1) - col;
      if (cols == 0) return;
      ctx.kernels->norm_f32({in[0]->data + col, in[0]->plane, out->data + col, out->plane, out->channels, cols,
                             spec().weights[0]->values, spec().weights[1]->values, eps_, rms_});
      for (int64_t c = 0; out->mask && c < out->channels; ++c) {
        float* y = out->row(c) + col;
        ctx.kernels->affine_f32({y, y, cols, 1.0f, 0.0f, Activation(), out->mask + col / 8});
      }
    });
  }

 private:
  bool rms_;
  float eps_;
};

}  // namespace

std::unique_ptr<Op> make_norm(const OpSpec& spec) { return std::make_unique<NormOp>(spec); }

}  // namespace pyrt
