// Attention, and products of two activations.
//
// Tokens are columns: the scores of a head are K^T Q, a product of matrices whose "weights" are a panel of 16 keys, and
// its output V P, whose weights are a panel of 16 channels of V. Both panels are gathered once per head; then a tile of
// queries at a time meets blocks of keys, with running maxima and sums, so that no more scores than a tile exist.
#include <limits>

#include "ops/matmul.h"

namespace pyrt {
namespace {

constexpr int64_t kQueries = 48;  // columns of a tile
constexpr int64_t kKeys = 256;    // keys of a block

// rows x cols of Y (+)= W X, panel by panel of W [ceil(rows/16)][k][16]. Writes no other columns.
void multiply(const Kernels& kernels, const float* w, const int32_t* off, int64_t k, const float* x, float* y,
              ptrdiff_t y_stride, int64_t rows, int64_t cols, bool first) {
  for (int64_t r = 0; r < rows; r += kPanel) {
    const auto product = [&](GemmFn gemm, int64_t c, int64_t n) {
      gemm({w + r * k, off, static_cast<int>(k), x + c, y + r * y_stride + c, y_stride,
            static_cast<int>(std::min<int64_t>(kPanel, rows - r)), static_cast<int>(n), first, true, Epilogue()});
    };
    const int64_t whole = cols / 16 * 16;
    if (whole > 0) product(kernels.gemm_f32, 0, whole);
    for (int64_t c = whole; c < cols; c += kFewColumns) {
      product(kernels.gemm_f32_few, c, std::min<int64_t>(kFewColumns, cols - c));
    }
  }
}

class AttentionOp : public Op {
 public:
  explicit AttentionOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    scale_ = attrs.f32();
    heads_ = attrs.i32(), kv_heads_ = attrs.i32();
    causal_ = attrs.u32() != 0, boolean_ = attrs.u32() != 0;
  }

  Status infer() override {
    const Node &q = *in[0], &k = *in[1], &v = *in[2];
    if (k.dims[0] != q.dims[0] || v.dims[0] != q.dims[0] || k.dims[1] != v.dims[1]) {
      return error("queries, keys and values differ in batch or length");
    }
    if (q.channels % heads_ || k.channels % kv_heads_ || v.channels % kv_heads_ ||
        q.channels / heads_ != k.channels / kv_heads_) {
      return error("the channels are not heads x size of a head");
    }
    depth_ = k.channels / kv_heads_;
    width_ = v.channels / kv_heads_;
    if (in.size() > 3) {
      const int64_t full[4] = {q.dims[0], heads_, q.dims[1], k.dims[1]};
      for (int d = 0; d < 4; ++d) {
        if (in[3]->dims[d] != 1 && in[3]->dims[d] != full[d]) {
          return error("its mask does not fit in dimension " + std::to_string(d));
        }
      }
    }
    const int64_t dims[3] = {q.dims[0], q.dims[1], width_ * heads_};
    set_out(3, dims);
    return {};
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    offsets_.resize(static_cast<size_t>(std::max(kKeys, depth_)));
    for (size_t i = 0; i < offsets_.size(); ++i) offsets_[i] = static_cast<int32_t>(i * kQueries);
    *table_bytes += offsets_.size() * sizeof(int32_t);
    uint8_t* none = nullptr;
    Bump bump(none);
    Tile(*this, &bump);
    *scratch_size = std::max(*scratch_size, bump.used(none));
    return {};
  }

  // Keys are gathered in sixteens, of the last ones past the end.
  bool exact(const Node& x) const override { return &x == out; }

  int64_t flops() const override {
    const auto positions = static_cast<double>(in[0]->dims[0]) * static_cast<double>(in[0]->dims[1]);
    const double flops = 2.0 * positions * static_cast<double>(keys()) * static_cast<double>(heads_) *
                         static_cast<double>(depth_ + width_);
    return static_cast<int64_t>(std::min(flops, 9e18));
  }
  const char* kernel(const Kernels& k) const override { return k.softmax_f32_name; }

  void run(const RunContext& ctx) override {
    if (out->mask) out->clear(0, out->channels);
    const int64_t tiles = ceil_div(queries(), kQueries), items = in[0]->dims[0] * heads_ * tiles;
    ctx.parallel(flops() / 2, [&](int part, int parts) {
      Bump bump(ctx.thread_scratch(part));
      const Tile tile(*this, &bump);
      int64_t gathered = -1;
      for (int64_t i = items * part / parts; i < items * (part + 1) / parts; ++i) {
        const int64_t head = i / tiles;
        if (head != gathered) gather(ctx, tile, head / heads_, head % heads_);
        gathered = head;
        run_tile(ctx, tile, head / heads_, head % heads_, i % tiles * kQueries);
      }
    });
  }

 private:
  int64_t queries() const { return in[0]->dims[1]; }
  int64_t keys() const { return in[1]->dims[1]; }
  // A mask that is the same for all queries is a number per key.
  bool key_mask() const { return in.size() > 3 && in[3]->dims[2] == 1; }

