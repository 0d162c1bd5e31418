// N neighbouring floats, each of which is wanted in every lane of a vector V.
#pragma once

namespace pyrt {
namespace {

// A load for each. Where a multiply-add can pick a lane of its operand (simd/neon.h), one for every four.
template <class V, int N>
class Broadcast {
 public:
  explicit Broadcast(const float* p) : p_(p) {}
  typename V::reg operator[](int i) const { return V::set1(p_[i]); }

 private:
  const float* p_;
};

}  // namespace
}  // namespace pyrt
