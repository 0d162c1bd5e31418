// blinear and bconv2d: Y = W X on bits, columns of 32 channels. The gaps of a padded plane hold -1; what another
// padding adds to the sums depends only on which taps lie outside, so columns are sorted into zones.
#include "ops/conv.h"

namespace pyrt {
namespace {

// For one dimension: which taps of an output row (or column) lie outside the input, numbered.
class Edges {
 public:
  Edges(int64_t outputs, int64_t inputs, int64_t taps, int64_t stride, int64_t dilation, int64_t pad) : taps_(taps) {
    for (int64_t i = 0; i < outputs; ++i) {
      const int64_t first = i * stride - pad;
      const int64_t before = std::min(taps, std::max<int64_t>(0, ceil_div(-first, dilation)));
      const int64_t inside = std::min(taps, std::max<int64_t>(0, ceil_div(inputs - first, dilation)));
      const Range range{before, std::max(inside, before)};
      size_t k = 0;
      while (k < ranges_.size() && !(ranges_[k] == range)) ++k;
      if (k == ranges_.size()) ranges_.push_back(range);
      of_.push_back(k);
    }
  }
  size_t count() const { return ranges_.size(); }
  size_t of(int64_t output) const { return of_[static_cast<size_t>(output)]; }
  bool inside(size_t edge, int64_t tap) const { return tap >= ranges_[edge].begin && tap < ranges_[edge].end; }
  bool none() const { return count() == 1 && ranges_[0] == Range{0, taps_}; }

 private:
  struct Range {
    int64_t begin, end;
    bool operator==(const Range& o) const { return begin == o.begin && end == o.end; }
  };
  int64_t taps_;
  std::vector<Range> ranges_;
  std::vector<size_t> of_;
};

class BMatmulOp : public WeightedOp {
 public:
  explicit BMatmulOp(const OpSpec& spec) : WeightedOp(spec, kBitChannels) {
    Attrs attrs(spec);
    low_ = attrs.f32();
    act_ = attrs.act();
    conv_ = spec.kind == OpKind::kBConv2d;
    if (conv_) pad_value_ = attrs.i32(), geometry_.read(&attrs);
  }

  void constrain(Layout* layout) override {
    source_ = in[0];
    if (geometry_.strided()) source_ = geometry_.phases_of(*in[0], layout);
    if (conv_) source_->halo.widen(geometry_.halo(source_->height, source_->width, *out));
    layout->share_grid(source_, out);
    if (in.size() > 1) layout->share_grid(in[1], out);
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    (void)scratch_size;
    if (source_->planes() * source_->plane > INT32_MAX) return error("its input is too large; use a smaller batch");
    geometry_.offsets(*source_, w_.cols / kBitChannels / geometry_.taps(), &offsets_);
    sort_into_zones();
    at_least_.clear();
    if (out->bits) {
      at_least_.resize(static_cast<size_t>(padded_rows()), kNever);
      for (int64_t r = 0; r < w_.rows; ++r) {
        at_least_[padded(r)] = std::max<int16_t>(spec().weights[1]->shorts[r], -kNever);
      }
    }
    *table_bytes += offsets_.size() * sizeof(int32_t) + (shift_.size() + at_least_.size() + zone_.size()) * 2;
    return {};
  }

  int64_t flops() const override {
    const double flops = 2.0 * static_cast<double>(w_.parameters) * static_cast<double>(out->elements() / w_.rows);
    return static_cast<int64_t>(std::min(flops, 9e18));
  }
  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }
  const char* kernel(const Kernels& k) const override { return k.bgemm_name; }

  void run(const RunContext& ctx) override {
    if (geometry_.strided()) geometry_.split_columns(ctx, *in[0], *source_);
    const int64_t pairs = w_.groups * pairs_per_group();
    const int64_t work = static_cast<int64_t>(w_.entries) / 16 * out->cols + out->elements();
    ctx.parallel(work, [&](int part, int parts) {
      int64_t pair = 0, pair_end = pairs, col = 0, col_end = out->cols;
      const bool by_rows = pairs >= 4 * parts || out->cols < 32 * parts;
      if (by_rows) {
        pair = pairs * part / parts;
        pair_end = pairs * (part + 1) / parts;
      } else {
        col = std::min(round_up(out->cols * part / parts, 16), out->cols);
        col_end = std::min(round_up(out->cols * (part + 1) / parts, 16), out->cols);
      }
      if (pair >= pair_end || col >= col_end) return;
      for (; pair < pair_end; ++pair) {
        const int64_t row = pair_row(pair), end = row + pair_rows(pair);
        if (out->mask && (by_rows || part == parts - 1)) {
          if (out->bits) out->clear_margins(row / kBitChannels, ceil_div(end, kBitChannels));
          else out->clear_margins(row, end);
        }
        multiply(ctx, pair, col, col_end - col);
      }
    });
  }

 private:
  static constexpr int16_t kNever = 32767;  // above all sums; -32767 is below them
  static constexpr int64_t kPair = 2 * kBitPanel;

