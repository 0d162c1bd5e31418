// The ops that move or compare u8 values, or bits, and compute nothing new: concat, slice, reshape, pad and max pool.
//
// Channel c lies in byte c % 4 of the columns of plane c / 4. Where channels move by whole planes, columns are copied
// as u32, else byte by byte.
#include "ops/pool_window.h"
#include "ops/shape_of.h"

namespace pyrt {
namespace {

// Byte offset of a channel from the node's first byte; other dimensions have strides of 4 bytes times Node::strides.
int64_t channel_byte(const Node& n, int64_t c) { return c / 4 * n.plane * 4 + c % 4; }
uint8_t* first_byte(const Node& n) { return reinterpret_cast<uint8_t*>(n.data); }

// The elements start + i*step of src, for i < dims, to `at` + i of dst: both of one rank and channel axis.
struct Box {
  int64_t start[kRankMax] = {}, at[kRankMax] = {}, dims[kRankMax] = {}, step[kRankMax] = {1, 1, 1, 1, 1, 1};
};

template <class T>
void copy_columns(const Box& box, int rank, int axis, T* dst, const int64_t* to, const T* src, const int64_t* from) {
  int inner = rank - 1;
  if (inner == axis) --inner;
  int64_t index[kRankMax] = {};
  const int64_t n = inner >= 0 ? box.dims[inner] : 1;
  const int64_t dst_step = inner >= 0 ? to[inner] : 0, src_step = inner >= 0 ? from[inner] * box.step[inner] : 0;
  for (;;) {
    for (int64_t i = 0; i < n; ++i) dst[i * dst_step] = src[i * src_step];
    int d = inner - 1;
    for (; d >= 0; --d) {
      if (d == axis) continue;
      dst += to[d];
      src += from[d] * box.step[d];
      if (++index[d] < box.dims[d]) break;
      dst -= box.dims[d] * to[d];
      src -= box.dims[d] * from[d] * box.step[d];
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

void copy_box(const Node& dst, const Node& src, const Box& box) {
  int64_t to[kRankMax], from[kRankMax], to_at = 0, from_at = 0;
  dst.strides(to);
  src.strides(from);
  const int axis = dst.axis, rank = dst.rank;
  for (int d = 0; d < rank; ++d) {
    if (d != axis) to_at += box.at[d] * to[d], from_at += box.start[d] * from[d];
  }
  const int64_t channels = box.dims[axis], first = box.start[axis], at = box.at[axis];
  if (first % 4 == 0 && at % 4 == 0 && box.step[axis] == 1) {
    for (int64_t c = 0; c < channels; c += 4) {
      copy_columns(box, rank, axis, reinterpret_cast<uint32_t*>(dst.row((at + c) / 4) + to_at), to,
                   reinterpret_cast<const uint32_t*>(src.row((first + c) / 4) + from_at), from);
    }
    return;
  }
  for (int d = 0; d < rank; ++d) to[d] *= 4, from[d] *= 4;
  for (int64_t c = 0; c < channels; ++c) {
    copy_columns(
        box, rank, axis, first_byte(dst) + channel_byte(dst, at + c) + 4 * to_at, to,
        static_cast<const uint8_t*>(first_byte(src)) + channel_byte(src, first + c * box.step[axis]) + 4 * from_at,
        from);
  }
}

Box whole(const Node& n) {
  Box box;
  std::copy(n.dims, n.dims + n.rank, box.dims);
  return box;
}

class ConcatBytes : public ConcatShape {
 public:
  using ConcatShape::ConcatShape;

  void constrain(Layout* layout) override {
    placed_.assign(in.size(), false);
    if (axis_ != out->axis) return;
    int64_t channel = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      // A part that ends inside a plane shares it with the next one.
      const bool apart = channel % 4 == 0 && (in[i]->channels % 4 == 0 || i + 1 == in.size());
      placed_[i] = apart && layout->place(in[i], out, channel / 4);
      channel += in[i]->channels;
    }
  }
  void run(const RunContext&) override {
    int64_t at = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      if (!placed_[i]) {
        if (out->mask && axis_ == out->axis) out->clear(ceil_div(at, 4), ceil_div(at + in[i]->channels, 4));
        else if (out->mask && i == 0) out->clear(0, out->planes());
        Box box = whole(*in[i]);
        box.at[axis_] = at;
        copy_box(*out, *in[i], box);
      }
      at += in[i]->dims[axis_];
    }
  }

 private:
  std::vector<bool> placed_;  // lies in the output already
};

class SliceBytes : public SliceShape {
 public:
  using SliceShape::SliceShape;

  void constrain(Layout* layout) override {
    view_ = axis_ == out->axis && step_ == 1 && start_ % 4 == 0 && layout->place(out, in[0], start_ / 4);
  }
  void run(const RunContext&) override {
    if (view_) return;
    if (out->mask) out->clear(0, out->planes());
    Box box = whole(*out);
    box.start[axis_] = start_;
    box.step[axis_] = step_;
    copy_box(*out, *in[0], box);
  }

 private:
  bool view_ = false;
};

class PadBytes : public PadShape {
 public:
  using PadShape::PadShape;

  void run(const RunContext&) override {
    out->clear(0, out->planes());  // the zero point is the value 0
    Box box = whole(*in[0]);
    std::copy(before_, before_ + out->rank, box.at);
    copy_box(*out, *in[0], box);
  }
};

// A position in a node, moved in logical row-major order.
struct Cursor {
  explicit Cursor(const Node& n) : node(n) { n.strides(strides); }
  int64_t byte() const { return 4 * at + channel_byte(node, index[node.axis]); }
  // Of a node of bits: the channel's column, and its bit there.
  uint32_t* column() const { return reinterpret_cast<uint32_t*>(node.data) + at + index[node.axis] / 32 * node.plane; }
  uint32_t bit() const { return 1u << (index[node.axis] % 32); }
  void advance() {
    for (int d = node.rank - 1; d >= 0; --d) {
      if (d != node.axis) at += strides[d];
      if (++index[d] < node.dims[d]) return;
      if (d != node.axis) at -= node.dims[d] * strides[d];
      index[d] = 0;
    }
  }
  const Node& node;
  int64_t strides[kRankMax], index[kRankMax] = {}, at = 0;
};

class ReshapeBytes : public ReshapeShape {
 public:
  using ReshapeShape::ReshapeShape;

  // In logical order, byte by byte.
  void run(const RunContext&) override {
    if (out->mask || out->bits) out->clear(0, out->planes());
    Cursor src(*in[0]), dst(*out);
    if (out->bits) {
      for (int64_t left = in[0]->elements(); left > 0; --left, src.advance(), dst.advance()) {
        if (*src.column() & src.bit()) *dst.column() |= dst.bit();
      }
      return;
    }
    for (int64_t left = in[0]->elements(); left > 0; --left) {
      first_byte(*out)[dst.byte()] = first_byte(*in[0])[src.byte()];
      src.advance();
      dst.advance();
    }
  }
};

class MaxPoolBytes : public Op {
 public:
  explicit MaxPoolBytes(const OpSpec& spec) : Op(spec) {
    Attrs attrs(spec);
    attrs.u32();  // the mode, maximum
    window_.read(&attrs);
  }

  Status infer() override {
    const Node& x = *in[0];
    int64_t dims[4] = {x.dims[0], x.dims[1], 0, 0};
    const std::string wrong = window_.infer(x, &dims[2], &dims[3]);
    if (!wrong.empty()) return error(wrong);
    set_out(4, dims);
    return {};
  }
  Status prepare(size_t*, size_t* scratch_size) override {
    // Columns of one row of windows, once as they lie and once in the phases of the stride.
    phase_ = out->width + window_.dw * (window_.kw - 1) / window_.sw;
    *scratch_size = std::max(*scratch_size, static_cast<size_t>(2 * phase_ * window_.sw) * 4 + 64);
    return {};
  }
  void run(const RunContext& ctx) override {
    ctx.parallel(out->elements() / 4 * window_.kh * window_.kw, [&](int part, int parts) {
      auto* reduced = reinterpret_cast<uint32_t*>(ctx.thread_scratch(part));
      const int64_t end = out->planes() * (part + 1) / parts;
      for (int64_t p = out->planes() * part / parts; p < end; ++p) {
        if (out->mask) out->clear(p, p + 1);
        for (int64_t n = 0; n < out->images; ++n) {
          for (int64_t h = 0; h < out->height; ++h) pool_row(ctx, p, n, h, reduced);
        }
      }
    });
  }

 private:
  static constexpr int kMost = 64;  // rows a kernel compares at a time

  // y = max(y, row(i) for i < count), any number of rows.
  template <class Row>
  void fold(const RunContext& ctx, int64_t count, const Row& row, uint8_t* y, int64_t bytes) const {
    if (out->bits) {
      auto* columns = reinterpret_cast<uint32_t*>(y);
      for (int64_t i = 0; i < count; ++i) {
        const auto* other = reinterpret_cast<const uint32_t*>(row(i));
        for (int64_t c = 0; c < bytes / 4; ++c) columns[c] |= other[c];
      }
      return;
    }
    const uint8_t* rows[kMost];
    for (int64_t i = 0; i < count;) {
      int n = 0;
      rows[n++] = y;
      while (i < count && n < kMost) rows[n++] = row(i++);
      ctx.kernels->max_u8({rows, n, y, bytes});
    }
  }

  // The rows of the windows first, then their columns, which are shifted rows of the phases. 0 is below every byte.
  void pool_row(const RunContext& ctx, int64_t p, int64_t n, int64_t h, uint32_t* reduced) const {
    const Node& x = *in[0];
    const int64_t columns = phase_ * window_.sw, inside = std::min(x.width, columns - window_.pw);
    std::fill(reduced, reduced + columns, 0);
    const int64_t h0 = h * window_.sh - window_.ph, skipped = h0 < 0 ? ceil_div(-h0, window_.dh) : 0;
    const int64_t below = std::min(window_.kh, ceil_div(x.height - h0, window_.dh));
    fold(
        ctx, below - skipped, [&](int64_t i) { return x.bytes(p, n, h0 + (skipped + i) * window_.dh); },
        reinterpret_cast<uint8_t*>(reduced + window_.pw), 4 * inside);
    const uint32_t* base = reduced;
    if (window_.sw > 1) {
      uint32_t* phases = reduced + columns;
      for (int64_t s = 0; s < window_.sw; ++s) {
        for (int64_t i = 0; i < phase_; ++i) phases[s * phase_ + i] = reduced[i * window_.sw + s];
      }
      base = phases;
    }
    const auto column = [&](int64_t j) {
      return reinterpret_cast<const uint8_t*>(base + j * window_.dw % window_.sw * phase_ +
                                              j * window_.dw / window_.sw);
    };
    std::memcpy(out->bytes(p, n, h), column(0), static_cast<size_t>(4 * out->width));
    fold(ctx, window_.kw - 1, [&](int64_t j) { return column(j + 1); }, out->bytes(p, n, h), 4 * out->width);
  }

  PoolWindow window_;
  int64_t phase_ = 0;
};

}  // namespace

void dequantize_node(const Node& node, float* dst) {
  Cursor at(node);
  for (int64_t left = node.elements(); left > 0; --left, at.advance()) {
    if (node.bits) {
      *dst++ = *at.column() & at.bit() ? 1.0f : -1.0f;
      continue;
    }
    *dst++ = static_cast<float>(first_byte(node)[at.byte()] - node.zero) * node.scale;
  }
}

std::unique_ptr<Op> make_bytes(const OpSpec& spec) {
  switch (spec.kind) {
    case OpKind::kConcat: return std::make_unique<ConcatBytes>(spec);
    case OpKind::kSlice: return std::make_unique<SliceBytes>(spec);
    case OpKind::kPad: return std::make_unique<PadBytes>(spec);
    case OpKind::kReshape: return std::make_unique<ReshapeBytes>(spec);
    default: return std::make_unique<MaxPoolBytes>(spec);
  }
}

}  // namespace pyrt
