#include "runtime/session.h"

#include <algorithm>
#include <chrono>

namespace pyrt {
namespace {

constexpr size_t kPlans = 8;  // shapes remembered per session

void logical_strides(int rank, const int64_t* dims, int64_t* strides) {
  int64_t step = 1;
  for (int d = rank - 1; d >= 0; --d) strides[d] = step, step *= dims[d];
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

Status Session::run(const std::vector<Array>& inputs, std::vector<OpTime>* times, Watcher* watcher) {
  PYRT_RETURN_IF_ERROR(plan(inputs));
  if (current_->arena_bytes() > arena_size_) {
    arena_.reset();
    arena_size_ = static_cast<size_t>(round_up(static_cast<int64_t>(current_->arena_bytes()), 4096));
    arena_.reset(static_cast<uint8_t*>(std::aligned_alloc(4096, arena_size_)));
    if (!arena_) {
      const size_t wanted = std::exchange(arena_size_, 0);
      return {Code::kOutOfMemory, "no memory for an activation arena of " + std::to_string(wanted) + " bytes"};
    }
  }
  current_->bind(arena_.get());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Node& n = current_->value(model_.inputs()[i]);
    int64_t strides[kRankMax], from[kRankMax];
    n.strides(strides);
    logical_strides(n.rank, n.dims, from);
    if (n.mask) n.clear(0, n.channels);
    copy_strided(n.rank, n.dims, n.data, strides, inputs[i].data, from);
  }
  RunContext ctx;
  ctx.kernels = &model_.kernels();
  ctx.scratch = arena_.get() + current_->scratch_offset();
  ctx.scratch_size = current_->scratch_size();
  ThreadPool* pool = model_.try_lock_pool();
  ctx.pool = pool && pool->threads() > 1 ? pool : nullptr;
  using Clock = std::chrono::steady_clock;
  for (const auto& op : current_->ops()) {
    if (!times) {
      op->run(ctx);
      if (watcher) watcher->after(*op);
      continue;
    }
    const auto start = Clock::now();
    op->run(ctx);
    times->push_back({op.get(), std::chrono::duration<double, std::milli>(Clock::now() - start).count()});
  }
  if (pool) model_.unlock_pool();
  return {};
}

std::vector<int64_t> Session::output_dims(size_t i) const {
  const Node& n = current_->value(model_.outputs()[i]);
  return {n.dims, n.dims + n.rank};
}

void Session::read_output(size_t i, float* dst) const {
  const Node& n = current_->value(model_.outputs()[i]);
  int64_t strides[kRankMax], to[kRankMax];
  n.strides(strides);
  logical_strides(n.rank, n.dims, to);
  copy_strided(n.rank, n.dims, dst, to, n.data, strides);
}

}  // namespace pyrt
