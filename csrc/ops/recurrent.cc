// recurrent: LSTM and GRU cells over the steps of a sequence.
//
// What the input gives the gates is an op before this one: a product of all steps at once. What is left is, for each
// step, the product of the state with the recurrent weights, which is a `linear` op inside this one (so it takes
// whatever encoding that takes), and the gates. State and gates lie as [channels][batch], so that the gates are loops
// over contiguous memory.
#include <algorithm>
#include <cstring>

#include "ops/op.h"

namespace pyrt {
namespace {

constexpr uint32_t kNoActivation[3] = {};
constexpr int64_t kSteps = 16;  // that are laid out at once for a batch of 1

OpSpec product_spec(const OpSpec& spec) {
  OpSpec product = spec;
  product.kind = OpKind::kLinear;
  product.attrs = kNoActivation;
  product.attr_count = 3;
  return product;
}

class RecurrentOp : public Op {
 public:
  explicit RecurrentOp(const OpSpec& spec) : Op(spec), product_spec_(product_spec(spec)), w_(*spec.weights[0]) {
    Attrs attrs(spec);
    lstm_ = attrs.u32() == 0;
    reverse_ = attrs.u32() != 0;
    both_ = attrs.u32() != 0;
  }

  Status infer() override {
    const Node& x = *in[0];
    if (x.channels != w_.rows) {
      return error("expects " + std::to_string(w_.rows) + " gates, its input has " + std::to_string(x.channels));
    }
    for (size_t i = 1; i < in.size(); ++i) {
      const Node& s = *in[i];
      if (s.dims[0] != 1 || s.dims[1] != x.dims[1] || s.dims[2] != w_.cols) {
        return error("an initial state must be [1, " + std::to_string(x.dims[1]) + ", " + std::to_string(w_.cols) +
                     "]");
      }
    }
    const int64_t dims[3] = {x.dims[0], x.dims[1], w_.cols * (both_ ? 2 : 1)};
    set_out(3, dims);
    return {};
  }

  void constrain(Layout* layout) override {
    const int64_t batch = in[0]->dims[1];
    const auto node = [&](int64_t channels, int64_t columns) {
      Node* n = layout->scratch();
      const int64_t dims[2] = {columns, channels};
      n->set_shape(2, dims, 1);
      return n;
    };
    h_ = node(w_.cols, batch);
    c_ = node(w_.cols, batch);
    z_ = node(w_.rows, batch);
    // For a batch of 1 a step's gates would be far apart in x, and its states in y.
    x_ = batch == 1 ? node(kSteps, w_.rows) : node(w_.rows, batch);
    y_ = batch == 1 ? node(kSteps, out->channels) : nullptr;
    product_ = make_op(product_spec_);
    product_->in = {h_};
    product_->out = z_;
    z_->axis = 1;
    layout->share_grid(c_, h_);
    if (batch > 1) layout->share_grid(x_, h_);
    product_->constrain(layout);
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    return product_->prepare(table_bytes, scratch_size);
  }

  bool exact(const Node&) const override { return true; }
  int64_t flops() const override { return 2 * w_.rows * w_.cols * in[0]->dims[0] * in[0]->dims[1]; }
  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }
  const char* kernel(const Kernels& k) const override { return product_->kernel(k); }

  void run(const RunContext& ctx) override {
    // The columns that fill up a vector are computed with the others.
    for (const Node* n : {h_, c_, z_, x_}) n->clear(0, n->channels);
    if (in.size() > 1) copy(ctx, *in[1], 0, *h_, 0, 0, w_.cols);
    if (in.size() > 2) copy(ctx, *in[2], 0, *c_, 0, 0, w_.cols);
    const int64_t steps = in[0]->dims[0], block = y_ ? kSteps : 1;
    for (int64_t done = 0; done < steps; done += block) {
      const int64_t n = std::min(block, steps - done);
      run_block(ctx, reverse_ ? steps - done - n : done, n);
    }
  }

 private:
  // Steps first .. first + n - 1.
  void run_block(const RunContext& ctx, int64_t first, int64_t n) const {
    const int64_t batch = in[0]->dims[1], hidden = w_.cols;
    if (y_) ctx.kernels->transpose_f32({in[0]->data + first, in[0]->plane, w_.rows, n, x_->data, x_->plane});
    for (int64_t i = 0; i < n; ++i) {
      const int64_t step = reverse_ ? n - 1 - i : i, col = (first + step) * batch;
      if (!y_) copy(ctx, *in[0], col, *x_, 0, 0, w_.rows);
      product_->run(ctx);
      gates(ctx, y_ ? x_->row(step) : x_->data);
      if (y_) {
        std::memcpy(y_->row(step), h_->data, static_cast<size_t>(hidden) * sizeof(float));
        if (both_) std::memcpy(y_->row(step) + hidden, c_->data, static_cast<size_t>(hidden) * sizeof(float));
      } else {
        copy(ctx, *h_, 0, *out, 0, col, hidden);
        if (both_) copy(ctx, *c_, 0, *out, hidden, col, hidden);
      }
    }
    if (y_) ctx.kernels->transpose_f32({y_->data, y_->plane, n, out->channels, out->data + first, out->plane});
  }

  // A batch of columns of `channels` channels.
  void copy(const RunContext& ctx, const Node& from, int64_t from_col, const Node& to, int64_t to_channel,
            int64_t to_col, int64_t channels) const {
    const auto batch = static_cast<int>(in[0]->dims[1]);
    ctx.kernels->copy_rows_f32({from.data + from_col, from.plane, 1, batch, to.row(to_channel) + to_col, to.plane,
                                static_cast<int>(channels), batch});
  }

  void gates(const RunContext& ctx, const float* x) const {
    const int64_t n = w_.cols * h_->plane;
    const CellFn cell = lstm_ ? ctx.kernels->lstm_f32 : ctx.kernels->gru_f32;
    ctx.parallel(n * 32, [&](int part, int parts) {
      const int64_t begin = n * part / parts / 16 * 16, end = part + 1 == parts ? n : n * (part + 1) / parts / 16 * 16;
      cell({x + begin, z_->data + begin, n, c_->data + begin, h_->data + begin, end - begin});
    });
  }

  OpSpec product_spec_;
  const Weights& w_;
  bool lstm_, reverse_, both_;
  std::unique_ptr<Op> product_;                      // z = W h + bias
  Node *h_ = nullptr, *c_ = nullptr, *z_ = nullptr;  // [channels][batch]
  Node* x_ = nullptr;  // the gates' share of the input: of a step [channels][batch], of a batch of 1 [steps][channels]
  Node* y_ = nullptr;  // of a batch of 1: the states [steps][channels]
};

}  // namespace

std::unique_ptr<Op> make_recurrent(const OpSpec& spec) { return std::make_unique<RecurrentOp>(spec); }

}  // namespace pyrt
