// Ops that move or rename elements: concat, slice, reshape, permute, pad, constant.
#include <numeric>

#include "ops/shape_of.h"

namespace pyrt {

// The two innermost loops are the dimension whose neighbours are nearest in dst and, if another, that in src.
void copy_strided(const Kernels& kernels, int rank, const int64_t* all_dims, float* dst, const int64_t* all_dst_strides,
                  const float* src, const int64_t* all_src_strides) {
  // Neighbouring dimensions that are one run in both arrays are one dimension.
  int64_t dims[kRankMax], dst_strides[kRankMax], src_strides[kRankMax];
  int merged = 0;
  for (int d = 0; d < rank; ++d) {
    if (all_dims[d] == 1) continue;
    const int last = merged - 1;
    const bool joins = merged > 0 && dst_strides[last] == all_dims[d] * all_dst_strides[d] &&
                       src_strides[last] == all_dims[d] * all_src_strides[d];
    const int to = joins ? last : merged++;
    dims[to] = joins ? dims[to] * all_dims[d] : all_dims[d];
    dst_strides[to] = all_dst_strides[d];
    src_strides[to] = all_src_strides[d];
  }
  rank = merged;
  int order[kRankMax];
  int n = 0;
  for (int d = 0; d < rank; ++d) {
    int at = n++;
    for (; at > 0 && dst_strides[order[at - 1]] < dst_strides[d]; --at) order[at] = order[at - 1];
    order[at] = d;
  }
  if (n == 0) {
    *dst = *src;
    return;
  }
  const int inner = order[--n];
  int second = -1;
  for (int k = 0; k < n; ++k) {
    if (second < 0 || src_strides[order[k]] < src_strides[order[second]]) second = k;
  }
  int across = -1;
  if (second >= 0 && src_strides[order[second]] < src_strides[inner]) {
    across = order[second];
    std::copy(order + second + 1, order + n, order + second);
    --n;
  }
  const int64_t count = dims[inner], ds = dst_strides[inner], ss = src_strides[inner];
  int64_t at[kRankMax] = {};
  for (;;) {
    if (across >= 0 && ds == 1 && src_strides[across] == 1) {
      kernels.transpose_f32({src, ss, count, dims[across], dst, dst_strides[across]});
    } else if (across >= 0) {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t k = 0; k < dims[across]; ++k) {
          dst[i * ds + k * dst_strides[across]] = src[i * ss + k * src_strides[across]];
        }
      }
    } else if (ds == 1 && ss == 1) {
      std::memcpy(dst, src, static_cast<size_t>(count) * sizeof(float));
    } else {
      for (int64_t i = 0; i < count; ++i) dst[i * ds] = src[i * ss];
    }
    int k = n - 1;
    for (; k >= 0; --k) {
      const int d = order[k];
      dst += dst_strides[d];
      src += src_strides[d];
      if (++at[d] < dims[d]) break;
      dst -= dims[d] * dst_strides[d];
      src -= dims[d] * src_strides[d];
      at[d] = 0;
    }
    if (k < 0) return;
  }
}

namespace {

void copy_node(const Kernels& kernels, const Node& dst, const float* src, const int64_t* src_strides) {
  int64_t strides[kRankMax];
  dst.strides(strides);
  copy_strided(kernels, dst.rank, dst.dims, dst.data, strides, src, src_strides);
}

class ConcatOp : public ConcatShape {
 public:
  using ConcatShape::ConcatShape;

  void constrain(Layout* layout) override {
    placed_.assign(in.size(), false);
    if (axis_ != out->axis) return;
    int64_t channel = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      placed_[i] = layout->place(in[i], out, channel);
      channel += in[i]->channels;
    }
  }
  void run(const RunContext& ctx) override {
    if (axis_ != out->axis && out->mask) out->clear(0, out->channels);
    int64_t strides[kRankMax], from[kRankMax], at = 0, channel = 0;
    out->strides(strides);
    for (size_t i = 0; i < in.size(); ++i) {
      const Node& x = *in[i];
      if (!placed_[i]) {
        if (axis_ == out->axis && out->mask) out->clear(channel, channel + x.channels);
        x.strides(from);
        copy_strided(*ctx.kernels, x.rank, x.dims, out->data + at * strides[axis_], strides, x.data, from);
      }
      at += x.dims[axis_];
      channel += x.channels;
    }
  }

 private:
  std::vector<bool> placed_;  // lies in the output already
};

class SliceOp : public SliceShape {
 public:
  using SliceShape::SliceShape;

  void constrain(Layout* layout) override {
    view_ = axis_ == out->axis && step_ == 1 && layout->place(out, in[0], start_);
  }
  void run(const RunContext& ctx) override {
    if (view_) return;
    if (out->mask) out->clear(0, out->channels);
    int64_t strides[kRankMax];
    in[0]->strides(strides);
    const float* src = in[0]->data + start_ * strides[axis_];
    strides[axis_] *= step_;
    copy_node(*ctx.kernels, *out, src, strides);
  }

 private:
  bool view_ = false;
};

