// interpolate: nearest and bilinear resizing of images, by torch's rules.
#include <cmath>

#include "ops/op.h"

namespace pyrt {
namespace {

// Where an output coordinate reads: neighbours and the weight of the second.
struct Tap {
  int64_t first, second;
  float weight;
};

class InterpolateOp : public Op {
 public:
  explicit InterpolateOp(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    bilinear_ = attrs.u32() == 1;
    align_corners_ = attrs.u32() != 0;
    size_h_ = attrs.i32(), size_w_ = attrs.i32();
    scale_h_ = attrs.f32(), scale_w_ = attrs.f32();
  }

  Status infer() override {
    const Node& x = *in[0];
    // Torch computes the size in double from the scale as the user gave it.
    const auto size = [](int64_t fixed, int64_t n, float scale) {
      return fixed ? fixed : static_cast<int64_t>(std::floor(static_cast<double>(n) * static_cast<double>(scale)));
    };
    const int64_t dims[4] = {x.dims[0], x.dims[1], size(size_h_, x.height, scale_h_), size(size_w_, x.width, scale_w_)};
    if (dims[2] < 1 || dims[3] < 1) return error("the scale leaves no pixel");
    if (dims[2] > kMaxSize || dims[3] > kMaxSize) return error("the scale makes more than 1048576 rows or columns");
    set_out(4, dims);
    return {};
  }

  Status prepare(size_t* table_bytes, size_t*) override {
    rows_ = taps(in[0]->height, out->height, size_h_ ? 0.0f : scale_h_);
    cols_ = taps(in[0]->width, out->width, size_w_ ? 0.0f : scale_w_);
    *table_bytes += (rows_.size() + cols_.size()) * sizeof(Tap);
    return {};
  }

  void run(const RunContext& ctx) override {
    const Node& x = *in[0];
    ctx.parallel(out->elements() * 4, [&](int part, int parts) {
      const int64_t end = x.channels * (part + 1) / parts;
      for (int64_t c = x.channels * part / parts; c < end; ++c) {
        if (out->mask) out->clear(c, c + 1);
        for (int64_t n = 0; n < x.images; ++n) {
          for (int64_t h = 0; h < out->height; ++h) {
            const Tap& r = rows_[static_cast<size_t>(h)];
            const float *top = x.row(c, n, r.first), *low = x.row(c, n, r.second);
            float* y = out->row(c, n, h);
            for (int64_t w = 0; w < out->width; ++w) {
              const Tap& t = cols_[static_cast<size_t>(w)];
              if (!bilinear_) {
                y[w] = top[t.first];
                continue;
              }
              const float a = (1.0f - t.weight) * top[t.first] + t.weight * top[t.second];
              const float b = (1.0f - t.weight) * low[t.first] + t.weight * low[t.second];
              y[w] = (1.0f - r.weight) * a + r.weight * b;
            }
          }
        }
      }
    });
  }

 private:
  static constexpr int64_t kMaxSize = 1 << 20;  // bounds the tables of taps

  std::vector<Tap> taps(int64_t n, int64_t size, float scale) const {
    std::vector<Tap> result(static_cast<size_t>(size));
    float ratio = scale > 0 ? 1.0f / scale : static_cast<float>(n) / static_cast<float>(size);
    if (bilinear_ && align_corners_) ratio = size > 1 ? static_cast<float>(n - 1) / static_cast<float>(size - 1) : 0.0f;
    for (int64_t i = 0; i < size; ++i) {
      Tap& t = result[static_cast<size_t>(i)];
      const auto at = static_cast<float>(i);
      if (!bilinear_) {
        t.first = t.second = std::min(static_cast<int64_t>(std::floor(at * ratio)), n - 1);
        continue;
      }
      const float source = align_corners_ ? at * ratio : std::max((at + 0.5f) * ratio - 0.5f, 0.0f);
      t.first = std::min(static_cast<int64_t>(source), n - 1);
      t.second = std::min(t.first + 1, n - 1);
      t.weight = std::min(std::max(source - static_cast<float>(t.first), 0.0f), 1.0f);
    }
    return result;
  }

  bool bilinear_, align_corners_;
  int64_t size_h_, size_w_;
  float scale_h_, scale_w_;
  std::vector<Tap> rows_, cols_;
};

}  // namespace

std::unique_ptr<Op> make_interpolate(const OpSpec& spec) { return std::make_unique<InterpolateOp>(spec); }

}  // namespace pyrt
