// Sweeps the kernels of AVX-VNNI on processors that lack it but have AVX-512 VNNI: the same loops, with the form that
// the one instruction has there. Exit codes as of kernel_test.
#include "integers.h"

#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c,bmi2")
#include "kernels/simd/int8_avx2.h"
// The templates use the vector type above.
#include "kernels/int8/vnni.inl"

namespace pyrt {
namespace {

struct V : Int8Avx2 {
  static ireg dot(ireg acc, ireg x, ireg w) {
    __asm__("%{evex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w));
    return acc;
  }
};

}  // namespace
}  // namespace pyrt

int main() {
  using pyrt::V;
  if (!pyrt::isa_available(pyrt::Isa::kAvx512Vnni)) {
    std::printf("this processor has no avx512vnni\n");
    return 77;
  }
  for (bool end : {true, false}) {
    guard_the_end = end;
    test_qgemm(pyrt::qgemm_vnni<V, 4, 8>, false);
    test_qgemm(pyrt::qgemm_few_vnni<V, pyrt::Dot<V>>, true);
    test_qgemm(pyrt::qgemm_few_vnni<V, pyrt::DotNibbles<V>>, true, true);
    test_qdepthwise(pyrt::qdepthwise<V, pyrt::Dot<V>>);
  }
  if (failures > 0) std::printf("%d failures\n", failures);
  return failures > 0;
}
#else
int main() { return 77; }
#endif
