// What this processor and this process may use.
#pragma once

namespace pyrt {

// A kernel belongs to one of these sets of instructions.
enum class Isa { kRef = 0, kNeon, kNeonDot, kAvx2, kAvxVnni, kAvx512, kAvx512Vnni, kAvx512Bitalg };
constexpr Isa kFastestFirst[] = {Isa::kAvx512Bitalg, Isa::kAvx512Vnni, Isa::kAvx512, Isa::kAvxVnni,
                                 Isa::kAvx2,         Isa::kNeonDot,    Isa::kNeon,   Isa::kRef};

// The set that this one adds instructions to.
constexpr Isa isa_base(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Bitalg: return Isa::kAvx512Vnni;
    case Isa::kAvx512Vnni: return Isa::kAvx512;
    case Isa::kAvx512: return Isa::kAvx2;
    case Isa::kAvxVnni: return Isa::kAvx2;
    case Isa::kNeonDot: return Isa::kNeon;
    default: return Isa::kRef;
  }
}
// True when a processor that has `isa` runs the kernels of `other`.
constexpr bool isa_includes(Isa isa, Isa other) {
  while (isa != other && isa != Isa::kRef) isa = isa_base(isa);
  return isa == other;
}

const char* isa_name(Isa isa);
// True when the processor has the instructions and the operating system saves their registers.
bool isa_available(Isa isa);
// Number of processors this process may really use: affinity mask and cgroup quota, at least 1.
int usable_cpus();
// False when the processor takes vectors of 512 bits in two halves, which then may as well be two vectors.
bool whole_vectors_512();

struct CacheSizes {
  int l1d;  // bytes, per core
  int l2;   // bytes, per core
};
const CacheSizes& cache_sizes();

}  // namespace pyrt
