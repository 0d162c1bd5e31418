// What an op of a file must look like for this runtime to run it, and the makers.
#include <cmath>

#include "format/format.h"
#include "ops/op.h"

namespace pyrt {
namespace {

const char* const kNames[] = {"?",
                              "linear",
                              "conv2d",
                              "unary",
                              "binary",
                              "scalar",
                              "affine",
                              "pool2d",
                              "adaptive_pool2d",
                              "concat",
                              "slice",
                              "reshape",
                              "permute",
                              "reduce",
                              "pad",
                              "softmax",
                              "interpolate",
                              "constant",
                              "quantize",
                              "dequantize",
                              "qlinear",
                              "qconv2d",
                              "qadd",
                              "qmean",
                              "qtable",
                              "qlinear_dynamic",
                              "embedding",
                              "binarize",
                              "signs",
                              "blinear",
                              "bconv2d",
                              "recurrent",
                              "norm",
                              "attention",
                              "product",
                              "where",
                              "range",
                              "cumsum"};

constexpr int kAny = -1;

// Operand and attribute counts of each op; kAny where the check below decides.
struct Signature {
  int min_inputs, max_inputs, min_tensors, max_tensors, attrs;
};
const Signature kSignatures[] = {
    {0, 0, 0, 0, 0},    {1, 2, 1, 3, 3},    {1, 2, 1, 3, 13},   {1, 1, 0, 0, 3},   {2, 2, 0, 0, 4}, {1, 1, 0, 0, 6},
    {1, 1, 2, 2, 3},    {1, 1, 0, 0, 12},   {1, 1, 0, 0, 3},    {1, 255, 0, 0, 1}, {1, 1, 0, 0, 4}, {1, 1, 0, 0, kAny},
    {1, 1, 0, 0, kAny}, {1, 1, 0, 0, kAny}, {1, 1, 0, 0, kAny}, {1, 1, 0, 0, 2},   {1, 1, 0, 0, 6}, {0, 0, 1, 1, kAny},
    {1, 1, 0, 0, 2},    {1, 1, 0, 0, 0},    {1, 2, 4, 4, 3},    {1, 2, 4, 4, 13},  {2, 2, 0, 0, 4}, {1, 1, 0, 0, 3},
    {1, 1, 0, 0, 64},   {1, 1, 4, 4, 3},    {1, 1, 1, 2, 0},    {1, 1, 0, 1, 0},   {1, 1, 0, 0, 0}, {1, 2, 2, 3, 4},
    {1, 2, 2, 3, 15},   {1, 3, 1, 2, 3},    {1, 1, 2, 2, 2},    {3, 4, 0, 0, 5},   {2, 2, 0, 0, 0}, {3, 3, 0, 0, 0},
    {1, 1, 0, 0, 3},    {1, 1, 0, 0, 1}};

class OpCheck {
 public:
  OpCheck(const OpSpec& spec, const std::vector<ValueType>& values) : s_(spec) {
    for (uint32_t v : spec.inputs) {
      in_.push_back(values[v]), in_rank_.push_back(values[v].rank), in_axis_.push_back(values[v].axis);
    }
    for (uint32_t v : spec.outputs) out_ = values[v], out_rank_ = out_.rank, out_axis_ = out_.axis;
    rank_ = in_rank_.empty() ? 0 : in_rank_[0];
    axis_ = in_axis_.empty() ? -1 : in_axis_[0];
  }

  Status run() {
    const auto kind = static_cast<uint32_t>(s_.kind);
    if (kind < 1 || s_.kind >= OpKind::kEnd)
      return invalid_file("section OPS: unknown op code " + std::to_string(kind));
    const Signature& sig = kSignatures[kind];
    const int inputs = static_cast<int>(s_.inputs.size()), tensors = static_cast<int>(s_.weights.size());
    if (inputs < sig.min_inputs || inputs > sig.max_inputs) return error("wrong number of inputs");
    if (tensors < sig.min_tensors || tensors > sig.max_tensors) return error("wrong number of tensors");
    if (s_.outputs.size() != 1) return error("must have one output");
    if (sig.attrs != kAny && static_cast<int>(s_.attr_count) != sig.attrs) return error("wrong number of attributes");
    const bool free_rank = s_.kind == OpKind::kReshape || s_.kind == OpKind::kPermute || s_.kind == OpKind::kConstant ||
                           s_.kind == OpKind::kReduce || s_.kind == OpKind::kEmbedding || s_.kind == OpKind::kRange ||
                           s_.kind == OpKind::kProduct || s_.kind == OpKind::kWhere;
    if (!free_rank && (out_rank_ != rank_ || out_axis_ != axis_)) return error("changes the rank or the channel axis");
    PYRT_RETURN_IF_ERROR(types());
    return attributes();
  }

