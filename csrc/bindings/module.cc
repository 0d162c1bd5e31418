// pyruntime._core: the runtime for Python. The only C++ file that knows Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/cpu.h"
#include "runtime/session.h"

namespace py = pybind11;

namespace pyrt {
namespace {

py::object& error_type() {
  static auto* type = new py::object;  // never destroyed: the interpreter may be gone by then
  return *type;
}

void check(const Status& status) {
  if (status.ok()) return;
  PyObject* type = error_type().ptr();
  if (status.code() == Code::kNotFound) type = PyExc_FileNotFoundError;
  if (status.code() == Code::kIo) type = PyExc_OSError;
  if (status.code() == Code::kOutOfMemory) type = PyExc_MemoryError;
  PyErr_SetString(type, status.message().c_str());
  throw py::error_already_set();
}

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

// Copies the output of every op, packed ones as the floats they stand for.
class Recorder : public Watcher {
 public:
  Recorder(const Kernels& kernels, py::list* rows) : kernels_(kernels), rows_(rows) {}
  void after(const Op& op) override {
    const Node& n = *op.out;
    py::array_t<float> y(std::vector<int64_t>(n.dims, n.dims + n.rank));
    if (n.packed()) {
      dequantize_node(n, y.mutable_data());
    } else {
      int64_t from[kRankMax], to[kRankMax];
      n.strides(from);
      n.logical_strides(to);
      copy_strided(kernels_, n.rank, n.dims, y.mutable_data(), to, n.data, from);
    }
    rows_->append(py::make_tuple(op.spec().name, op_kind_name(op.spec().kind), y));
  }

 private:
  const Kernels& kernels_;
  py::list* rows_;
};

class PyModel {
 public:
  PyModel(const std::string& path, int threads) {
    Status status;
    std::unique_ptr<Model> opened;
    {
      py::gil_scoped_release release;
      status = Model::open(path.c_str(), threads, &opened);
    }
    check(status);
    model_ = std::move(opened);
  }

  PyModel(const py::buffer& buffer, int threads) {
    const py::buffer_info info = buffer.request();
    if (!PyBuffer_IsContiguous(info.view(), 'C')) check(invalid_argument("the buffer of a model must be contiguous"));
    const auto size = static_cast<size_t>(info.size * info.itemsize);
    bytes_.reset(std::aligned_alloc(64, static_cast<size_t>(round_up(static_cast<int64_t>(size) + 1, 64))));
    if (!bytes_) throw std::bad_alloc();
    std::memcpy(bytes_.get(), info.ptr, size);
    std::unique_ptr<Model> opened;
    check(Model::open_memory(bytes_.get(), size, threads, &opened));
    model_ = std::move(opened);
  }

  void close() { model_.reset(); }

  py::list infer(const py::list& inputs) {
    std::vector<py::array> kept;
    const std::vector<Array> arrays = convert(inputs, &kept);
    std::unique_ptr<Session> session = acquire();
    std::shared_ptr<Model> model = model_;  // outlives a close() on another thread
    Status status;
    {
      py::gil_scoped_release release;
      status = session->plan(arrays);
    }
    check(status);
    py::list result;
    std::vector<float*> outputs;
    for (size_t i = 0; i < model->outputs().size(); ++i) {
      py::array_t<float> y(session->output_dims(i));
      outputs.push_back(y.mutable_data());
      result.append(y);
    }
    {
      py::gil_scoped_release release;
      status = session->run(arrays, outputs);
    }
    check(status);
    model->release(std::move(session));
    return result;
  }

  py::list trace(const py::list& inputs) {
    std::vector<py::array> kept;
    const std::vector<Array> arrays = convert(inputs, &kept);
    std::unique_ptr<Session> session = acquire();
    std::shared_ptr<Model> model = model_;
    py::list rows;
    Recorder recorder(model->kernels(), &rows);
    check(session->plan(arrays));
    check(session->run(arrays, {}, nullptr, &recorder));
    model->release(std::move(session));
    return rows;
  }

