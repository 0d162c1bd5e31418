// A small pool for one model. A region is a function called once for each of `threads` parts of a static partition, so
// that results do not depend on who runs which part: the caller and the workers take parts in turn, and the caller does
// not wait for a worker that has not woken up yet. Workers spin briefly between regions and then sleep. In a forked
// child, which inherits no threads, the caller runs every part itself.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace pyrt {

class ThreadPool {
 public:
  // Starts threads - 1 workers, or as many as the system allows.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Runs fn(context, part, parts) for every part; returns when all are done. One region at a time.
  using Fn = void (*)(void* context, int part, int parts);
  void run(Fn fn, void* context);

 private:
  static void* enter(void* pool);  // a plain pthread, since std::thread reports a failure by an exception
  void work();
  bool run_part();
  bool has_part(uint64_t ticket) const { return static_cast<int>(ticket & kPartMask) < threads_; }

  static constexpr uint64_t kPartMask = 0xffff;

  int threads_ = 1;
  int owner_pid_;
  std::vector<pthread_t> workers_;
  // The number of the region and, in the low 16 bits, its next part. Whoever moves it on owns that part; until it is
  // done the region cannot end, so fn_ and context_ hold still.
  std::atomic<uint64_t> ticket_{kPartMask};
  std::atomic<int> pending_{0};  // parts not done yet
  Fn fn_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  // Behind a pointer, to be left alone in a forked child.
  std::unique_ptr<std::condition_variable> wake_ = std::make_unique<std::condition_variable>();
};

}  // namespace pyrt