 private:
  // Which of u8 and f32 an op takes and gives.
  Status types() const {
    const bool first = !in_.empty() && in_[0].u8, bits = !in_.empty() && in_[0].bits;
    if (s_.kind == OpKind::kBLinear || s_.kind == OpKind::kBConv2d) {
      const bool residual = in_.size() > 1 && (out_.bits || in_[1].u8 || in_[1].bits);
      return !bits || out_.u8 || residual ? error("takes bits, and an f32 residual only where it gives f32") : Status();
    }
    for (const ValueType& v : in_) {
      if (v.u8 != first || v.bits != bits) return error("inputs of different types do not mix");
    }
    if (bits || out_.bits) {
      switch (s_.kind) {
        case OpKind::kBinarize: return !first && !bits && out_.bits ? Status() : error("takes f32 and gives bits");
        case OpKind::kSigns: return bits && !out_.bits && !out_.u8 ? Status() : error("takes bits and gives f32");
        case OpKind::kReshape:
        case OpKind::kPool2d: return bits && out_.bits ? Status() : error("its values must have one type");
        default: return error("does not take bits");
      }
    }
    switch (s_.kind) {
      case OpKind::kQuantize: return !first && out_.u8 ? Status() : error("takes f32 and gives u8");
      case OpKind::kDequantize: return first && !out_.u8 ? Status() : error("takes u8 and gives f32");
      case OpKind::kQLinear:
      case OpKind::kQConv2d:
        if (!first || (!out_.u8 && in_.size() > 1)) return error("takes u8, and a residual only where it gives u8");
        return {};
      case OpKind::kQAdd:
      case OpKind::kQMean:
      case OpKind::kQTable: return first && out_.u8 ? Status() : error("takes and gives u8");
      case OpKind::kConcat:
      case OpKind::kSlice:
      case OpKind::kReshape:
      case OpKind::kPad:
      case OpKind::kPool2d:
        for (const ValueType& v : in_) {
          if (!v.same_type(out_)) return error("its values must have one type and quantization");
        }
        return {};
      case OpKind::kBinarize:
      case OpKind::kSigns: return error("is between f32 and bits");
      default: return !first && !out_.u8 ? Status() : error("does not take u8 values");
    }
  }

  Status error(const std::string& rule) const {
    return invalid_file("section OPS: " + std::string(op_kind_name(s_.kind)) + " " + s_.name + ": " + rule);
  }
  int32_t i32(uint32_t i) const { return static_cast<int32_t>(s_.attrs[i]); }
  float f32(uint32_t i) const {
    float v;
    std::memcpy(&v, s_.attrs + i, 4);
    return v;
  }
  bool act_ok(uint32_t at) const { return s_.attrs[at] < static_cast<uint32_t>(Act::kCount); }
  bool all_in(uint32_t first, uint32_t last, int32_t low, int32_t high) const {
    for (uint32_t i = first; i < last; ++i) {
      if (i32(i) < low || i32(i) > high) return false;
    }
    return true;
  }
  bool image() const { return rank_ == 4 && axis_ == 1; }
  bool is_axis(int32_t a) const { return a >= 0 && a < rank_; }

  static constexpr int32_t kMaxSize = 1 << 20;
  static constexpr int64_t kMaxTaps = 1 << 16;

