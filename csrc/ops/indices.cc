// where, range and cumsum: what masks and positions are made of. A few numbers per token, visited one by one.
#include "ops/op.h"

namespace pyrt {
namespace {

// Visits the indices of a box in logical order; fn gets the offset in each of N strided arrays.
template <int N, class Fn>
void visit(int rank, const int64_t* dims, const int64_t (&strides)[N][kRankMax], const Fn& fn) {
  int64_t at[kRankMax] = {}, offset[N] = {};
  for (;;) {
    fn(offset);
    int d = rank - 1;
    for (; d >= 0; --d) {
      for (int i = 0; i < N; ++i) offset[i] += strides[i][d];
      if (++at[d] < dims[d]) break;
      for (int i = 0; i < N; ++i) offset[i] -= dims[d] * strides[i][d];
      at[d] = 0;
    }
    if (d < 0) return;
  }
}

class WhereOp : public Op {
 public:
  using Op::Op;

  Status infer() override {
    int64_t dims[kRankMax];
    for (int d = 0; d < in[0]->rank; ++d) {
      dims[d] = 1;
      for (const Node* x : in) {
        if (x->dims[d] == 1 || x->dims[d] == dims[d]) continue;
        if (dims[d] != 1) return error("cannot broadcast dimension " + std::to_string(d));
        dims[d] = x->dims[d];
      }
    }
    set_out(in[0]->rank, dims);
    return {};
  }
  bool exact(const Node&) const override { return true; }
  void run(const RunContext&) override {
    int64_t strides[4][kRankMax];
    out->strides(strides[3]);
    for (int i = 0; i < 3; ++i) {
      in[static_cast<size_t>(i)]->strides(strides[i]);
      for (int d = 0; d < out->rank; ++d) {
        if (in[static_cast<size_t>(i)]->dims[d] == 1) strides[i][d] = 0;
      }
    }
    if (out->mask) out->clear(0, out->channels);
    const float *condition = in[0]->data, *a = in[1]->data, *b = in[2]->data;
    visit(out->rank, out->dims, strides,
          [&](const int64_t* at) { out->data[at[3]] = condition[at[0]] != 0 ? a[at[1]] : b[at[2]]; });
  }
};

// start, start + step, ...: as many numbers as the input has in a dimension.
class RangeOp : public Op {
 public:
  explicit RangeOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    axis_ = attrs.i32();
    start_ = attrs.i32(), step_ = attrs.i32();
  }

  Status infer() override {
    set_out(1, in[0]->dims + axis_);
    return {};
  }
  bool exact(const Node&) const override { return true; }
  void run(const RunContext&) override {
    if (out->mask) out->clear(0, out->channels);
    int64_t strides[kRankMax];
    out->strides(strides);
    for (int64_t i = 0; i < out->dims[0]; ++i) out->data[i * strides[0]] = static_cast<float>(start_ + i * step_);
  }

 private:
  int axis_;
  int64_t start_, step_;
};

class CumsumOp : public Op {
 public:
  explicit CumsumOp(const OpSpec& spec) : Op(spec), axis_(Attrs(spec).i32()) {}

  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }
  bool exact(const Node&) const override { return true; }
  void run(const RunContext&) override {
    int64_t strides[2][kRankMax], dims[kRankMax];
    in[0]->strides(strides[0]);
    out->strides(strides[1]);
    std::copy(out->dims, out->dims + out->rank, dims);
    dims[axis_] = 1;
    if (out->mask) out->clear(0, out->channels);
    visit(out->rank, dims, strides, [&](const int64_t* at) {
      float sum = 0;
      for (int64_t i = 0; i < out->dims[axis_]; ++i) {
        sum += in[0]->data[at[0] + i * strides[0][axis_]];
        out->data[at[1] + i * strides[1][axis_]] = sum;
      }
    });
  }

 private:
  int axis_;
};

}  // namespace

std::unique_ptr<Op> make_indices(const OpSpec& spec) {
  if (spec.kind == OpKind::kWhere) return std::make_unique<WhereOp>(spec);
  if (spec.kind == OpKind::kRange) return std::make_unique<RangeOp>(spec);
  return std::make_unique<CumsumOp>(spec);
}

}  // namespace pyrt
