// Subnormal numbers count as zero while a net runs. An operation on one takes a hundred times as long on some
// processors, and where they come up is nothing a user sees: in what decays towards zero, and beside the last column
// of a plane, where vectors compute on whatever lies there.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pyrt {

// For the calling thread, until destroyed.
class SubnormalsAreZero {
 public:
  SubnormalsAreZero() : before_(get()) { set(before_ | kFlush); }
  ~SubnormalsAreZero() { set(before_); }
  SubnormalsAreZero(const SubnormalsAreZero&) = delete;
  SubnormalsAreZero& operator=(const SubnormalsAreZero&) = delete;

 private:
#if defined(__x86_64__)
  using Control = uint32_t;
  static constexpr Control kFlush = 0x8040;  // of MXCSR: flush to zero, denormals are zeros
  static Control get() { return _mm_getcsr(); }
  static void set(Control control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
  using Control = uint64_t;
  static constexpr Control kFlush = uint64_t{1} << 24;  // of FPCR: FZ, inputs and results
  static Control get() {
    Control control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
  }
  static void set(Control control) { __asm__ volatile("msr fpcr, %0" : : "r"(control)); }
#else
  using Control = uint32_t;
  static constexpr Control kFlush = 0;
  static Control get() { return 0; }
  static void set(Control) {}
#endif
  Control before_;
};

}  // namespace pyrt