  Status attributes() const {
    switch (s_.kind) {
      case OpKind::kLinear:
      case OpKind::kConv2d: return matmul();
      case OpKind::kUnary: return act_ok(0) ? Status() : error("unknown activation");
      case OpKind::kBinary:
        if (in_rank_[0] != in_rank_[1] || in_axis_[0] != in_axis_[1])
          return error("inputs of different rank or channel axis");
        return (s_.attrs[0] <= 3 || compares(s_.attrs[0])) && act_ok(1) ? Status()
                                                                        : error("unknown function or activation");
      case OpKind::kScalar:
        return (s_.attrs[0] <= 4 || compares(s_.attrs[0])) && s_.attrs[1] <= 1 && act_ok(3)
                   ? Status()
                   : error("unknown function or activation");
      case OpKind::kAffine:
        for (const Weights* w : s_.weights) {
          if (!w->vector_of(w->rows)) return error("scale and shift must be f32 vectors");
        }
        if (s_.weights[0]->rows != s_.weights[1]->rows) return error("scale and shift must have one length");
        return axis_ >= 0 && act_ok(0) ? Status() : error("needs a channel axis and a known activation");
      case OpKind::kPool2d:
        if (!image() || s_.attrs[0] > 1 || !all_in(1, 5, 1, kMaxSize) || !all_in(5, 7, 0, kMaxSize) ||
            !all_in(7, 9, 1, kMaxSize) || !all_in(9, 11, 0, 1)) {
          return error("attribute out of range");
        }
        if (s_.packed && s_.attrs[0] != 0) return error("of u8 and bits there is the maximum only");
        // Torch's rule; past it whole windows would lie in the padding.
        for (uint32_t d = 0; d < 2; ++d) {
          const int64_t span = int64_t{i32(1 + d) - 1} * i32(7 + d) + 1;
          if (2 * i32(5 + d) > span) return error("padding is more than half the window");
        }
        return {};
      case OpKind::kAdaptivePool2d:
        return image() && s_.attrs[0] <= 1 && all_in(1, 3, 0, kMaxSize) ? Status() : error("attribute out of range");
      case OpKind::kConcat:
        for (size_t i = 1; i < in_rank_.size(); ++i) {
          if (in_rank_[i] != rank_ || in_axis_[i] != axis_) return error("inputs of different rank or channel axis");
        }
        return is_axis(i32(0)) ? Status() : error("axis out of range");
      case OpKind::kSlice:
        // Both from the same end, they may not be an empty range.
        return is_axis(i32(0)) && ((i32(1) < 0) != (i32(2) < 0) || i32(2) > i32(1)) && i32(3) >= 1
                   ? Status()
                   : error("attribute out of range");
      case OpKind::kReshape: return reshape();
      case OpKind::kPermute: return permute();
      case OpKind::kReduce: return reduce();
      case OpKind::kPad:
        if (static_cast<int>(s_.attr_count) != 1 + 2 * rank_ || !all_in(1, s_.attr_count, 0, kMaxSize)) {
          return error("attribute out of range");
        }
        return in_[0].u8 && f32(0) != 0 ? error("u8 values are padded with 0") : Status();
      case OpKind::kSoftmax: return is_axis(i32(0)) && s_.attrs[1] <= 1 ? Status() : error("attribute out of range");
      case OpKind::kInterpolate: {
        const auto scale_ok = [this](uint32_t size, uint32_t scale) {
          return i32(size) > 0 || (f32(scale) > 0 && f32(scale) <= 4096.0f);
        };
        const bool ok = image() && s_.attrs[0] <= 1 && s_.attrs[1] <= 1 && all_in(2, 4, 0, kMaxSize) &&
                        scale_ok(2, 4) && scale_ok(3, 5);
        return ok ? Status() : error("attribute out of range");
      }
      case OpKind::kConstant: return constant();
      case OpKind::kEmbedding: return embedding();
      case OpKind::kNorm:
        if (!s_.weights[0]->vector_of(s_.weights[0]->rows) || !s_.weights[1]->vector_of(s_.weights[0]->rows)) {
          return error("gain and shift must be f32 vectors of one length");
        }
        return axis_ >= 0 && s_.attrs[0] <= 1 && f32(1) >= 0 && f32(1) <= 1 ? Status()
                                                                            : error("attribute out of range");
      case OpKind::kAttention: return attention();
      case OpKind::kProduct:
        if (rank_ < 2 || in_rank_[1] != rank_ || out_rank_ != rank_) return error("inputs of different rank");
        return in_axis_[1] == rank_ - 2 && out_axis_ == rank_ - 2 ? Status() : error("wrong channel axis");
      case OpKind::kWhere:
        return in_rank_[1] == rank_ && in_rank_[2] == rank_ && out_rank_ == rank_ ? Status()
                                                                                  : error("inputs of different rank");
      case OpKind::kRange:
        return is_axis(i32(0)) && out_rank_ == 1 && all_in(1, 3, -kMaxSize, kMaxSize) ? Status()
                                                                                      : error("attribute out of range");
      case OpKind::kCumsum: return is_axis(i32(0)) ? Status() : error("axis out of range");
      case OpKind::kQuantize: return range(0);
      case OpKind::kDequantize:
      case OpKind::kQTable: return {};
      case OpKind::kQLinear:
      case OpKind::kQConv2d: return qmatmul();
      case OpKind::kQLinearDynamic: return act_ok(0) ? qlinear() : error("unknown activation");
      case OpKind::kBinarize:
        if (axis_ < 0) return error("needs a channel axis");
        for (const Weights* w : s_.weights) {
          if (!w->vector_of(w->rows)) return error("its thresholds must be an f32 vector");
        }
        return {};
      case OpKind::kSigns: return {};
      case OpKind::kBLinear:
      case OpKind::kBConv2d: return bmatmul();
      case OpKind::kQAdd:
        return multiplier(f32(0)) && multiplier(f32(1)) ? range(2) : error("a multiplier is out of range");
      case OpKind::kQMean:
        if (!image()) return error("wrong rank or channel axis");
        return multiplier(f32(0)) ? range(1) : error("a multiplier is out of range");
      case OpKind::kRecurrent: return recurrent();
      default: return error("unknown op");
    }
  }

