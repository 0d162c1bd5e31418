// The interface of an op, and what it is given while a plan is made and run.
//
// A plan is made once per set of input shapes: every op infers its output's shape, states its constraints on the layout
// (grids, halos, aliases, scratch), and after memory has been assigned prepares its tables. Then `run` may be called
// any number of times; it neither allocates nor fails.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "ops/node.h"
#include "ops/weights.h"

namespace pyrt {

// Codes of docs/format.md, section 3.
enum class OpKind : uint32_t {
  kLinear = 1,
  kConv2d,
  kUnary,
  kBinary,
  kScalar,
  kAffine,
  kPool2d,
  kAdaptivePool2d,
  kConcat,
  kSlice,
  kReshape,
  kPermute,
  kReduce,
  kPad,
  kSoftmax,
  kInterpolate,
  kConstant,
  kQuantize,
  kDequantize,
  kQLinear,
  kQConv2d,
  kQAdd,
  kQMean,
  kQTable,
  kQLinearDynamic,
  kEmbedding,
  kBinarize,
  kSigns,
  kBLinear,
  kBConv2d,
  kRecurrent,
  kNorm,
  kAttention,
  kProduct,
  kWhere,
  kRange,
  kCumsum,
  kEnd
};
const char* op_kind_name(OpKind kind);

// An op as the file states it.
struct OpSpec {
  OpKind kind{};
  const char* name = "";
  const char* source = "";
  bool packed = false;            // its first input is u8 or bits
  std::vector<uint32_t> inputs;   // value numbers
  std::vector<uint32_t> outputs;  // value numbers
  std::vector<const Weights*> weights;
  const uint32_t* attrs = nullptr;
  uint32_t attr_count = 0;
};

// Reads attributes in order.
class Attrs {
 public:
  explicit Attrs(const OpSpec& spec) : at_(spec.attrs) {}
  uint32_t u32() { return *at_++; }
  int32_t i32() { return static_cast<int32_t>(*at_++); }
  float f32() {
    float v;
    std::memcpy(&v, at_++, 4);
    return v;
  }
  Activation act() {
    Activation a;
    a.code = static_cast<Act>(u32());
    a.p0 = f32();
    a.p1 = f32();
    return a;
  }

 private:
  const uint32_t* at_;
};

// Lets ops shape the plan.
class Layout {
 public:
  virtual ~Layout() = default;
  // From now on a and b have the same pitches (they have the same images).
  virtual void share_grid(Node* a, Node* b) = 0;
  // Puts `part` at a channel of `whole`, on its grid; false when part's memory is decided already.
  virtual bool place(Node* part, Node* whole, int64_t channel) = 0;
  // Lets `out` overwrite `in` when nothing else needs it; returns whether it does.
  virtual bool overwrite(Node* out, Node* in) = 0;
  // A node that lives during this op only.
  virtual Node* scratch() = 0;
};

// Threads, kernels and per-thread scratch of a running plan.
struct RunContext {
  const Kernels* kernels = nullptr;
  ThreadPool* pool = nullptr;  // null: this thread only
  uint8_t* scratch = nullptr;  // threads x scratch_size bytes, 64-byte aligned
  size_t scratch_size = 0;

  Status* error = nullptr;

  // Ends the inference after this op; for what only the contents of an input can tell, like a row that does not exist.
  void fail(Status status) const { *error = std::move(status); }

  uint8_t* thread_scratch(int part) const { return scratch + static_cast<size_t>(part) * scratch_size; }

  // Calls fn(part, parts) on every thread, or once when `work` (about a multiply-add each) is not worth waking them.
  template <class Fn>
  void parallel(int64_t work, const Fn& fn) const {
    if (!pool || work < 200000) return fn(0, 1);
    pool->run([](void* f, int part, int parts) { (*static_cast<const Fn*>(f))(part, parts); },
              const_cast<void*>(static_cast<const void*>(&fn)));
  }
};

class Op {
 public:
  explicit Op(const OpSpec& spec) : spec_(spec) {}
  virtual ~Op() = default;

