// Memory for kernels under test: nothing outside it can be touched unnoticed.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>

inline int failures = 0;
inline std::string what;  // the case that runs now

__attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  if (++failures > 20) return;
  std::va_list args;
  va_start(args, format);
  std::printf("%s: ", what.c_str());
  std::vprintf(format, args);
  std::printf("\n");
  va_end(args);
}

// Whether the unreadable page follows the last element or precedes the first.
inline bool guard_the_end = true;

// n elements that touch a page which faults on any access, masked vector loads included; a fault is the proof of an
// illegal access. The rest of the element's own pages is a canary. Elements start as canary bytes too.
template <class T>
class Guarded {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit Guarded(size_t n) : n_(n) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    inner_ = (n * sizeof(T) + page - 1) / page * page + page;
    mapped_ = inner_ + 2 * page;
    void* p = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    base_ = static_cast<uint8_t*>(p);
    inside_ = base_ + page;
    if (mprotect(inside_, inner_, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::memset(inside_, kCanary, inner_);
    data_ = guard_the_end ? inside_ + inner_ - n * sizeof(T) : inside_;
  }
  ~Guarded() {
    for (uint8_t* p = inside_; p < inside_ + inner_; ++p) {
      if (p == data_) p += n_ * sizeof(T);
      if (p == inside_ + inner_) break;
      if (*p == kCanary) continue;
      fail("a write %td bytes %s a buffer of %zu bytes", p < data_ ? data_ - p : p - data_,
           p < data_ ? "before" : "into", n_ * sizeof(T));
      break;
    }
    munmap(base_, mapped_);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return reinterpret_cast<T*>(data_); }
  size_t size() const { return n_; }
  T& operator[](size_t i) { return data()[i]; }
  // Whether element i still holds what the constructor put there.
  bool untouched(size_t i) const {
    const uint8_t* p = data_ + i * sizeof(T);
    for (size_t b = 0; b < sizeof(T); ++b) {
      if (p[b] != kCanary) return false;
    }
    return true;
  }

 private:
  static constexpr uint8_t kCanary = 0xa5;
  size_t n_, inner_, mapped_;
  uint8_t *base_, *inside_, *data_;
};

// Deterministic, and the same on every standard library.
class Random {
 public:
  uint64_t bits() { return engine_(); }
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint64_t>(n)); }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool coin() { return engine_() & 1; }
  bool chance(double p) { return unit() < p; }
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  float real(double low, double high) { return static_cast<float>(low + (high - low) * unit()); }
  void fill(Guarded<float>& buffer) {
    for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = real(-1, 1);
  }

 private:
  std::mt19937_64 engine_{20240229};
};

inline Random rng;