  // Whether a product of floats can take the weight.
  Status floats(const Weights& w) const {
    if (w.product() && w.structure != Weights::kPanels) return error("needs a product codebook in panels");
    const bool known = w.values || w.halves || w.book || w.packed || w.product();
    return known ? Status()
                 : error("needs weights of f32, f16, a codebook, a product codebook, q8, q4, ternary or binary");
  }

  Status matmul() const {
    const Weights& w = *s_.weights[0];
    const bool conv = s_.kind == OpKind::kConv2d;
    if (!act_ok(0)) return error("unknown activation");
    if (conv ? !image() : axis_ < 0 || axis_ != rank_ - 1) return error("wrong rank or channel axis");
    for (size_t i = 1; i < s_.weights.size(); ++i) {
      if (!s_.weights[i]->vector_of(w.rows)) return error("bias and scale must be f32 vectors with an element per row");
    }
    if (s_.inputs.size() > 1 && (in_rank_[1] != rank_ || in_axis_[1] != axis_))
      return error("the residual has another rank");
    PYRT_RETURN_IF_ERROR(floats(w));
    if (w.structure != Weights::kRows && w.cols > (1 << 28)) return error("too many columns");
    if (!conv) {
      return w.groups == 1 && w.structure != Weights::kRows ? Status()
                                                            : error("needs an ungrouped panels or csr weight");
    }
    if (!all_in(3, 7, 1, kMaxSize) || !all_in(7, 11, 0, kMaxSize) || !all_in(11, 13, 1, kMaxSize)) {
      return error("attribute out of range");
    }
    const int64_t taps = int64_t{i32(3)} * i32(4);
    if (taps > kMaxTaps) return error("a kernel of more than 65536 taps");
    if (w.cols % taps != 0) return error("the weight's columns are not channels x kernel");
    if (w.sparse() && w.cols > (1 << 24)) return error("too many columns");
    // A strided convolution splits its input into phases, each with all channels.
    const int64_t phases = int64_t{i32(3) > 1 ? i32(5) : 1} * (i32(4) > 1 ? i32(6) : 1);
    if (w.cols / taps * w.groups > INT32_MAX / phases) return error("channels x stride is too large");
    if (w.structure == Weights::kRows && (w.cols != taps || taps > 1024)) {
      return error("a rows weight is for one channel per group and at most 1024 taps");
    }
    return {};
  }

  // Zero, or of a magnitude with which no product of the arithmetic overflows f32.
  static bool multiplier(float m) {
    return std::abs(m) <= format::kMaxMultiplier && (m == 0 || std::abs(m) >= format::kMinMultiplier);
  }
  // The words low, high of a u8 output.
  Status range(uint32_t at) const {
    return i32(at) >= 0 && i32(at) <= i32(at + 1) && i32(at + 1) <= 255 ? Status()
                                                                        : error("needs 0 <= low <= high <= 255");
  }