  struct Tile {
    Tile(const AttentionOp& op, Bump* bump) {
      const int64_t keys = round_up(op.keys(), kPanel);
      k = bump->take<float>(keys * op.depth_);
      v = bump->take<float>(keys * round_up(op.width_, kPanel));
      bias = bump->take<float>(keys);
      q = bump->take<float>(op.depth_ * kQueries);
      scores = bump->take<float>(std::min(kKeys, keys) * kQueries);
      sums = bump->take<float>(round_up(op.width_, kPanel) * kQueries);
      max = bump->take<float>(kQueries);
      sum = bump->take<float>(kQueries);
      factor = bump->take<float>(kQueries);
    }
    float *k, *v, *bias, *q, *scores, *sums, *max, *sum, *factor;
  };

  float masked(float m) const {
    if (!boolean_) return m;
    return m != 0 ? 0.0f : -std::numeric_limits<float>::infinity();
  }
  // The mask of one batch and head, its first query and key.
  const float* mask(int64_t batch, int64_t head, int64_t* query_step, int64_t* key_step) const {
    const Node& m = *in[3];
    int64_t s[kRankMax] = {};
    m.strides(s);
    for (int d = 0; d < 4; ++d) {
      if (m.dims[d] == 1) s[d] = 0;
    }
    *query_step = s[2], *key_step = s[3];
    return m.data + batch * s[0] + head * s[1];
  }

  // Keys and values of a head in panels: [keys/16][depth][16] and [width/16][keys][16].
  void gather(const RunContext& ctx, const Tile& t, int64_t batch, int64_t head) const {
    const int64_t kv = head / (heads_ / kv_heads_), n = keys();
    for (int64_t s = 0; s < n; s += kPanel) {
      const float* from = in[1]->row(kv * depth_) + batch * n + s;
      float* to = t.k + s * depth_;
      for (int64_t d = 0; d < depth_; ++d)
        std::memcpy(to + d * kPanel, from + d * in[1]->plane, kPanel * sizeof(float));
    }
    for (int64_t d = 0; d < width_; d += kPanel) {
      ctx.kernels->transpose_f32({in[2]->row(kv * width_ + d) + batch * n, in[2]->plane,
                                  std::min<int64_t>(kPanel, width_ - d), n, t.v + d * n, kPanel});
    }
    if (!key_mask()) return;
    int64_t query_step, key_step;
    const float* m = mask(batch, head, &query_step, &key_step);
    for (int64_t s = 0; s < n; ++s) t.bias[s] = masked(m[s * key_step]);
  }

  void run_tile(const RunContext& ctx, const Tile& t, int64_t batch, int64_t head, int64_t first) const {
    const Kernels& k = *ctx.kernels;
    const int64_t cols = std::min(kQueries, queries() - first), at = batch * queries() + first;
    const int64_t padded = round_up(cols, 16);
    for (int64_t d = 0; d < depth_; ++d) {
      k.affine_f32({in[0]->row(head * depth_ + d) + at, t.q + d * kQueries, cols, scale_, 0.0f, Activation(), nullptr});
      // The vectors of the softmax are whole ones: what is behind the columns must be numbers.
      for (int64_t c = cols; c < padded; ++c) t.q[d * kQueries + c] = 0.0f;
    }
    const int64_t seen = causal_ ? std::min(keys(), first + cols) : keys();
    for (int64_t s = 0; s < seen; s += kKeys) {
      const int64_t n = std::min(kKeys, seen - s);
      multiply(k, t.k + s * depth_, offsets_.data(), depth_, t.q, t.scores, kQueries, n, padded, true);
      if (in.size() > 3 && !key_mask()) add_mask(t, batch, head, first, cols, s, n);
      for (int64_t r = 0; causal_ && r < n; ++r) {
        const int64_t hidden = std::min(s + r - first, cols);  // queries before the key
        if (hidden > 0) {
          std::fill(t.scores + r * kQueries, t.scores + r * kQueries + hidden, -std::numeric_limits<float>::infinity());
        }
      }
      k.softmax_f32({t.scores, kQueries, static_cast<int>(n), static_cast<int>(padded),
                     key_mask() ? t.bias + s : nullptr, t.max, t.sum, t.factor, s == 0});
      for (int64_t d = 0; s > 0 && d < width_; ++d) {
        float* row = t.sums + d * kQueries;
        k.binary_f32({row, t.factor, row, padded, 1, 1, BinaryOp::kMul, Activation(), nullptr});
      }
      for (int64_t d = 0; d < width_; d += kPanel) {
        multiply(k, t.v + d * keys() + s * kPanel, offsets_.data(), n, t.scores, t.sums + d * kQueries, kQueries,
                 std::min<int64_t>(kPanel, width_ - d), padded, s == 0);
      }
    }
    // Where all keys are hidden the sum is 0, and so is the output.
    for (int64_t c = 0; c < cols; ++c) t.factor[c] = t.sum[c] > 0 ? 1.0f / t.sum[c] : t.sum[c];
    for (int64_t d = 0; d < width_; ++d) {
      k.binary_f32({t.sums + d * kQueries, t.factor, out->row(head * width_ + d) + at, cols, 1, 1, BinaryOp::kMul,
                    Activation(), nullptr});
    }
  }

