#include "base/thread_pool.h"

#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pyrt {
namespace {

// About 20 us of pauses: longer than the gap between two layers, shorter than a scheduler's time slice.
constexpr int kSpins = 2000;

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : owner_pid_(getpid()) {
  starts_.reserve(static_cast<size_t>(threads));  // workers keep pointers into it
  // No worker reads threads_ before the first region, when it is final.
  for (int part = 1; part < threads; ++part) {
    starts_.push_back({this, part});
    pthread_t worker;
    if (pthread_create(&worker, nullptr, enter, &starts_.back()) != 0) break;
    workers_.push_back(worker);
    ++threads_;
  }
}

ThreadPool::~ThreadPool() {
  if (getpid() != owner_pid_) {
    (void)wake_.release();  // destroying it would wait for the workers, which stayed in the parent
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    region_.fetch_add(1);
  }
  wake_->notify_all();
  for (pthread_t worker : workers_) pthread_join(worker, nullptr);
}

void* ThreadPool::enter(void* start) {
  const Start* s = static_cast<const Start*>(start);
  s->pool->work(s->part);
  return nullptr;
}

void ThreadPool::run(Fn fn, void* context) {
  if (getpid() != owner_pid_) {
    for (int part = 0; part < threads_; ++part) fn(context, part, threads_);
    return;
  }
  fn_ = fn;
  context_ = context;
  pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  {
    // Under the lock, so that a worker cannot fall asleep between its last look and this change.
    std::lock_guard<std::mutex> lock(mutex_);
    region_.fetch_add(1, std::memory_order_release);
  }
  wake_->notify_all();
  fn(context, 0, threads());
  for (int spins = 0; pending_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) pause();
    else sched_yield();
  }
}

void ThreadPool::work(int part) {
  uint64_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpins && region_.load(std::memory_order_acquire) == seen; ++spins) pause();
    if (region_.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_->wait(lock, [&] { return region_.load(std::memory_order_acquire) != seen; });
    }
    ++seen;
    if (stop_) return;
    fn_(context_, part, threads());
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace pyrt