  // The weights, shift, multiplier and bias that the integer products share.
  Status vectors() const {
    const Weights &w = *s_.weights[0], &scales = *s_.weights[2];
    if (!w.integers()) return error("needs s8, s4 or s8book weights");
    if (!s_.weights[1]->ints_of(w.rows)) return error("shift must be an i32 vector with an element per row");
    if (!scales.vector_of(w.rows) || !s_.weights[3]->vector_of(w.rows)) {
      return error("multipliers and bias must be f32 vectors with an element per row");
    }
    for (int64_t r = 0; r < w.rows; ++r) {
      if (!multiplier(scales.values[r])) return error("a multiplier is out of range");
      if (!multiplier(s_.weights[3]->values[r])) return error("a bias is out of range");
    }
    return w.cols > (1 << 28) ? error("too many columns") : Status();
  }

  Status qlinear() const {
    PYRT_RETURN_IF_ERROR(vectors());
    const bool ok =
        axis_ >= 0 && axis_ == rank_ - 1 && s_.weights[0]->groups == 1 && s_.weights[0]->structure != Weights::kRows;
    return ok ? Status() : error("needs an ungrouped panels weight and the last axis for channels");
  }

  Status qmatmul() const {
    const Weights& w = *s_.weights[0];
    const bool conv = s_.kind == OpKind::kQConv2d, depthwise = w.structure == Weights::kRows;
    PYRT_RETURN_IF_ERROR(vectors());
    if (!multiplier(f32(0))) return error("the residual's multiplier is out of range");
    PYRT_RETURN_IF_ERROR(range(1));
    if (s_.inputs.size() > 1 && (in_rank_[1] != rank_ || in_axis_[1] != axis_)) {
      return error("the residual has another rank");
    }
    if (!conv) return qlinear();
    if (!image()) return error("wrong rank or channel axis");
    PYRT_RETURN_IF_ERROR(window(3));
    const int64_t taps = int64_t{i32(3)} * i32(4);
    if (depthwise) {
      if (w.cols != taps || taps > 1024 || w.groups != w.rows) {
        return error("a rows weight is for one channel per group and at most 1024 taps");
      }
      return out_.u8 ? Status() : error("a depthwise convolution gives u8");
    }
    if (w.cols % (4 * taps) != 0) return error("the weight's columns are not fours of channels x kernel");
    if (w.groups > 1 && w.rows_per_group() % 4 != 0) return error("a group's rows come in fours");
    const int64_t phases = int64_t{i32(3) > 1 ? i32(5) : 1} * (i32(4) > 1 ? i32(6) : 1);
    if (w.cols / taps * w.groups > INT32_MAX / phases) return error("channels x stride is too large");
    return {};
  }

  Status bmatmul() const {
    const Weights& w = *s_.weights[0];
    const bool conv = s_.kind == OpKind::kBConv2d;
    if (!w.bits || w.cols % 32 != 0) return error("needs a weight of bits whose columns come in 32s");
    if (w.cols > format::kMaxBitColumns) return error("more than 32736 columns");
    if (out_.bits ? s_.weights.size() != 2 || !s_.weights[1]->shorts_of(w.rows)
                  : s_.weights.size() != 3 || !s_.weights[1]->vector_of(w.rows) || !s_.weights[2]->vector_of(w.rows)) {
      return error("needs i16 thresholds to give bits, f32 scale and bias to give f32, one each per row");
    }
    if (std::isnan(f32(0))) return error("the lower bound is not a number");
    if (!act_ok(1) || (out_.bits && s_.attrs[1] != 0)) return error("unknown activation, or one of bits");
    if (s_.inputs.size() > 1 && (in_rank_[1] != rank_ || in_axis_[1] != axis_)) {
      return error("the residual has another rank");
    }
    if (!conv) {
      return axis_ >= 0 && axis_ == rank_ - 1 && w.groups == 1 ? Status()
                                                               : error("needs an ungrouped weight and the last axis");
    }
    if (!image()) return error("wrong rank or channel axis");
    if (i32(4) < -1 || i32(4) > 1) return error("the padding is -1, 0 or 1");
    PYRT_RETURN_IF_ERROR(window(5));
    const int64_t taps = int64_t{i32(5)} * i32(6);
    if (w.cols % (32 * taps) != 0) return error("the weight's columns are not 32s of channels x kernel");
    if (out_.bits && w.groups > 1 && w.rows_per_group() % 32 != 0) return error("a group's rows come in 32s");
    const int64_t phases = int64_t{i32(5) > 1 ? i32(7) : 1} * (i32(6) > 1 ? i32(8) : 1);
    if (w.cols / taps * w.groups > INT32_MAX / phases) return error("channels x stride is too large");
    return {};
  }