  void add_mask(const Tile& t, int64_t batch, int64_t head, int64_t first, int64_t cols, int64_t s, int64_t n) const {
    int64_t query_step, key_step;
    const float* m = mask(batch, head, &query_step, &key_step) + first * query_step + s * key_step;
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < n; ++r) t.scores[r * kQueries + c] += masked(m[c * query_step + r * key_step]);
    }
  }

  float scale_;
  int64_t heads_, kv_heads_;
  bool causal_, boolean_;
  int64_t depth_ = 0, width_ = 0;  // channels of a head, in keys and in values
  std::vector<int32_t> offsets_;
};

// Y[.., M, N] = A[.., M, K] B[.., K, N]: the channels of B and Y are their rows, so that a matrix of A is the weights
// of a product along columns.
class ProductOp : public Op {
 public:
  using Op::Op;

  Status infer() override {
    const Node &a = *in[0], &b = *in[1];
    const int r = a.rank;
    int64_t dims[kRankMax];
    for (int d = 0; d < r - 2; ++d) {
      if (a.dims[d] != b.dims[d] && a.dims[d] != 1 && b.dims[d] != 1) {
        return error("cannot broadcast dimension " + std::to_string(d));
      }
      dims[d] = std::max(a.dims[d], b.dims[d]);
    }
    if (a.dims[r - 1] != b.dims[r - 2]) {
      return error("cannot multiply " + std::to_string(a.dims[r - 1]) + " columns by " + std::to_string(b.dims[r - 2]) +
                   " rows");
    }
    dims[r - 2] = a.dims[r - 2];
    dims[r - 1] = b.dims[r - 1];
    set_out(r, dims);
    return {};
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    const Node& b = *in[1];
    if (b.channels * b.plane > INT32_MAX) return error("its input is too large");
    if (b.mask || out->mask) return error("lies in a padded plane; please report this model");
    offsets_.resize(static_cast<size_t>(b.channels));
    for (size_t i = 0; i < offsets_.size(); ++i) offsets_[i] = static_cast<int32_t>(static_cast<int64_t>(i) * b.plane);
    *table_bytes += offsets_.size() * sizeof(int32_t);
    *scratch_size = std::max(*scratch_size, static_cast<size_t>(b.channels * kPanel) * sizeof(float));
    return {};
  }

  bool exact(const Node&) const override { return true; }

  int64_t flops() const override {
    const double flops = 2.0 * static_cast<double>(out->elements()) * static_cast<double>(in[1]->channels);
    return static_cast<int64_t>(std::min(flops, 9e18));
  }
  const char* kernel(const Kernels& k) const override { return k.gemm_f32_name; }

  void run(const RunContext& ctx) override {
    const int64_t panels = ceil_div(out->channels, kPanel), cols = out->dims[out->rank - 1];
    const int64_t matrices = out->elements() / (out->channels * cols);
    ctx.parallel(flops() / 2, [&](int part, int parts) {
      auto* w = reinterpret_cast<float*>(ctx.thread_scratch(part));
      for (int64_t i = 0; i < matrices; ++i) {
        const float *a = matrix(*in[0], i), *x = matrix(*in[1], i);
        float* y = out->data + i * cols;
        for (int64_t p = panels * part / parts; p < panels * (part + 1) / parts; ++p) {
          const int64_t rows = std::min<int64_t>(kPanel, out->channels - p * kPanel);
          gather(a, p * kPanel, rows, w);
          multiply(*ctx.kernels, w, offsets_.data(), in[1]->channels, x, y + p * kPanel * out->plane, out->plane, rows,
                   cols, true);
        }
      }
    });
  }

 private:
  // Where matrix i of an operand starts, counted over those of the output.
  const float* matrix(const Node& x, int64_t i) const {
    int64_t s[kRankMax] = {};
    x.strides(s);
    const float* at = x.data;
    for (int d = x.rank - 3; d >= 0; --d) {
      if (x.dims[d] > 1) at += i % out->dims[d] * s[d];
      i /= out->dims[d];
    }
    return at;
  }
  void gather(const float* a, int64_t row, int64_t rows, float* w) const {
    int64_t s[kRankMax] = {};
    in[0]->strides(s);
    const int64_t row_step = s[in[0]->rank - 2], step = s[in[0]->rank - 1];
    for (int64_t k = 0; k < in[1]->channels; ++k) {
      for (int64_t r = 0; r < kPanel; ++r) w[k * kPanel + r] = r < rows ? a[(row + r) * row_step + k * step] : 0.0f;
    }
  }

  std::vector<int32_t> offsets_;
};

}  // namespace

std::unique_ptr<Op> make_attention(const OpSpec& spec) {
  if (spec.kind == OpKind::kAttention) return std::make_unique<AttentionOp>(spec);
  return std::make_unique<ProductOp>(spec);
}

}  // namespace pyrt
