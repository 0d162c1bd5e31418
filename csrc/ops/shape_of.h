// What the ops that move elements have in common for f32 and u8 values: their attributes and the shape of their output.
#pragma once

#include "ops/op.h"

namespace pyrt {

class ConcatShape : public Op {
 public:
  explicit ConcatShape(const OpSpec& spec) : Op(spec), axis_(Attrs(spec).i32()) {}

  Status infer() override {
    int64_t dims[kRankMax];
    std::copy(in[0]->dims, in[0]->dims + in[0]->rank, dims);
    for (size_t i = 1; i < in.size(); ++i) {
      for (int d = 0; d < in[0]->rank; ++d) {
        if (d != axis_ && in[i]->dims[d] != dims[d]) return error("inputs differ in dimension " + std::to_string(d));
      }
      dims[axis_] += in[i]->dims[axis_];
    }
    set_out(in[0]->rank, dims);
    return {};
  }

 protected:
  int axis_;
};

class SliceShape : public Op {
 public:
  explicit SliceShape(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    axis_ = attrs.i32();
    start_ = attrs.i32(), stop_ = attrs.i32(), step_ = attrs.i32();
  }

  Status infer() override {
    int64_t dims[kRankMax];
    std::copy(in[0]->dims, in[0]->dims + in[0]->rank, dims);
    // Torch's rules: negative ones count from the end, and what lies outside is the end it lies behind.
    if (start_ < 0) start_ = std::max<int64_t>(start_ + dims[axis_], 0);
    const int64_t stop = stop_ < 0 ? stop_ + dims[axis_] : std::min<int64_t>(stop_, dims[axis_]);
    if (start_ >= stop) return error("an empty slice of dimension " + std::to_string(axis_));
    step_ = std::min(step_, stop - start_);  // the same elements, and the distance between them stays inside the input
    dims[axis_] = ceil_div(stop - start_, step_);
    set_out(in[0]->rank, dims);
    return {};
  }

 protected:
  int axis_;
  int64_t start_, stop_, step_;
};

class ReshapeShape : public Op {
 public:
  explicit ReshapeShape(const OpSpec& spec) : Op(spec) {}

  Status infer() override {
    Attrs attrs(spec());
    const int rank = static_cast<int>(spec().attr_count);
    int64_t dims[kRankMax], known = 1, total = 1;
    int unknown = -1;
    for (int d = 0; d < rank; ++d) {
      const int32_t code = attrs.i32();
      dims[d] = code >= 0 ? code : code == -1 ? 1 : in[0]->dims[-2 - code];
      if (code == -1) unknown = d;
      if (!checked_mul(known, dims[d], &known)) return error("reshape overflows");
    }
    for (int d = 0; d < in[0]->rank; ++d) total *= in[0]->dims[d];
    if (unknown >= 0 && known > 0 && total % known == 0) dims[unknown] = total / known, known = total;
    if (known != total) {
      return error("cannot reshape " + std::to_string(total) + " elements to a multiple of " + std::to_string(known));
    }
    set_out(rank, dims);
    return {};
  }
};

class PadShape : public Op {
 public:
  explicit PadShape(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    value_ = attrs.f32();
    for (uint32_t d = 0; 2 * d + 1 < spec.attr_count; ++d) before_[d] = attrs.i32(), after_[d] = attrs.i32();
  }

  Status infer() override {
    int64_t dims[kRankMax];
    for (int d = 0; d < in[0]->rank; ++d) dims[d] = before_[d] + in[0]->dims[d] + after_[d];
    set_out(in[0]->rank, dims);
    return {};
  }

 protected:
  float value_;
  int64_t before_[kRankMax] = {}, after_[kRankMax] = {};
};

}  // namespace pyrt