  int64_t pairs_per_group() const { return ceil_div(w_.panels_per_group(), 2); }
  int64_t pair_row(int64_t pair) const {
    return pair / pairs_per_group() * w_.rows_per_group() + pair % pairs_per_group() * kPair;
  }
  int64_t pair_rows(int64_t pair) const {
    return std::min(kPair, w_.rows_per_group() - pair % pairs_per_group() * kPair);
  }
  // Where a row lies when every group fills its panels.
  int64_t padded_group() const { return w_.panels_per_group() * kBitPanel; }
  int64_t padded_rows() const { return w_.groups * padded_group(); }
  size_t padded(int64_t row) const {
    return static_cast<size_t>(row / w_.rows_per_group() * padded_group() + row % w_.rows_per_group());
  }

  // Bytes of a row: [k][4], kBitPanel apart.
  const uint8_t* row_bits(int64_t row) const {
    const size_t at = padded(row);
    return w_.bits + static_cast<int64_t>(at) / kBitPanel * (w_.cols / 8 * kBitPanel) +
           static_cast<int64_t>(at) % kBitPanel;
  }

  // What S is without a mismatch, for each zone and row: the number of inputs and what the padding adds.
  void sort_into_zones() {
    const Node& x = *in[0];
    const int64_t taps = geometry_.taps(), channels = x.channels / w_.groups;
    const auto rows = static_cast<size_t>(padded_rows());
    zone_.clear();
    shift_.assign(rows, static_cast<int16_t>(channels * taps));
    if (!conv_ || pad_value_ == -1) return;
    const Edges down(out->height, x.height, geometry_.kh, geometry_.sh, geometry_.dh, geometry_.pad.top);
    const Edges across(out->width, x.width, geometry_.kw, geometry_.sw, geometry_.dw, geometry_.pad.left);
    if (down.none() && across.none()) return;
    zone_.assign(static_cast<size_t>(round_up(out->cols, 16)), 0);
    for (int64_t n = 0; n < out->images; ++n) {
      for (int64_t h = 0; h < out->height; ++h) {
        for (int64_t w = 0; w < out->width; ++w) {
          const size_t zone = down.of(h) * across.count() + across.of(w);
          zone_[static_cast<size_t>(n * out->image + h * out->pitch + w)] = static_cast<uint16_t>(zone);
        }
      }
    }
    shift_.assign(rows * down.count() * across.count(), static_cast<int16_t>(channels * taps));
    std::vector<int> sums(static_cast<size_t>(taps));  // of a row's weights, by tap
    for (int64_t r = 0; r < w_.rows; ++r) {
      const uint8_t* bits = row_bits(r);
      for (int64_t t = 0; t < taps; ++t) {
        int set = 0;
        for (int64_t c = 0; c < channels; c += 8) {
          const int64_t byte = (c / kBitChannels * taps + t) * 4 + c % kBitChannels / 8;
          const int used = channels - c < 8 ? (1 << (channels - c)) - 1 : 255;
          set += __builtin_popcount(bits[byte * kBitPanel] & used);
        }
        sums[static_cast<size_t>(t)] = 2 * set - static_cast<int>(channels);
      }
      for (size_t i = 0; i < down.count(); ++i) {
        for (size_t j = 0; j < across.count(); ++j) {
          int outside = 0;
          for (int64_t t = 0; t < taps; ++t) {
            const bool inside = down.inside(i, t / geometry_.kw) && across.inside(j, t % geometry_.kw);
            if (!inside) outside += sums[static_cast<size_t>(t)];
          }
          int16_t& shift = shift_[(i * across.count() + j) * rows + padded(r)];
          shift = static_cast<int16_t>(shift + (pad_value_ + 1) * outside);
        }
      }
    }
  }

  void multiply(const RunContext& ctx, int64_t pair, int64_t col, int64_t cols) const {
    const int64_t row = pair_row(pair), at = static_cast<int64_t>(padded(row)), k = w_.cols / kBitChannels;
    const int64_t group = pair / pairs_per_group();
    BinaryEpilogue e{};
    e.shift = shift_.data() + at;
    e.shift_stride = padded_rows();
    if (!zone_.empty()) e.zone = zone_.data() + col;
    e.low = low_;
    e.rest.act = act_;
    if (out->mask) e.rest.mask = out->mask + col / 8;
    if (out->bits) {
      e.at_least = at_least_.data() + at;
    } else {
      e.rest.scale = spec().weights[1]->values + row;
      e.rest.bias = spec().weights[2]->values + row;
      if (in.size() > 1) e.rest.residual = in[1]->row(row) + col;
    }
    const float* x = source_->row(group * (source_->planes() / w_.groups)) + col;
    ctx.kernels->bgemm({w_.bits + at * (w_.cols / 8), k * 4 * kBitPanel, offsets_.data(), static_cast<int>(k),
                        reinterpret_cast<const uint32_t*>(x), out->row(out->bits ? row / kBitChannels : row) + col,
                        out->bits, out->plane, static_cast<int>(pair_rows(pair)), static_cast<int>(cols), e});
  }

  float low_ = 0.0f;
  Activation act_;
  int pad_value_ = -1;
  Node* source_ = nullptr;  // the input, or its phases
  std::vector<int32_t> offsets_;
  std::vector<int16_t> shift_;     // [zones][padded rows]
  std::vector<int16_t> at_least_;  // [padded rows], y bits only
  std::vector<uint16_t> zone_;     // of each column; empty: all are of zone 0
};

}  // namespace

std::unique_ptr<Op> make_bmatmul(const OpSpec& spec) { return std::make_unique<BMatmulOp>(spec); }

}  // namespace pyrt
