#include "runtime/model.h"

#include <algorithm>
#include <cstring>

#include "runtime/session.h"

namespace pyrt {
namespace {

std::string encoding_text(const format::File& file, const format::Tensor& t) {
  using namespace format;
  std::string text;
  bool huffman = false;
  for (uint32_t i = 0; i < t.stream_count; ++i) huffman |= file.stream(t.first_stream + i).coding == 1;
  switch (static_cast<Structure>(t.structure)) {
    case Structure::kRows: text = "rows"; break;
    case Structure::kPanels: text = "dense"; break;
    case Structure::kBcsr: text = "bcsr" + std::to_string(file.find_stream(t, StreamKind::kCols)->bits); break;
    case Structure::kBcsr8: text = "b8csr" + std::to_string(file.find_stream(t, StreamKind::kCols)->bits); break;
    case Structure::kBcsr16: text = "b16csr" + std::to_string(file.find_stream(t, StreamKind::kCols)->bits); break;
    case Structure::kPairs: text = "2:4"; break;
    case Structure::kCsr: text = "csr" + std::to_string(file.find_stream(t, StreamKind::kCols)->bits); break;
  }
  switch (static_cast<Values>(t.values)) {
    case Values::kF32: text += "+f32"; break;
    case Values::kF16: text += "+f16"; break;
    case Values::kS8: text += "+s8"; break;
    case Values::kI32: text += "+i32"; break;
    case Values::kI16: text += "+i16"; break;
    case Values::kS4: text += "+s4"; break;
    case Values::kBits: text += "+bits"; break;
    case Values::kQ8:
    case Values::kQ4: {
      const uint32_t columns = file.find_stream(t, StreamKind::kScales)->count;
      text += static_cast<Values>(t.values) == Values::kQ8 ? "+q8" : "+q4";
      if (columns < t.cols) text += "g" + std::to_string(columns);
      break;
    }
    case Values::kBinary: text += "+binary"; break;
    case Values::kTernary: text += "+ternary"; break;
    case Values::kProduct: text += "+pq" + std::to_string(codeword_size(t)); break;
    case Values::kS8Book: text += "+s8book" + std::to_string(file.find_stream(t, StreamKind::kIndex)->bits); break;
    case Values::kCodebook: text += "+codebook" + std::to_string(file.find_stream(t, StreamKind::kIndex)->bits); break;
  }
  return huffman ? text + "+huffman" : text;
}

std::string shape_text(const std::vector<int64_t>& dims) {
  std::string text = "(";
  for (size_t i = 0; i < dims.size(); ++i) text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + ")";
}

}  // namespace

Model::Model() = default;
Model::~Model() = default;

Status Model::open(const char* path, int threads, std::unique_ptr<Model>* model) {
  std::unique_ptr<Model> m(new Model);
  PYRT_RETURN_IF_ERROR(m->file_.open(path));
  Status status = m->bind(threads);
  if (!status.ok()) return {status.code(), std::string(path) + ": " + status.message()};
  *model = std::move(m);
  return {};
}

Status Model::open_memory(const void* data, size_t size, int threads, std::unique_ptr<Model>* model) {
  std::unique_ptr<Model> m(new Model);
  PYRT_RETURN_IF_ERROR(m->file_.open_memory(data, size));
  PYRT_RETURN_IF_ERROR(m->bind(threads));
  *model = std::move(m);
  return {};
}

Status Model::bind(int threads) {
  std::string message;
  kernels_ = select_kernels(&message);
  if (!kernels_) return invalid_argument(message);
  if (threads < 0 || threads > 1024) return invalid_argument("threads must be 0 (all processors) to 1024");
  for (uint32_t i = 0; i < file_.value_count(); ++i) {
    const format::Value& v = file_.value(i);
    ValueInfo info{file_.string(v.name),
                   static_cast<format::Dtype>(v.dtype),
                   static_cast<format::Role>(v.role),
                   v.rank,
                   v.channel_axis,
                   0.0f,
                   0,
                   {}};
    if (info.dtype == format::Dtype::kU8) {
      std::memcpy(&info.scale, file_.words(v.quant), sizeof info.scale);
      info.zero = static_cast<uint8_t>(*file_.words(v.quant + 1));
    }
    if (info.role == format::Role::kInput) {
      const auto* dims = reinterpret_cast<const int32_t*>(file_.words(v.dims));
      info.dims.assign(dims, dims + v.rank);
      inputs_.push_back(i);
    } else if (info.role == format::Role::kOutput) {
      outputs_.push_back(i);
    }
    values_.push_back(std::move(info));
  }
  PYRT_RETURN_IF_ERROR(bind_weights());
  PYRT_RETURN_IF_ERROR(bind_ops());
  table_bytes_ += weights_.size() * sizeof(Weights) + ops_.size() * sizeof(OpSpec) + values_.size() * sizeof(ValueInfo);
  pool_ = std::make_unique<ThreadPool>(threads > 0 ? threads : usable_cpus());
  return {};
}

CodedStream Model::bind_code(const format::Tensor& tensor, const format::Stream& stream) {
  const auto chunks = static_cast<uint32_t>(format::chunk_count(tensor));
  const format::HuffmanStream h = format::parse_huffman(stream, file_.stream_data(stream), chunks);
  const size_t size = size_t{1} << h.table_bits;
  huffman_tables_.emplace_back(new HuffmanEntry[size]);
  huffman_build_table(h.lengths, h.alphabet, h.table_bits, huffman_tables_.back().get());
  table_bytes_ += size * sizeof(HuffmanEntry);
  CodedStream code;
  code.table = {huffman_tables_.back().get(), h.table_bits};
  code.offset =
      reinterpret_cast<const uint32_t*>(h.chunk_offset);  // the stream and its code lengths are 4-byte aligned
  code.data = h.data;
  return code;
}

Status Model::bind_weights() {
  using namespace format;
  for (uint32_t i = 0; i < file_.tensor_count(); ++i) {
    const Tensor& t = file_.tensor(i);
    Weights w;
    w.name = file_.string(t.name);
    w.encoding = encoding_text(file_, t);
    w.structure = static_cast<Weights::Structure>(t.structure);
    w.rows = t.rows;
    w.cols = t.cols;
    w.groups = t.groups;
    w.panel_rows = t.panel_rows;
    w.entries = t.entries;
    w.parameters = t.parameters;
    for (uint32_t k = 0; k < t.stream_count; ++k) {
      const Stream& s = file_.stream(t.first_stream + k);
      const uint8_t* bytes = file_.stream_data(s);
      w.bytes += s.size;
      switch (static_cast<StreamKind>(s.kind)) {
        case StreamKind::kValues:
          if (t.values == static_cast<uint16_t>(Values::kS8)) w.int8s = reinterpret_cast<const int8_t*>(bytes);
          else if (t.values == static_cast<uint16_t>(Values::kS4)) w.nibbles = bytes;
          else if (t.values == static_cast<uint16_t>(Values::kBits)) w.bits = bytes;
          else if (t.values == static_cast<uint16_t>(Values::kI32)) w.ints = reinterpret_cast<const int32_t*>(bytes);
          else if (t.values == static_cast<uint16_t>(Values::kI16)) w.shorts = reinterpret_cast<const int16_t*>(bytes);
          else if (t.values >= static_cast<uint16_t>(Values::kQ8)) w.packed = bytes, w.packed_bits = s.bits;
          else if (s.bits == 16) w.halves = reinterpret_cast<const uint16_t*>(bytes);
          else w.values = reinterpret_cast<const float*>(bytes);
          break;
        case StreamKind::kScales:
          w.scales = bytes;
          w.half_scales = s.bits == 16;
          w.scale_columns = s.count;
          break;
        case StreamKind::kBook:
          w.book_size = static_cast<int>(s.count);
          w.codeword = static_cast<int>(codeword_size(t));
          if (t.values == static_cast<uint16_t>(Values::kS8Book)) w.int8_book = reinterpret_cast<const int8_t*>(bytes);
          else if (s.bits == 32) w.book = reinterpret_cast<const float*>(bytes);
          else if (s.bits == 16) w.half_book = reinterpret_cast<const uint16_t*>(bytes);
          else w.int8_book = reinterpret_cast<const int8_t*>(bytes + sizeof(float));
          if (w.product() && w.int8_book) std::memcpy(&w.book_scale, bytes, sizeof(float));
          break;
        case StreamKind::kIndex:
          w.index_bits = s.bits;
          if (s.coding == 1) w.index_code = bind_code(t, s);
          else w.index = bytes;
          break;
        case StreamKind::kRows: {
          const int64_t panels = w.groups * w.panels_per_group();
          w.panel_start = reinterpret_cast<const uint32_t*>(bytes);
          w.row_counts = bytes + 4 * (panels + 1);
          w.count_bits = s.bits;
          break;
        }
        case StreamKind::kOrder: w.order = reinterpret_cast<const uint32_t*>(bytes); break;
        case StreamKind::kPlaces: w.places = reinterpret_cast<const uint32_t*>(bytes); break;
        case StreamKind::kCols:
          w.delta_bits = s.bits;
          if (s.coding == 1) w.delta_code = bind_code(t, s);
          else w.deltas = bytes;
          break;
      }
    }
    if (w.integers() && !w.nibbles) w.find_fits(*kernels_);
    table_bytes_ += w.fits.size() * sizeof(Fit) + w.row_fits.size();
    weights_.push_back(std::move(w));
  }
  return {};
}

Status Model::bind_ops() {
  std::vector<ValueType> types;
  for (const ValueInfo& v : values_) {
    types.push_back({v.rank, v.axis, v.dtype == format::Dtype::kU8, v.dtype == format::Dtype::kBits, v.scale, v.zero});
  }
  for (uint32_t i = 0; i < file_.op_count(); ++i) {
    const format::Op& op = file_.op(i);
    const uint32_t* ids = file_.words(op.operands);
    OpSpec spec;
    spec.kind = static_cast<OpKind>(op.kind);
    spec.name = file_.string(op.name);
    spec.source = file_.string(op.source);
    spec.inputs.assign(ids, ids + op.inputs);
    ids += op.inputs;
    spec.outputs.assign(ids, ids + op.outputs);
    ids += op.outputs;
    for (uint32_t k = 0; k < op.tensors; ++k) spec.weights.push_back(&weights_[ids[k]]);
    spec.attrs = file_.words(op.attrs);
    spec.attr_count = op.attr_count;
    spec.packed = !spec.inputs.empty() && (types[spec.inputs[0]].u8 || types[spec.inputs[0]].bits);
    PYRT_RETURN_IF_ERROR(check_op(spec, types));
    ops_.push_back(std::move(spec));
  }
  return {};
}

Status Model::check_inputs(const std::vector<Array>& inputs) const {
  if (inputs.size() != inputs_.size()) {
    return invalid_argument("expected " + std::to_string(inputs_.size()) + " inputs, got " +
                            std::to_string(inputs.size()));
  }
  std::vector<int64_t> bound(file_.symbol_count(), 0);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueInfo& v = values_[inputs_[i]];
    const std::vector<int64_t>& dims = inputs[i].dims;
    const bool integer = format::is_integer_input(v.dtype);
    if (inputs[i].data && integer != format::is_integer_input(inputs[i].dtype)) {
      return invalid_argument("input '" + std::string(v.name) + "' takes " + (integer ? "integers" : "f32"));
    }
    bool fits = dims.size() == v.dims.size();
    std::string why;
    for (size_t d = 0; fits && d < v.dims.size(); ++d) {
      if (v.dims[d] > 0) {
        fits = dims[d] == v.dims[d];
        continue;
      }
      const auto symbol = static_cast<uint32_t>(-1 - v.dims[d]);
      const format::Symbol& s = file_.symbol(symbol);
      if (dims[d] < s.min || dims[d] > s.max) {
        fits = false;
        why = std::string("; ") + file_.string(s.name) + " must be " + std::to_string(s.min) + " to " +
              std::to_string(s.max);
      } else if (bound[symbol] != 0 && bound[symbol] != dims[d]) {
        fits = false;
        why = std::string("; ") + file_.string(s.name) + " is " + std::to_string(bound[symbol]) + " elsewhere";
      }
      bound[symbol] = dims[d];
    }
    if (fits) continue;
    std::string expected;
    for (int32_t code : v.dims) {
      if (!expected.empty()) expected += ", ";
      if (code > 0) expected += std::to_string(code);
      else expected += file_.string(file_.symbol(static_cast<uint32_t>(-1 - code)).name);
    }
    return invalid_argument("input '" + std::string(v.name) + "': expected shape (" + expected + "), got " +
                            shape_text(dims) + why);
  }
  return {};
}

Status Model::acquire(std::unique_ptr<Session>* session) {
  {
    std::lock_guard<std::mutex> lock(idle_mutex_);
    if (!idle_.empty()) {
      *session = std::move(idle_.back());
      idle_.pop_back();
      return {};
    }
  }
  *session = std::make_unique<Session>(this);
  return {};
}

void Model::release(std::unique_ptr<Session> session) {
  std::lock_guard<std::mutex> lock(idle_mutex_);
  idle_.push_back(std::move(session));
}

ThreadPool* Model::try_lock_pool() { return pool_mutex_.try_lock() ? pool_.get() : nullptr; }

}  // namespace pyrt
