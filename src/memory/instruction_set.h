// Which vector instructions the kernels use. Each kernel is compiled once for every set below that the compiler can
// target; the best one that this processor and operating system support is chosen at run time. All give the same
// bits.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tutti {

enum class InstructionSet : std::uint8_t {
  baseline,  // what the compiler may assume anyway: NEON on 64-bit Arm, the scalar reference on x86-64
  sse4,
  avx2,    // with FMA, F16C, BMI, BMI2
  avx512,  // with F, VL, DQ, BW
};

std::string_view name(InstructionSet set);
bool supported(InstructionSet set);              // compiled in, and usable on this machine
InstructionSet best_instruction_set();           // the last one supported; looked up once
std::vector<InstructionSet> instruction_sets();  // every one supported, baseline first

}  // namespace tutti