  // Sets the shape of `out` from those of `in`; an error says what does not fit.
  virtual Status infer() = 0;
  virtual void constrain(Layout*) {}
  // Tables that depend on the layout; adds their bytes to *table_bytes, raises *scratch_size to what a thread needs.
  virtual Status prepare(size_t* table_bytes, size_t* scratch_size) {
    (void)table_bytes, (void)scratch_size;
    return {};
  }
  virtual void run(const RunContext&) = 0;

  // Whether it reads of an input, or writes of its output, nothing but the columns, at any alignment; then the value
  // may lie in the caller's memory. Vectors are at most 16 columns wide.
  virtual bool exact(const Node& x) const { return x.cols % 16 == 0; }

  // For reports: dense-equivalent floating-point operations, bytes of weights, and the kernel used.
  virtual int64_t flops() const { return 0; }
  virtual int64_t weight_bytes() const { return 0; }
  virtual const char* kernel(const Kernels&) const { return ""; }

  const OpSpec& spec() const { return spec_; }
  std::vector<Node*> in;
  Node* out = nullptr;
  Isa isa = Isa::kRef;  // of the kernels that will run it

 protected:
  Status error(const std::string& rule) const {
    return invalid_argument("layer " + std::string(spec_.name) + ": " + rule);
  }
  // The output's channel axis is a property of the value, stated in the file; only its dims are inferred.
  void set_out(int rank, const int64_t* dims) { out->set_shape(rank, dims, out->axis); }

 private:
  const OpSpec& spec_;
};

// What the file says of a value.
struct ValueType {
  int rank, axis;
  bool u8, bits;
  float scale;   // u8 only
  uint8_t zero;  // u8 only
  bool same_type(const ValueType& o) const {
    return u8 == o.u8 && bits == o.bits && scale == o.scale && zero == o.zero;
  }
};

// Checks an op against this runtime: operand counts and types, attribute ranges, weight shapes (ops/check.cc).
Status check_op(const OpSpec& spec, const std::vector<ValueType>& values);

std::unique_ptr<Op> make_op(const OpSpec& spec);

// One maker per file of this folder.
std::unique_ptr<Op> make_matmul(const OpSpec& spec);       // linear, conv2d
std::unique_ptr<Op> make_depthwise(const OpSpec& spec);    // conv2d of a rows weight
std::unique_ptr<Op> make_elementwise(const OpSpec& spec);  // unary, binary, scalar, affine
std::unique_ptr<Op> make_pool(const OpSpec& spec);         // pool2d, adaptive_pool2d
std::unique_ptr<Op> make_shape(const OpSpec& spec);        // concat, slice, reshape, permute, pad, constant
std::unique_ptr<Op> make_reduce(const OpSpec& spec);       // reduce, softmax
std::unique_ptr<Op> make_interpolate(const OpSpec& spec);
std::unique_ptr<Op> make_embedding(const OpSpec& spec);
std::unique_ptr<Op> make_recurrent(const OpSpec& spec);
std::unique_ptr<Op> make_norm(const OpSpec& spec);
std::unique_ptr<Op> make_attention(const OpSpec& spec);  // attention, product
std::unique_ptr<Op> make_indices(const OpSpec& spec);    // where, range, cumsum
std::unique_ptr<Op> make_qmatmul(const OpSpec& spec);    // qlinear, qconv2d
std::unique_ptr<Op> make_quantized(const OpSpec& spec);  // quantize, dequantize, qadd, qmean, qtable
std::unique_ptr<Op> make_bytes(const OpSpec& spec);    // concat, slice, reshape, permute, pad, max pool of u8 and bits
std::unique_ptr<Op> make_bmatmul(const OpSpec& spec);  // blinear, bconv2d
std::unique_ptr<Op> make_signs(const OpSpec& spec);    // binarize, signs

// An activation of u8 or bits as floats, C-contiguous in logical order.
void dequantize_node(const Node& node, float* dst);

// Copies between strided arrays of the same dims.
void copy_strided(const Kernels& kernels, int rank, const int64_t* dims, float* dst, const int64_t* dst_strides,
                  const float* src, const int64_t* src_strides);

}  // namespace pyrt