  py::list profile(const py::list& inputs) {
    std::vector<py::array> kept;
    const std::vector<Array> arrays = convert(inputs, &kept);
    std::unique_ptr<Session> session = acquire();
    std::shared_ptr<Model> model = model_;
    std::vector<OpTime> times;
    Status status;
    {
      py::gil_scoped_release release;
      status = session->plan(arrays);
      // Faults pages in and fills caches, so that the first layers are not charged.
      if (status.ok()) status = session->run(arrays);
      if (status.ok()) status = session->run(arrays, {}, &times);
    }
    check(status);
    py::list rows;
    for (const OpTime& t : times) {
      const OpSpec& spec = t.op->spec();
      py::dict row;
      row["name"] = spec.name;
      row["kind"] = op_kind_name(spec.kind);
      row["source"] = spec.source;
      row["encoding"] = spec.weights.empty() ? std::string() : spec.weights[0]->encoding;
      row["kernel"] = t.op->kernel(model->kernels());
      row["shape"] = std::vector<int64_t>(t.op->out->dims, t.op->out->dims + t.op->out->rank);
      row["ms"] = t.ms;
      row["flops"] = t.op->flops();
      row["bytes"] = t.op->weight_bytes();
      rows.append(row);
    }
    model->release(std::move(session));
    return rows;
  }

  py::dict memory(const std::vector<std::vector<int64_t>>& shapes) {
    std::vector<Array> arrays;
    for (const auto& dims : shapes) arrays.push_back({nullptr, dims});
    std::unique_ptr<Session> session = acquire();
    check(session->plan(arrays));
    py::dict d;
    d["file_bytes"] = model().file().size();
    d["table_bytes"] = model().table_bytes() + session->current().table_bytes();
    d["arena_bytes"] = session->current().arena_bytes();
    model_->release(std::move(session));
    return d;
  }

  py::list inputs() const {
    py::list list;
    for (uint32_t i : model().inputs()) {
      const ValueInfo& v = model().values()[i];
      py::list shape;
      for (int32_t code : v.dims) {
        if (code > 0) shape.append(code);
        else shape.append(model().file().string(model().file().symbol(static_cast<uint32_t>(-1 - code)).name));
      }
      shape_dict(list, v)["shape"] = shape;
    }
    return list;
  }

  py::list outputs() const {
    py::list list;
    for (uint32_t i : model().outputs()) shape_dict(list, model().values()[i]);
    return list;
  }

  py::list symbols() const {
    py::list list;
    for (uint32_t i = 0; i < model().file().symbol_count(); ++i) {
      const format::Symbol& s = model().file().symbol(i);
      py::dict d;
      d["name"] = model().file().string(s.name);
      d["min"] = s.min;
      d["max"] = s.max;
      list.append(d);
    }
    return list;
  }

  py::list ops() const {
    py::list list;
    const auto names = [this](const std::vector<uint32_t>& ids) {
      py::list result;
      for (uint32_t id : ids) result.append(model().values()[id].name);
      return result;
    };
    for (const OpSpec& spec : model().ops()) {
      py::dict d;
      d["name"] = spec.name;
      d["kind"] = op_kind_name(spec.kind);
      d["source"] = spec.source;
      d["inputs"] = names(spec.inputs);
      d["outputs"] = names(spec.outputs);
      py::list tensors;
      for (const Weights* w : spec.weights) tensors.append(w - model().weights().data());
      d["tensors"] = tensors;
      std::string attrs;
      for (uint32_t i = 0; i < spec.attr_count; ++i) {
        attrs += (i ? " " : "") + std::to_string(static_cast<int32_t>(spec.attrs[i]));
      }
      d["attrs"] = attrs;
      list.append(d);
    }
    return list;
  }

  py::list tensors() const {
    static const char* const kinds[] = {"?", "values", "book", "index", "rows", "cols", "scales"};
    py::list list;
    const format::File& file = model().file();
    for (uint32_t i = 0; i < file.tensor_count(); ++i) {
      const Weights& w = model().weights()[i];
      const format::Tensor& t = file.tensor(i);
      py::dict d;
      d["name"] = w.name;
      d["encoding"] = w.encoding;
      d["rows"] = w.rows;
      d["cols"] = w.cols;
      d["groups"] = w.groups;
      d["entries"] = w.entries;
      d["parameters"] = w.parameters;
      d["bytes"] = w.bytes;
      py::list streams;
      for (uint32_t k = 0; k < t.stream_count; ++k) {
        const format::Stream& s = file.stream(t.first_stream + k);
        py::dict e;
        e["kind"] = kinds[s.kind];
        e["coding"] = s.coding == 1 ? "huffman" : "raw";
        e["bits"] = s.bits;
        e["bytes"] = s.size;
        streams.append(e);
      }
      d["streams"] = streams;
      list.append(d);
    }
    return list;
  }

