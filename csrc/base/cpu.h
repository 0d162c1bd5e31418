// What this processor and this process may use.
#pragma once

namespace pyrt {

enum class Isa { kRef = 0, kNeon, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bitalg };
constexpr Isa kFastestFirst[] = {Isa::kAvx512Bitalg, Isa::kAvx512Vnni, Isa::kAvx512, Isa::kAvx2, Isa::kNeon, Isa::kRef};

const char* isa_name(Isa isa);
// True when the processor has the instructions and the operating system saves their registers.
bool isa_available(Isa isa);
// Number of processors this process may really use: affinity mask and cgroup quota, at least 1.
int usable_cpus();

struct CacheSizes {
  int l1d;  // bytes, per core
  int l2;   // bytes, per core
};
const CacheSizes& cache_sizes();

}  // namespace pyrt
