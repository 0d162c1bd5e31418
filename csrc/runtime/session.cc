#include "runtime/session.h"

#include <algorithm>
#include <chrono>

#include "base/subnormals.h"

namespace pyrt {
namespace {

constexpr size_t kPlans = 8;  // shapes remembered per session

// Copies between a caller's array and a node, in parts of its channels.
void copy_value(const RunContext& ctx, const Node& n, float* array, bool into_node) {
  int64_t inside[kRankMax], outside[kRankMax];
  n.strides(inside);
  n.logical_strides(outside);
  ctx.parallel(2 * n.elements(), [&](int part, int parts) {
    int64_t dims[kRankMax], first = 0;
    std::copy(n.dims, n.dims + n.rank, dims);
    if (n.axis >= 0) {
      first = n.channels * part / parts;
      dims[n.axis] = n.channels * (part + 1) / parts - first;
      if (dims[n.axis] == 0) return;
      if (into_node && n.mask) n.clear(first, first + dims[n.axis]);
    } else if (part > 0) {
      return;
    }
    float* node = n.data + (n.axis >= 0 ? first * inside[n.axis] : 0);
    float* other = array + (n.axis >= 0 ? first * outside[n.axis] : 0);
    if (into_node) copy_strided(*ctx.kernels, n.rank, dims, node, inside, other, outside);
    else copy_strided(*ctx.kernels, n.rank, dims, other, outside, node, inside);
  });
}

// Integers become f32, exactly; others are refused.
template <class T>
Status copy_integers(const Node& n, const T* array) {
  int64_t strides[kRankMax];
  n.strides(strides);
  if (n.mask) n.clear(0, n.channels);
  const int64_t count = n.elements();
  for (int64_t i = 0; i < count; ++i) {
    const T value = array[i];
    if (value > format::kMaxInteger || value < -format::kMaxInteger) {
      return invalid_argument("input '" + std::string(n.name) + "': " + std::to_string(value) +
                              " is too large, integers reach from -2^24 to 2^24");
    }
    int64_t at = 0;
    for (int64_t d = n.rank - 1, rest = i; d >= 0; rest /= n.dims[d--]) at += rest % n.dims[d] * strides[d];
    n.data[at] = static_cast<float>(value);
  }
  return {};
}

}  // namespace

Status Session::plan(const std::vector<Array>& inputs) {
  PYRT_RETURN_IF_ERROR(model_.check_inputs(inputs));
  const auto found = std::find_if(plans_.begin(), plans_.end(), [&](const auto& p) { return p->fits(inputs); });
  if (found != plans_.end()) {
    std::rotate(plans_.begin(), found, found + 1);
  } else {
    std::unique_ptr<Plan> fresh;
    PYRT_RETURN_IF_ERROR(Plan::make(model_, inputs, &fresh));
    if (plans_.size() == kPlans) plans_.pop_back();
    plans_.insert(plans_.begin(), std::move(fresh));
  }
  current_ = plans_.front().get();
  return {};
}

Status Session::run(const std::vector<Array>& inputs, const std::vector<float*>& outputs, std::vector<OpTime>* times,
                    Watcher* watcher) {
  const SubnormalsAreZero mode;
  if (current_->arena_bytes() > arena_size_) {
    arena_.reset();
    arena_size_ = static_cast<size_t>(round_up(static_cast<int64_t>(current_->arena_bytes()), 4096));
    arena_.reset(static_cast<uint8_t*>(std::aligned_alloc(4096, arena_size_)));
    if (!arena_) {
      const size_t wanted = std::exchange(arena_size_, 0);
      return {Code::kOutOfMemory, "no memory for an activation arena of " + std::to_string(wanted) + " bytes"};
    }
  }
  current_->bind(arena_.get(), inputs, outputs);
  Status failed;
  RunContext ctx;
  ctx.kernels = &model_.kernels();
  ctx.error = &failed;
  ctx.scratch = arena_.get() + current_->scratch_offset();
  ctx.scratch_size = current_->scratch_size();
  ThreadPool* pool = model_.try_lock_pool();
  ctx.pool = pool && pool->threads() > 1 ? pool : nullptr;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Node& n = current_->value(model_.inputs()[i]);
    if (n.external) continue;
    if (inputs[i].dtype == format::Dtype::kI64) failed = copy_integers(n, static_cast<const int64_t*>(inputs[i].data));
    else if (inputs[i].dtype == format::Dtype::kI32)
      failed = copy_integers(n, static_cast<const int32_t*>(inputs[i].data));
    else copy_value(ctx, n, static_cast<float*>(const_cast<void*>(inputs[i].data)), true);
    if (!failed.ok()) break;
  }
  using Clock = std::chrono::steady_clock;
  for (const auto& op : current_->ops()) {
    if (!failed.ok()) break;
    if (!times) {
      op->run(ctx);
      if (watcher) watcher->after(*op);
      continue;
    }
    const auto start = Clock::now();
    op->run(ctx);
    times->push_back({op.get(), std::chrono::duration<double, std::milli>(Clock::now() - start).count()});
  }
  for (size_t i = 0; i < outputs.size() && failed.ok(); ++i) {
    const Node& n = current_->value(model_.outputs()[i]);
    if (n.data != outputs[i]) copy_value(ctx, n, outputs[i], false);
  }
  if (pool) model_.unlock_pool();
  return failed;
}

std::vector<int64_t> Session::output_dims(size_t i) const {
  const Node& n = current_->value(model_.outputs()[i]);
  return {n.dims, n.dims + n.rank};
}

void Session::read_output(size_t i, float* dst) const {
  const Node& n = current_->value(model_.outputs()[i]);
  RunContext ctx;
  ctx.kernels = &model_.kernels();
  copy_value(ctx, n, dst, false);
}

}  // namespace pyrt