  std::string isa() const { return isa_name(model().kernels().isa); }
  int threads() const { return model().threads(); }

 private:
  Model& model() const {
    if (!model_) check(invalid_argument("the model is closed"));
    return *model_;
  }

  std::unique_ptr<Session> acquire() {
    std::unique_ptr<Session> session;
    check(model().acquire(&session));
    return session;
  }

  template <class T>
  static py::array contiguous(const py::array& any) {
    if (any.flags() & py::array::c_style) return any;
    return py::array_t<T, py::array::c_style>::ensure(any);
  }

  // Views (or, for strided arrays, contiguous copies) of the inputs; `kept` owns them.
  std::vector<Array> convert(const py::list& inputs, std::vector<py::array>* kept) {
    std::vector<Array> arrays;
    arrays.reserve(inputs.size());
    for (const py::handle input : inputs) {
      const bool is_array = py::isinstance<py::array>(input);
      const py::array any = is_array ? py::reinterpret_borrow<py::array>(input) : py::array::ensure(input);
      format::Dtype dtype = format::Dtype::kF32;
      if (any && py::isinstance<py::array_t<float>>(any)) {
        kept->push_back(contiguous<float>(any));
      } else if (any && py::isinstance<py::array_t<int64_t>>(any)) {
        dtype = format::Dtype::kI64;
        kept->push_back(contiguous<int64_t>(any));
      } else if (any && py::isinstance<py::array_t<int32_t>>(any)) {
        dtype = format::Dtype::kI32;
        kept->push_back(contiguous<int32_t>(any));
      } else {
        PyErr_Clear();
        const size_t i = arrays.size();
        const std::string name = i < model().inputs().size() ? model().values()[model().inputs()[i]].name : "?";
        const std::string got = any ? std::string(py::str(any.dtype())) : "no array";
        check(invalid_argument("input '" + name + "': expected float32, int64 or int32, got " + got));
      }
      const py::array& a = kept->back();
      arrays.push_back({a.data(), std::vector<int64_t>(a.shape(), a.shape() + a.ndim()), dtype});
    }
    return arrays;
  }

  static py::dict shape_dict(py::list& list, const ValueInfo& v) {
    py::dict d;
    d["name"] = v.name;
    d["dtype"] = v.dtype == format::Dtype::kI64 ? "int64" : v.dtype == format::Dtype::kI32 ? "int32" : "float32";
    list.append(d);
    return d;
  }

  std::unique_ptr<void, FreeDeleter> bytes_;
  std::shared_ptr<Model> model_;
};

}  // namespace
}  // namespace pyrt

PYBIND11_MODULE(_core, m) {
  using pyrt::PyModel;
  m.doc() = "The C++ runtime. Use it through the package pyruntime.";
  m.attr("__version__") = PYRUNTIME_VERSION;
  pyrt::error_type() = py::reinterpret_steal<py::object>(PyErr_NewExceptionWithDoc(
      "pyruntime.Error", "A file, an input or an argument is not what it has to be.", PyExc_ValueError, nullptr));
  m.attr("Error") = pyrt::error_type();
  py::class_<PyModel>(m, "Model")
      .def(py::init<const std::string&, int>(), py::arg("path"), py::arg("threads") = 0)
      .def_property_readonly("inputs", &PyModel::inputs)
      .def_property_readonly("outputs", &PyModel::outputs)
      .def_property_readonly("symbols", &PyModel::symbols)
      .def_property_readonly("ops", &PyModel::ops)
      .def_property_readonly("tensors", &PyModel::tensors)
      .def_property_readonly("isa", &PyModel::isa)
      .def_property_readonly("threads", &PyModel::threads)
      .def("infer", &PyModel::infer)
      .def("trace", &PyModel::trace)
      .def("profile", &PyModel::profile)
      .def("memory", &PyModel::memory)
      .def("close", &PyModel::close);
  m.def(
      "load_bytes", [](const py::buffer& b, int threads) { return std::make_unique<PyModel>(b, threads); },
      py::arg("buffer"), py::arg("threads") = 0);
  m.def("available_isas", [] {
    std::vector<std::string> names;
    for (pyrt::Isa isa : pyrt::kFastestFirst) {
      if (pyrt::isa_available(isa)) names.insert(names.begin(), pyrt::isa_name(isa));
    }
    return names;
  });
}