  // The words kh, kw, sh, sw, four pads, dh, dw of a convolution.
  Status window(uint32_t at) const {
    if (!all_in(at, at + 4, 1, kMaxSize) || !all_in(at + 4, at + 8, 0, kMaxSize) ||
        !all_in(at + 8, at + 10, 1, kMaxSize)) {
      return error("attribute out of range");
    }
    return int64_t{i32(at)} * i32(at + 1) <= kMaxTaps ? Status() : error("a kernel of more than 65536 taps");
  }

  Status recurrent() const {
    const Weights& w = *s_.weights[0];
    if (!all_in(0, 3, 0, 1)) return error("attribute out of range");
    const bool lstm = s_.attrs[0] == 0;
    if (!lstm && (s_.inputs.size() > 2 || s_.attrs[2] != 0)) return error("a gru has no cell state");
    for (size_t i = 0; i < in_rank_.size(); ++i) {
      if (in_rank_[i] != 3 || in_axis_[i] != 2) return error("wrong rank or channel axis");
    }
    if (w.groups != 1 || w.structure == Weights::kRows) return error("needs an ungrouped panels or csr weight");
    PYRT_RETURN_IF_ERROR(floats(w));
    if (w.rows != w.cols * (lstm ? 4 : 3)) return error("its weight does not have a row per gate and state");
    if (s_.weights.size() > 1 && !s_.weights[1]->vector_of(w.rows)) {
      return error("the bias must be an f32 vector with an element per row");
    }
    return {};
  }

  Status reshape() const {
    if (static_cast<int>(s_.attr_count) != out_rank_) return error("wrong number of dimensions");
    int unknown = 0;
    for (uint32_t d = 0; d < s_.attr_count; ++d) {
      unknown += i32(d) == -1;
      if (i32(d) == 0 || i32(d) < -1 - rank_) return error("a dimension is out of range");
    }
    return unknown <= 1 ? Status() : error("more than one dimension is left open");
  }

  Status permute() const {
    if (static_cast<int>(s_.attr_count) != rank_ || out_rank_ != rank_) return error("wrong number of dimensions");
    uint32_t seen = 0;
    for (int d = 0; d < rank_; ++d) {
      if (!is_axis(i32(static_cast<uint32_t>(d)))) return error("a dimension is out of range");
      seen |= 1u << i32(static_cast<uint32_t>(d));
    }
    return seen == (1u << rank_) - 1 ? Status() : error("not a permutation");
  }

  Status reduce() const {
    if (s_.attr_count < 2 || s_.attrs[0] > 2 || s_.attrs[1] > 1) return error("attribute out of range");
    const bool keepdim = s_.attrs[1] != 0;
    int removed = 0, last = -1, axis = axis_;
    for (uint32_t i = 2; i < s_.attr_count; ++i) {
      if (!is_axis(i32(i)) || i32(i) <= last) return error("axes must rise");
      last = i32(i);
      ++removed;
      if (keepdim) continue;
      if (last == axis_) axis = -1;
      else if (last < axis_ && axis >= 0) --axis;
    }
    if (out_rank_ != rank_ - (keepdim ? 0 : removed) || out_axis_ != axis)
      return error("wrong output rank or channel axis");
    return {};
  }

  // The functions of binary and scalar that give 0 or 1.
  static bool compares(uint32_t fn) { return fn >= 5 && fn <= 10; }

