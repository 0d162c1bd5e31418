// Activation functions that any op may apply to its result (docs/format.md, section 3).
#pragma once

#include <cstdint>

namespace pyrt {

enum class Act : uint32_t {
  kNone = 0,
  kClamp,
  kLeakyRelu,
  kSigmoid,
  kTanh,
  kSilu,
  kHardswish,
  kHardsigmoid,
  kGelu,
  kGeluTanh,
  kElu,
  kExp,
  kSqrt,
  kAbs,
  kSoftplus,
  kMish,
  kCount
};

struct Activation {
  Act code = Act::kNone;
  float p0 = 0.0f;
  float p1 = 0.0f;
};

}  // namespace pyrt
