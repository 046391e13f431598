#include "src/memory/instruction_set.h"

#include "src/memory/highway_targets.h"

#include "hwy/detect_targets.h"

#if HWY_ARCH_X86
#include <cpuid.h>
#endif

namespace tutti {
namespace {

#if HWY_ARCH_X86
// Not among the names that every compiler's __builtin_cpu_supports knows.
bool has_half_conversions() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

std::string_view name(InstructionSet set) {
  switch (set) {
    case InstructionSet::baseline:
      return "baseline";
    case InstructionSet::sse4:
      return "sse4";
    case InstructionSet::avx2:
      return "avx2";
    case InstructionSet::avx512:
      return "avx512";
  }
  return "a number that is no instruction set";
}

// The features asked for are those that Highway lets the compiler use for each target. __builtin_cpu_supports also
// checks that the operating system saves the wider registers.
bool supported(InstructionSet set) {
  switch (set) {
    case InstructionSet::baseline:
      return true;
    case InstructionSet::sse4:
#if (HWY_TARGETS & HWY_SSE4) && (HWY_STATIC_TARGET != HWY_SSE4)
      return __builtin_cpu_supports("sse4.2");
#else
      return false;
#endif
    case InstructionSet::avx2:
#if (HWY_TARGETS & HWY_AVX2) && (HWY_STATIC_TARGET != HWY_AVX2)
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_half_conversions() &&
             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#else
      return false;
#endif
    case InstructionSet::avx512:
#if (HWY_TARGETS & HWY_AVX3) && (HWY_STATIC_TARGET != HWY_AVX3)
      return supported(InstructionSet::avx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw");
#else
      return false;
#endif
  }
  return false;
}

InstructionSet best_instruction_set() {
  static const InstructionSet best = instruction_sets().back();
  return best;
}

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets;
  for (const InstructionSet set :
       {InstructionSet::baseline, InstructionSet::sse4, InstructionSet::avx2, InstructionSet::avx512}) {
    if (supported(set)) sets.push_back(set);
  }
  return sets;
}

}  // namespace tutti
