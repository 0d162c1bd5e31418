#include "base/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace pyrt {

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kRef: return "ref";
    case Isa::kNeon: return "neon";
    case Isa::kNeonDot: return "neondot";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvxVnni: return "avxvnni";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
    case Isa::kAvx512Bitalg: return "avx512bitalg";
  }
  return "?";
}

#if defined(__x86_64__)
namespace {

// XCR0: the register state that the operating system saves on a context switch.
bool os_saves(unsigned state) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & state) == state;
}

bool has_avx2() {
  unsigned a, b, c, d;
  if (!os_saves(0x6)) return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || !(c & bit_F16C)) return false;
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LZCNT)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) && (b & bit_BMI2);
}

bool has_avx_vnni() {
  unsigned a, b, c, d;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVXVNNI);
}

bool has_avx512() {
  unsigned a, b, c, d;
  if (!has_avx2() || !os_saves(0xe6)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  return (b & wanted) == wanted;
}

bool has_avx512_vnni() {
  unsigned a, b, c, d;
  return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_AVX512VNNI);
}

bool has_avx512_bitalg() {
  unsigned a, b, c, d;
  return has_avx512_vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_AVX512BITALG);
}

}  // namespace

bool whole_vectors_512() {
  unsigned a, b, c, d;
  char vendor[12];
  if (!__get_cpuid(0, &a, &b, &c, &d)) return true;
  std::memcpy(vendor, &b, 4), std::memcpy(vendor + 4, &d, 4), std::memcpy(vendor + 8, &c, 4);
  if (std::memcmp(vendor, "AuthenticAMD", 12) != 0 || !__get_cpuid(1, &a, &b, &c, &d)) return true;
  const unsigned family = (a >> 8 & 15) + (a >> 20 & 255);
  return family != 0x19;  // Zen 4
}
#else
bool whole_vectors_512() { return true; }
#endif

bool isa_available(Isa isa) {
  switch (isa) {
    case Isa::kRef: return true;
#if defined(__x86_64__)
    case Isa::kAvx2: {
      static const bool yes = has_avx2();
      return yes;
    }
    case Isa::kAvxVnni: {
      static const bool yes = has_avx_vnni();
      return yes;
    }
    case Isa::kAvx512: {
      static const bool yes = has_avx512();
      return yes;
    }
    case Isa::kAvx512Vnni: {
      static const bool yes = has_avx512_vnni();
      return yes;
    }
    case Isa::kAvx512Bitalg: {
      static const bool yes = has_avx512_bitalg();
      return yes;
    }
#elif defined(__aarch64__)
    case Isa::kNeon: return true;
    case Isa::kNeonDot: return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#endif
    default: return false;
  }
}

namespace {

// cpu.max holds "quota period" or "max period" (cgroup v2); v1 has the two numbers in two files.
double cgroup_quota() {
  double quota = 0, period = 0;
  if (FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    const bool limited = std::fscanf(f, "%lf %lf", &quota, &period) == 2;
    std::fclose(f);
    return limited && period > 0 ? quota / period : INFINITY;
  }
  FILE* q = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
  FILE* p = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
  const bool limited = q && p && std::fscanf(q, "%lf", &quota) == 1 && std::fscanf(p, "%lf", &period) == 1;
  if (q) std::fclose(q);
  if (p) std::fclose(p);
  return limited && quota > 0 && period > 0 ? quota / period : INFINITY;
}

int cache_size(int name, int fallback) {
  const long bytes = sysconf(name);
  return bytes > 0 ? static_cast<int>(std::min(bytes, 1L << 30)) : fallback;
}

}  // namespace

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  const double quota = cgroup_quota();
  if (quota < cpus) cpus = static_cast<int>(std::ceil(quota));
  return std::max(cpus, 1);
}

const CacheSizes& cache_sizes() {
  static const CacheSizes sizes = {cache_size(_SC_LEVEL1_DCACHE_SIZE, 32 << 10),
                                   cache_size(_SC_LEVEL2_CACHE_SIZE, 512 << 10)};
  return sizes;
}

}  // namespace pyrt
