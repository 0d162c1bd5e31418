#include <array>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "kernels/kernels.h"

namespace pyrt {
namespace {

#define PYRT_FAMILY(family, type) using family##_type = type;
#include "kernels/families.def"
#undef PYRT_FAMILY

}  // namespace

#define PYRT_KERNEL(family, function, isa) extern std::remove_pointer_t<family##_type> function;
#include "kernels/kernels.def"
#undef PYRT_KERNEL

namespace {

#define PYRT_KERNEL(family, function, isa) {#family, #function, Isa::isa, reinterpret_cast<void (*)()>(function)},
const KernelEntry kTable[] = {
#include "kernels/kernels.def"
};
#undef PYRT_KERNEL

Kernels make_set(Isa isa) {
  Kernels set{};
  set.isa = isa;
#define PYRT_FAMILY(member, type)                                          \
  for (const KernelEntry& e : kTable) {                                    \
    if (std::strcmp(e.family, #member) == 0 && isa_includes(isa, e.isa)) { \
      set.member = reinterpret_cast<type>(e.fn);                           \
      set.member##_name = e.name;                                          \
    }                                                                      \
  }
#include "kernels/families.def"
#undef PYRT_FAMILY
  return set;
}

}  // namespace

const KernelEntry* kernel_table(size_t* count) {
  *count = sizeof kTable / sizeof kTable[0];
  return kTable;
}

const Kernels* kernels_for(Isa isa) {
  static const auto sets = [] {
    std::array<Kernels, std::size(kFastestFirst)> all{};
    for (Isa each : kFastestFirst) all[static_cast<size_t>(each)] = make_set(each);
    return all;
  }();
  return isa_available(isa) ? &sets[static_cast<size_t>(isa)] : nullptr;
}

const Kernels* select_kernels(std::string* message) {
  const char* forced = std::getenv("PYRUNTIME_ISA");
  for (Isa isa : kFastestFirst) {
    if (forced && *forced && std::strcmp(forced, isa_name(isa)) != 0) continue;
    if (const Kernels* set = kernels_for(isa)) return set;
  }
  *message = std::string("PYRUNTIME_ISA=") + forced + ": this processor and build have";
  for (Isa isa : kFastestFirst) {
    if (isa_available(isa)) *message += std::string(" ") + isa_name(isa);
  }
  *message += "; name one of these or unset it";
  return nullptr;
}

}  // namespace pyrt
