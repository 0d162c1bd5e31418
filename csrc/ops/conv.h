// Where the taps of a convolution lie: a strided one reads phases of its input (every sh-th row, every sw-th column),
// and is then one of stride 1 on shifted columns.
#pragma once

#include "ops/op.h"

namespace pyrt {

struct ConvGeometry {
  int64_t kh = 1, kw = 1, sh = 1, sw = 1, dh = 1, dw = 1;
  Halo pad;

  void read(Attrs* attrs) {
    kh = attrs->i32(), kw = attrs->i32();
    sh = attrs->i32(), sw = attrs->i32();
    pad.top = attrs->i32(), pad.left = attrs->i32(), pad.bottom = attrs->i32(), pad.right = attrs->i32();
    dh = attrs->i32(), dw = attrs->i32();
  }
  int64_t taps() const { return kh * kw; }
  // Sets the size of the output; returns what is wrong, if anything.
  std::string infer(const Node& x, int64_t* height, int64_t* width) const {
    *height = floor_div(x.height + pad.top + pad.bottom - dh * (kh - 1) - 1, sh) + 1;
    *width = floor_div(x.width + pad.left + pad.right - dw * (kw - 1) - 1, sw) + 1;
    if (*height >= 1 && *width >= 1) return {};
    return "an input of " + std::to_string(x.height) + "x" + std::to_string(x.width) + " is smaller than the kernel";
  }

  bool strided() const { return sh > 1 || sw > 1; }
  // A single tap reads a single phase.
  int64_t phases_h() const { return kh == 1 ? 1 : sh; }
  int64_t phases_w() const { return kw == 1 ? 1 : sw; }
  int64_t phases() const { return phases_h() * phases_w(); }
  // First row and column of the input in phase p.
  int64_t phase_row(int64_t p) const { return phases_h() == 1 ? floor_mod(-pad.top, sh) : p / phases_w(); }
  int64_t phase_col(int64_t p) const { return phases_w() == 1 ? floor_mod(-pad.left, sw) : p % phases_w(); }
  // The phase that tap (i, j) reads, and by how much its rows and columns are shifted there.
  int64_t phase(int64_t i, int64_t j) const {
    const int64_t row = phases_h() == 1 ? 0 : floor_mod(i * dh - pad.top, sh);
    return row * phases_w() + (phases_w() == 1 ? 0 : floor_mod(j * dw - pad.left, sw));
  }
  int64_t row_shift(int64_t i) const { return floor_div(i * dh - pad.top, sh); }
  int64_t col_shift(int64_t j) const { return floor_div(j * dw - pad.left, sw); }
  // What the taps read around a source of that many rows and columns.
  Halo halo(int64_t height, int64_t width, const Node& out) const {
    const auto past = [](int64_t n) { return std::max<int64_t>(n, 0); };
    return {past(-row_shift(0)), past(-col_shift(0)), past(out.height + row_shift(kh - 1) - height),
            past(out.width + col_shift(kw - 1) - width)};
  }
  // Where the phases of x will lie: as many planes for each of its planes.
  Node* phases_of(const Node& x, Layout* layout) const {
    Node* source = layout->scratch();
    source->u8 = x.u8, source->bits = x.bits, source->zero = x.zero;
    const int64_t dims[4] = {x.images, x.lanes() * x.planes() * phases(), ceil_div(x.height, sh),
                             ceil_div(x.width, sw)};
    source->set_shape(4, dims, 1);
    return source;
  }
  // By how much each tap of each plane of a group lies after the first plane of the group, tap after tap.
  void offsets(const Node& source, int64_t planes, std::vector<int32_t>* offsets) const {
    const int64_t count = strided() ? phases() : 1;
    offsets->clear();
    for (int64_t c = 0; c < planes; ++c) {
      for (int64_t i = 0; i < kh; ++i) {
        for (int64_t j = 0; j < kw; ++j) {
          const int64_t plane = c * count + (strided() ? phase(i, j) : 0);
          offsets->push_back(static_cast<int32_t>(plane * source.plane + row_shift(i) * source.pitch + col_shift(j)));
        }
      }
    }
  }
  // Copies the columns of 4 bytes of a packed activation into its phases.
  void split_columns(const RunContext& ctx, const Node& x, const Node& source) const {
    ctx.parallel(x.elements(), [&](int part, int parts) {
      const int64_t count = phases();
      const int64_t end = x.planes() * (part + 1) / parts;
      for (int64_t c = x.planes() * part / parts; c < end; ++c) {
        source.clear(c * count, (c + 1) * count);
        for (int64_t p = 0; p < count; ++p) {
          const int64_t h0 = phase_row(p), w0 = phase_col(p);
          const int64_t rows = ceil_div(x.height - h0, sh), cols = ceil_div(x.width - w0, sw);
          for (int64_t n = 0; n < x.images; ++n) {
            ctx.kernels->copy_rows_f32({x.row(c, n, h0) + w0, x.pitch * sh, static_cast<int>(sw),
                                        static_cast<int>(cols), source.row(c * count + p, n, 0), source.pitch,
                                        static_cast<int>(rows), static_cast<int>(cols)});
          }
        }
      }
    });
  }

 private:
  static int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }
};

// An op that multiplies a weight with columns of X, those of a convolution or, where conv_ is false, as they are.
class WeightedOp : public Op {
 public:
  // lanes: channels that share a column of X.
  WeightedOp(const OpSpec& spec, int64_t lanes) : Op(spec), w_(*spec.weights[0]), lanes_(lanes) {}

  Status infer() override {
    const Node& x = *in[0];
    const int64_t channels = w_.cols / geometry_.taps() * w_.groups;
    // Groups begin with a column; only an ungrouped weight may leave the last one incomplete.
    const bool whole = w_.groups > 1 || w_.structure == Weights::kRows;
    if ((whole ? x.channels : round_up(x.channels, lanes_)) != channels) {
      return error("expects " + std::to_string(channels) + (conv_ ? " channels" : " features") + ", its input has " +
                   std::to_string(x.channels));
    }
    int64_t dims[kRankMax];
    std::copy(x.dims, x.dims + x.rank, dims);
    if (conv_) {
      const std::string wrong = geometry_.infer(x, &dims[2], &dims[3]);
      if (!wrong.empty()) return error(wrong);
    }
    dims[x.axis] = w_.rows;
    set_out(x.rank, dims);
    if (in.size() > 1 && !in[1]->same_dims(*out)) return error("its residual input has another shape");
    return {};
  }

 protected:
  const Weights& w_;
  bool conv_ = false;
  ConvGeometry geometry_;

 private:
  const int64_t lanes_;
};

}  // namespace pyrt