class PermuteOp : public Op {
 public:
  explicit PermuteOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    for (uint32_t d = 0; d < spec.attr_count; ++d) perm_[d] = attrs.i32();
  }

  Status infer() override {
    int64_t dims[kRankMax];
    for (int d = 0; d < in[0]->rank; ++d) dims[d] = in[0]->dims[perm_[d]];
    set_out(in[0]->rank, dims);
    return {};
  }
  // The same bytes when the channels stay the channels and the columns keep their order.
  void constrain(Layout* layout) override {
    if (in[0]->spatial() || out->spatial()) return;
    if ((out->axis < 0) != (in[0]->axis < 0) || (out->axis >= 0 && perm_[out->axis] != in[0]->axis)) return;
    int last = -1;
    for (int d = 0; d < out->rank; ++d) {
      if (d == out->axis || out->dims[d] == 1) continue;
      if (perm_[d] < last) return;
      last = perm_[d];
    }
    view_ = layout->place(out, in[0], 0);
  }
  void run(const RunContext& ctx) override {
    if (view_) return;
    if (out->mask) out->clear(0, out->channels);
    int64_t strides[kRankMax], permuted[kRankMax];
    in[0]->strides(strides);
    for (int d = 0; d < out->rank; ++d) permuted[d] = strides[perm_[d]];
    copy_node(*ctx.kernels, *out, in[0]->data, permuted);
  }

 private:
  int perm_[kRankMax];
  bool view_ = false;
};

class ReshapeOp : public ReshapeShape {
 public:
  using ReshapeShape::ReshapeShape;

  // The same bytes when the channel axis has as many elements before and after it as it had.
  void constrain(Layout* layout) override {
    if (in[0]->spatial() || out->spatial()) return;
    const auto before = [](const Node& x) {
      int64_t n = 1;
      for (int d = 0; d < x.axis; ++d) n *= x.dims[d];
      return n;
    };
    if (in[0]->channels != out->channels || before(*in[0]) != before(*out)) return;
    if ((in[0]->axis < 0) != (out->axis < 0)) return;
    view_ = layout->place(out, in[0], 0);
  }
  // Walks both shapes in logical order, in runs that are evenly spaced in both.
  void run(const RunContext&) override {
    if (view_) return;
    if (out->mask) out->clear(0, out->channels);
    Cursor src(*in[0]), dst(*out);
    const int64_t run = std::gcd(src.run, dst.run);
    for (int64_t left = in[0]->elements() / run; left > 0; --left) {
      const float* from = in[0]->data + src.at;
      float* to = out->data + dst.at;
      for (int64_t i = 0; i < run; ++i) to[i * dst.step] = from[i * src.step];
      src.advance(run);
      dst.advance(run);
    }
  }

 private:
  // A position in a node, moved in logical row-major order.
  struct Cursor {
    explicit Cursor(const Node& node) : rank(node.rank) {
      int64_t s[kRankMax];
      node.strides(s);
      std::copy(node.dims, node.dims + rank, dims);
      std::copy(s, s + rank, strides);
      if (rank > 0) run = dims[rank - 1], step = strides[rank - 1];
    }
    void advance(int64_t n) {
      int d = rank - 1;
      if (d < 0) return;
      index[d] += n;
      at += n * strides[d];
      for (; d > 0 && index[d] == dims[d]; --d) {
        at -= dims[d] * strides[d];
        index[d] = 0;
        ++index[d - 1];
        at += strides[d - 1];
      }
    }
    int rank;
    int64_t dims[kRankMax], strides[kRankMax], index[kRankMax] = {};
    int64_t at = 0, run = 1, step = 1;
  };
  bool view_ = false;
};

class PadOp : public PadShape {
 public:
  using PadShape::PadShape;

  void run(const RunContext& ctx) override {
    int64_t to[kRankMax], from[kRankMax];
    const int64_t still[kRankMax] = {};
    out->strides(to);
    in[0]->strides(from);
    if (out->mask) out->clear(0, out->channels);
    copy_strided(*ctx.kernels, out->rank, out->dims, out->data, to, &value_, still);
    int64_t corner = 0;
    for (int d = 0; d < out->rank; ++d) corner += before_[d] * to[d];
    copy_strided(*ctx.kernels, in[0]->rank, in[0]->dims, out->data + corner, to, in[0]->data, from);
  }
};

class ConstantOp : public Op {
 public:
  explicit ConstantOp(const OpSpec& spec) : Op(spec) {}

  Status infer() override {
    Attrs attrs(spec());
    int64_t dims[kRankMax];
    for (uint32_t d = 0; d < spec().attr_count; ++d) dims[d] = attrs.i32();
    set_out(static_cast<int>(spec().attr_count), dims);
    return {};
  }
  void run(const RunContext& ctx) override {
    if (out->mask) out->clear(0, out->channels);
    int64_t strides[kRankMax], step = 1;
    for (int d = out->rank - 1; d >= 0; --d) strides[d] = step, step *= out->dims[d];
    copy_node(*ctx.kernels, *out, spec().weights[0]->values, strides);
  }
};

}  // namespace

std::unique_ptr<Op> make_shape(const OpSpec& spec) {
  switch (spec.kind) {
    case OpKind::kConcat: return std::make_unique<ConcatOp>(spec);
    case OpKind::kSlice: return std::make_unique<SliceOp>(spec);
    case OpKind::kReshape: return std::make_unique<ReshapeOp>(spec);
    case OpKind::kPermute: return std::make_unique<PermuteOp>(spec);
    case OpKind::kPad: return std::make_unique<PadOp>(spec);
    default: return std::make_unique<ConstantOp>(spec);
  }
}

}  // namespace pyrt