  Status attention() const {
    for (int i = 0; i < 3; ++i) {
      if (in_rank_[static_cast<size_t>(i)] != 3 || in_axis_[static_cast<size_t>(i)] != 2) {
        return error("queries, keys and values have rank 3, their channel axis is the last");
      }
    }
    if (in_.size() > 3 && in_rank_[3] != 4) return error("the mask has rank 4");
    const bool ok = std::isfinite(f32(0)) && all_in(1, 3, 1, 1 << 16) && i32(1) % i32(2) == 0 && all_in(3, 5, 0, 1);
    return ok ? Status() : error("attribute out of range");
  }

  Status embedding() const {
    const Weights& w = *s_.weights[0];
    if (out_rank_ != rank_ + 1 || out_axis_ != rank_) return error("its output has one more dimension, the channels");
    // Panels are those of a linear layer that is tied to the table.
    const bool rows = w.structure == Weights::kRows && !w.ints && !w.shorts;
    const bool floats = w.values || w.halves || (w.index && !w.integers());
    const bool panels = w.structure == Weights::kPanels && (floats || w.int8s);
    if ((!rows && !panels) || w.groups != 1) {
      return error("needs a table of f32, f16, codebook or s8 rows, or panels that are not Huffman-coded");
    }
    if (w.rows > format::kMaxInteger || w.cols > (1 << 20)) return error("its table is too large");
    const size_t scales = w.int8s ? 1 : 0;
    if (s_.weights.size() != 1 + scales) return error("an s8 table, and no other, has scales");
    return !scales || s_.weights[1]->vector_of(w.rows) ? Status() : error("needs an f32 scale per row");
  }

  Status constant() const {
    const Weights& w = *s_.weights[0];
    int64_t n = 1;
    for (uint32_t d = 0; d < s_.attr_count; ++d) {
      if (i32(d) < 1 || !checked_mul(n, i32(d), &n)) return error("a dimension is out of range");
    }
    if (static_cast<int>(s_.attr_count) != out_rank_) return error("wrong number of dimensions");
    if (w.structure != Weights::kRows || !w.values || w.rows * w.cols != n)
      return error("the tensor does not have its size");
    return {};
  }

  const OpSpec& s_;
  std::vector<ValueType> in_;
  ValueType out_{};
  std::vector<int> in_rank_, in_axis_;
  int rank_ = 0, axis_ = -1, out_rank_ = 0, out_axis_ = -1;
};

}  // namespace

const char* op_kind_name(OpKind kind) { return kind < OpKind::kEnd ? kNames[static_cast<uint32_t>(kind)] : "?"; }

Status check_op(const OpSpec& spec, const std::vector<ValueType>& values) { return OpCheck(spec, values).run(); }

std::unique_ptr<Op> make_op(const OpSpec& spec) {
  switch (spec.kind) {
    case OpKind::kLinear:
    case OpKind::kConv2d: return make_matmul(spec);
    case OpKind::kQLinear:
    case OpKind::kQConv2d:
    case OpKind::kQLinearDynamic: return make_qmatmul(spec);
    case OpKind::kQuantize:
    case OpKind::kDequantize:
    case OpKind::kQAdd:
    case OpKind::kQMean:
    case OpKind::kQTable: return make_quantized(spec);
    case OpKind::kBinarize:
    case OpKind::kSigns: return make_signs(spec);
    case OpKind::kBLinear:
    case OpKind::kBConv2d: return make_bmatmul(spec);
    case OpKind::kPool2d:
    case OpKind::kAdaptivePool2d: return spec.packed ? make_bytes(spec) : make_pool(spec);
    case OpKind::kReduce:
    case OpKind::kSoftmax: return make_reduce(spec);
    case OpKind::kInterpolate: return make_interpolate(spec);
    case OpKind::kEmbedding: return make_embedding(spec);
    case OpKind::kRecurrent: return make_recurrent(spec);
    case OpKind::kNorm: return make_norm(spec);
    case OpKind::kAttention:
    case OpKind::kProduct: return make_attention(spec);
    case OpKind::kWhere:
    case OpKind::kRange:
    case OpKind::kCumsum: return make_indices(spec);
    case OpKind::kUnary:
    case OpKind::kBinary:
    case OpKind::kScalar:
    case OpKind::kAffine: return make_elementwise(spec);
    default: return spec.packed ? make_bytes(spec) : make_shape(spec);
  }
}

}  // namespace pyrt
