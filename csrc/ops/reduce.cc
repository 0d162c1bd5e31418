// reduce (mean, sum, max over axes) and softmax.
#include <cmath>
#include <limits>

#include "ops/op.h"

namespace pyrt {
namespace {

// Visits every index of a box; fn gets the offset in each of two strided arrays.
template <class Fn>
void for_each(int rank, const int64_t* dims, const int64_t* sa, const int64_t* sb, const Fn& fn) {
  int64_t at[kRankMax] = {}, a = 0, b = 0;
  while (rank > 0 && dims[rank - 1] == 1) --rank;
  for (;;) {
    fn(a, b);
    int d = rank - 1;
    for (; d >= 0; --d) {
      a += sa[d], b += sb[d];
      if (++at[d] < dims[d]) break;
      a -= dims[d] * sa[d], b -= dims[d] * sb[d];
      at[d] = 0;
    }
    if (d < 0) return;
  }
}

// Columns that are not neighbours, as when channels are summed: eight sums side by side.
float sum_run(const float* x, int64_t n, int64_t step) {
  float s[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int u = 0; u < 8; ++u) s[u] += x[(i + u) * step];
  }
  for (; i < n; ++i) s[i % 8] += x[i * step];
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

float max_run(const float* x, int64_t n, int64_t step) {
  float m = x[0];
  for (int64_t i = 1; i < n; ++i) m = x[i * step] > m || std::isnan(x[i * step]) ? x[i * step] : m;
  return m;
}

class ReduceOp : public Op {
 public:
  explicit ReduceOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    fn_ = attrs.u32();
    keepdim_ = attrs.u32() != 0;
    for (uint32_t i = 2; i < spec.attr_count; ++i) reduced_[attrs.u32()] = true;
  }

  Status infer() override {
    int64_t dims[kRankMax];
    int rank = 0;
    for (int d = 0; d < in[0]->rank; ++d) {
      if (!reduced_[d]) dims[rank++] = in[0]->dims[d];
      else if (keepdim_) dims[rank++] = 1;
    }
    set_out(rank, dims);
    return {};
  }

  void run(const RunContext& ctx) override {
    const Node& x = *in[0];
    int64_t sx[kRankMax], out_strides[kRankMax], sy[kRankMax] = {};
    x.strides(sx);
    out->strides(out_strides);
    // The two reduced dimensions with the nearest neighbours are rows of columns; the others are visited around them.
    int run = -1, row = -1;
    for (int d = 0, o = 0; d < x.rank; ++d) {
      if (!reduced_[d]) sy[d] = out_strides[o];
      if (!reduced_[d] || keepdim_) ++o;
      if (reduced_[d] && (run < 0 || sx[d] <= sx[run])) row = run, run = d;
      else if (reduced_[d] && (row < 0 || sx[d] <= sx[row])) row = d;
    }
    const int64_t rows = row < 0 ? 1 : x.dims[row], row_step = row < 0 ? 0 : sx[row];
    int64_t kept[kRankMax], rest[kRankMax], count = 1;
    for (int d = 0; d < x.rank; ++d) {
      kept[d] = reduced_[d] ? 1 : x.dims[d];
      rest[d] = reduced_[d] && d != run && d != row ? x.dims[d] : 1;
      if (reduced_[d]) count *= x.dims[d];
    }
    if (out->mask) out->clear(0, out->channels);
    // Threads take channels where the channels are kept.
    const int split = x.axis >= 0 && !reduced_[x.axis] ? x.axis : -1;
    ctx.parallel(split >= 0 ? x.elements() : 0, [&](int part, int parts) {
      int64_t dims[kRankMax], from = 0;
      std::copy(kept, kept + x.rank, dims);
      if (split >= 0) {
        from = kept[split] * part / parts;
        dims[split] = kept[split] * (part + 1) / parts - from;
        if (dims[split] == 0) return;
      }
      const float* src = x.data + (split >= 0 ? from * sx[split] : 0);
      float* dst = out->data + (split >= 0 ? from * sy[split] : 0);
      for_each(x.rank, dims, sx, sy, [&](int64_t a, int64_t b) {
        float acc = fn_ == kMax ? -std::numeric_limits<float>::infinity() : 0.0f;
        for_each(x.rank, rest, sx, sx, [&](int64_t r, int64_t) {
          const float* p = src + a + r;
          if (run < 0) {
            acc = *p;
          } else if (fn_ != kMax && sx[run] == 1) {
            float sum;
            ctx.kernels->sum_f32({p, row_step, rows, x.dims[run], &sum});
            acc += sum;
          } else {
            for (int64_t i = 0; i < rows; ++i, p += row_step) {
              if (fn_ != kMax) acc += sum_run(p, x.dims[run], sx[run]);
              else acc = std::isnan(acc) ? acc : max_or_nan(acc, max_run(p, x.dims[run], sx[run]));
            }
          }
        });
        dst[b] = fn_ == kMean ? acc / static_cast<float>(count) : acc;
      });
    });
  }

 private:
  static constexpr uint32_t kMean = 0, kMax = 2;
  static float max_or_nan(float a, float b) { return b > a || std::isnan(b) ? b : a; }
  uint32_t fn_;
  bool keepdim_;
  bool reduced_[kRankMax] = {};
};

class SoftmaxOp : public Op {
 public:
  explicit SoftmaxOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    axis_ = attrs.i32();
    log_ = attrs.u32() != 0;
  }

  Status infer() override {
    set_out(in[0]->rank, in[0]->dims);
    return {};
  }

  void run(const RunContext&) override {
    const Node& x = *in[0];
    int64_t sx[kRankMax], sy[kRankMax], dims[kRankMax];
    x.strides(sx);
    out->strides(sy);
    std::copy(x.dims, x.dims + x.rank, dims);
    const int64_t n = dims[axis_], step = sx[axis_], to = sy[axis_];
    dims[axis_] = 1;
    if (out->mask) out->clear(0, out->channels);
    for_each(x.rank, dims, sx, sy, [&](int64_t a, int64_t b) {
      const float* src = x.data + a;
      float* dst = out->data + b;
      const float m = max_run(src, n, step);
      for (int64_t i = 0; i < n; ++i) dst[i * to] = std::exp(src[i * step] - m);
      const float sum = sum_run(dst, n, to);
      if (log_) {
        const float shift = m + std::log(sum);
        for (int64_t i = 0; i < n; ++i) dst[i * to] = src[i * step] - shift;
      } else {
        for (int64_t i = 0; i < n; ++i) dst[i * to] /= sum;
      }
    });
  }

 private:
  int axis_;
  bool log_;
};

}  // namespace

std::unique_ptr<Op> make_reduce(const OpSpec& spec) {
  if (spec.kind == OpKind::kReduce) return std::make_unique<ReduceOp>(spec);
  return std::make_unique<SoftmaxOp>(spec);
}

}  // namespace pyrt
