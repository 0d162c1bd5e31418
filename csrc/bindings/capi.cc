// The C API over the runtime.
#include <memory>
#include <new>
#include <string>

#include "pyruntime.h"
#include "runtime/session.h"

struct pyrt_model {
  std::unique_ptr<pyrt::Model> model;
};

struct pyrt_session {
  pyrt_model* owner;
  pyrt::Session session;
  std::vector<pyrt::Array> inputs;
  bool ran = false;
};

namespace {

thread_local std::string last_error;

pyrt_status fail(pyrt_status status, std::string message) {
  last_error = std::move(message);
  return status;
}

pyrt_status report(const pyrt::Status& status) {
  if (status.ok()) return PYRT_OK;
  // The two enumerations have the same order.
  return fail(static_cast<pyrt_status>(status.code()), status.message());
}

pyrt_status describe(const pyrt_model* model, const std::vector<uint32_t>& values, size_t index, pyrt_info* info) {
  if (index >= values.size()) return fail(PYRT_INVALID_ARGUMENT, "there is no input or output of that number");
  const pyrt::ValueInfo& v = model->model->values()[values[index]];
  info->name = v.name;
  info->rank = v.rank;
  info->dtype = static_cast<pyrt_dtype>(v.dtype);  // the codes of the format
  for (int d = 0; d < v.rank; ++d) info->dims[d] = v.dims.empty() || v.dims[d] < 0 ? -1 : v.dims[d];
  return PYRT_OK;
}

pyrt_status set_input(pyrt_session* session, size_t index, const void* data, const int64_t* dims, int rank,
                      pyrt::format::Dtype dtype) {
  if (!session || !data || (!dims && rank > 0))
    return fail(PYRT_INVALID_ARGUMENT, "pyrt_session_set_input: null argument");
  if (index >= session->inputs.size()) return fail(PYRT_INVALID_ARGUMENT, "there is no input of that number");
  if (rank < 0 || rank > PYRT_MAX_RANK) return fail(PYRT_INVALID_ARGUMENT, "the rank must be 0 to 6");
  session->inputs[index].data = data;
  session->inputs[index].dtype = dtype;
  session->inputs[index].dims.assign(dims, dims + rank);
  return PYRT_OK;
}

}  // namespace

extern "C" {

const char* pyrt_version(void) { return PYRUNTIME_VERSION; }
const char* pyrt_error(void) { return last_error.c_str(); }

pyrt_status pyrt_model_open(const char* path, int threads, pyrt_model** model) {
  if (!path || !model) return fail(PYRT_INVALID_ARGUMENT, "pyrt_model_open: null argument");
  auto handle = std::make_unique<pyrt_model>();
  const pyrt_status status = report(pyrt::Model::open(path, threads, &handle->model));
  if (status == PYRT_OK) *model = handle.release();
  return status;
}

pyrt_status pyrt_model_open_memory(const void* data, size_t size, int threads, pyrt_model** model) {
  if (!data || !model) return fail(PYRT_INVALID_ARGUMENT, "pyrt_model_open_memory: null argument");
  auto handle = std::make_unique<pyrt_model>();
  const pyrt_status status = report(pyrt::Model::open_memory(data, size, threads, &handle->model));
  if (status == PYRT_OK) *model = handle.release();
  return status;
}

void pyrt_model_close(pyrt_model* model) { delete model; }

size_t pyrt_input_count(const pyrt_model* model) { return model ? model->model->inputs().size() : 0; }
size_t pyrt_output_count(const pyrt_model* model) { return model ? model->model->outputs().size() : 0; }

pyrt_status pyrt_input_info(const pyrt_model* model, size_t index, pyrt_info* info) {
  if (!model || !info) return fail(PYRT_INVALID_ARGUMENT, "pyrt_input_info: null argument");
  return describe(model, model->model->inputs(), index, info);
}

pyrt_status pyrt_output_info(const pyrt_model* model, size_t index, pyrt_info* info) {
  if (!model || !info) return fail(PYRT_INVALID_ARGUMENT, "pyrt_output_info: null argument");
  return describe(model, model->model->outputs(), index, info);
}

pyrt_status pyrt_session_create(pyrt_model* model, pyrt_session** session) {
  if (!model || !session) return fail(PYRT_INVALID_ARGUMENT, "pyrt_session_create: null argument");
  auto* handle = new (std::nothrow) pyrt_session{model, pyrt::Session(model->model.get()), {}};
  if (!handle) return fail(PYRT_OUT_OF_MEMORY, "no memory for a session");
  handle->inputs.resize(model->model->inputs().size(), {nullptr, {}});
  *session = handle;
  return PYRT_OK;
}

void pyrt_session_destroy(pyrt_session* session) { delete session; }

pyrt_status pyrt_session_set_input(pyrt_session* session, size_t index, const float* data, const int64_t* dims,
                                   int rank) {
  return set_input(session, index, data, dims, rank, pyrt::format::Dtype::kF32);
}

pyrt_status pyrt_session_set_input_i64(pyrt_session* session, size_t index, const int64_t* data, const int64_t* dims,
                                       int rank) {
  return set_input(session, index, data, dims, rank, pyrt::format::Dtype::kI64);
}

pyrt_status pyrt_session_set_input_i32(pyrt_session* session, size_t index, const int32_t* data, const int64_t* dims,
                                       int rank) {
  return set_input(session, index, data, dims, rank, pyrt::format::Dtype::kI32);
}

pyrt_status pyrt_session_run(pyrt_session* session) {
  if (!session) return fail(PYRT_INVALID_ARGUMENT, "pyrt_session_run: null argument");
  for (size_t i = 0; i < session->inputs.size(); ++i) {
    if (!session->inputs[i].data) {
      return fail(PYRT_INVALID_ARGUMENT,
                  "input " + std::to_string(i) + " is not set; call pyrt_session_set_input first");
    }
  }
  pyrt::Status status = session->session.plan(session->inputs);
  if (status.ok()) status = session->session.run(session->inputs);
  session->ran = status.ok();
  return report(status);
}

pyrt_status pyrt_session_output_info(const pyrt_session* session, size_t index, pyrt_info* info) {
  if (!session || !info) return fail(PYRT_INVALID_ARGUMENT, "pyrt_session_output_info: null argument");
  if (!session->ran) return fail(PYRT_INVALID_ARGUMENT, "call pyrt_session_run first");
  const pyrt_status status = describe(session->owner, session->owner->model->outputs(), index, info);
  if (status != PYRT_OK) return status;
  const std::vector<int64_t> dims = session->session.output_dims(index);
  for (size_t d = 0; d < dims.size(); ++d) info->dims[d] = dims[d];
  return PYRT_OK;
}

pyrt_status pyrt_session_read_output(const pyrt_session* session, size_t index, float* data, size_t capacity) {
  pyrt_info info;
  const pyrt_status status = pyrt_session_output_info(session, index, &info);
  if (status != PYRT_OK) return status;
  size_t elements = 1;
  for (int d = 0; d < info.rank; ++d) elements *= static_cast<size_t>(info.dims[d]);
  if (!data || capacity < elements) {
    return fail(PYRT_INVALID_ARGUMENT,
                "output " + std::string(info.name) + " needs room for " + std::to_string(elements) + " floats");
  }
  session->session.read_output(index, data);
  return PYRT_OK;
}

}  // extern "C"
