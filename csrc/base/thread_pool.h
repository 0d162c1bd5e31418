// A small pool for one model: the caller plus `threads - 1` workers run the same function on their own part of a
// static partition. Workers spin briefly between regions and then sleep. In a forked child, which inherits no threads,
// the caller runs every part itself.
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
  // What a worker is started with; a plain pthread, since std::thread reports a failure by an exception.
  struct Start {
    ThreadPool* pool;
    int part;
  };
  static void* enter(void* start);
  void work(int part);

  int threads_ = 1;
  int owner_pid_;
  std::vector<Start> starts_;
  std::vector<pthread_t> workers_;
  std::atomic<uint64_t> region_{0};
  std::atomic<int> pending_{0};
  std::atomic<bool> stop_{false};
  Fn fn_ = nullptr;
  void* context_ = nullptr;
  std::mutex mutex_;
  std::unique_ptr<std::condition_variable> wake_ = std::make_unique<std::condition_variable>();
};

}  // namespace pyrt
