#include "base/thread_pool.h"

#include <sched.h>
#include <unistd.h>

#include "base/subnormals.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pyrt {
namespace {

// About 100 us of pauses: longer than the gap between two layers or two calls, shorter than a scheduler's time slice.
constexpr int kSpins = 6000;

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : owner_pid_(getpid()) {
  for (int i = 1; i < threads; ++i) {
    pthread_t worker;
    if (pthread_create(&worker, nullptr, enter, this) != 0) break;
    workers_.push_back(worker);
  }
  threads_ = static_cast<int>(workers_.size()) + 1;
}

ThreadPool::~ThreadPool() {
  if (getpid() != owner_pid_) {
    (void)wake_.release();  // destroying it would wait for the workers, which stayed in the parent
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_->notify_all();
  for (pthread_t worker : workers_) pthread_join(worker, nullptr);
}

void* ThreadPool::enter(void* pool) {
  const SubnormalsAreZero mode;
  static_cast<ThreadPool*>(pool)->work();
  return nullptr;
}

void ThreadPool::run(Fn fn, void* context) {
  if (getpid() != owner_pid_) {
    for (int part = 0; part < threads_; ++part) fn(context, part, threads_);
    return;
  }
  fn_ = fn;
  context_ = context;
  pending_ = threads_;
  ticket_ = (ticket_.load() | kPartMask) + 1;  // part 0 of the next region
  // A worker counts itself before its last look at the ticket, so either it sees this region or it is seen here.
  if (sleepers_.load() > 0) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_->notify_all();
  }
  while (run_part()) {
  }
  for (int spins = 0; pending_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) pause();
    else sched_yield();
  }
}

// Takes the next part of the region and runs it; false when none is left.
bool ThreadPool::run_part() {
  uint64_t ticket = ticket_.load();
  do {
    if (!has_part(ticket)) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket + 1));
  fn_(context_, static_cast<int>(ticket & kPartMask), threads_);
  pending_.fetch_sub(1, std::memory_order_release);
  return true;
}

void ThreadPool::work() {
  for (;;) {
    uint64_t ticket = ticket_;
    for (int spins = 0; spins < kSpins && !has_part(ticket) && !stop_; ++spins) {
      pause();
      ticket = ticket_;
    }
    if (!has_part(ticket)) {
      // Until there is a new region, even one that others have finished by then: the next is likely to be near.
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleepers_;
      wake_->wait(lock, [&] { return (ticket_ | kPartMask) != (ticket | kPartMask) || stop_; });
      --sleepers_;
    }
    if (stop_) return;
    while (run_part()) {
    }
  }
}

}  // namespace pyrt
