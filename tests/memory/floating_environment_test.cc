// The caller's rounding mode and flush-to-zero must not reach the results, and must be as before afterwards.
#include "src/memory/floating_environment.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cstring>
#include <vector>

#include "src/memory/reduce.h"
#include "src/memory/reduce_reference.h"
#include "tests/memory/operands.h"

namespace tutti {
namespace {

using testing_operands::fill;

struct Outcome {
  std::vector<std::byte> bytes;
  int rounding_after;
};

// Sums and scales under a rounding mode, with subnormals flushed where the processor can do that.
Outcome reduce_under(DataType type, int rounding, const std::vector<std::byte>& a, const std::vector<std::byte>& b,
                     std::uint32_t divisor) {
  Outcome outcome{std::vector<std::byte>(a.size()), 0};
  const std::byte* const sources[] = {a.data(), b.data()};
  std::fenv_t saved;
  std::fegetenv(&saved);
  std::fesetround(rounding);
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
  reduce({type, ReduceOp::average, divisor}, outcome.bytes.data(), sources, a.size() / size_of(type));
  scale(type, outcome.bytes.data(), outcome.bytes.data(), a.size() / size_of(type), b.data());
  outcome.rounding_after = std::fegetround();
  std::fesetenv(&saved);
  return outcome;
}

TEST(FloatingEnvironment, TheCallersRoundingAndFlushingNeverShow) {
  Random random(11);
  for (int t = 0; t < kDataTypes; ++t) {
    const auto type = static_cast<DataType>(t);
    const std::size_t count = 501;
    std::vector<std::byte> a(count * size_of(type)), b(count * size_of(type)), expected(count * size_of(type));
    fill(type, a.data(), count, random);
    fill(type, b.data(), count, random);
    const std::byte* const sources[] = {a.data(), b.data()};
    reduce_reference({type, ReduceOp::average, 3}, expected.data(), sources, count);
    scale_reference(type, expected.data(), expected.data(), count, b.data());

    for (const int rounding : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      const Outcome outcome = reduce_under(type, rounding, a, b, 3);
      EXPECT_EQ(outcome.bytes, expected) << name(type) << " rounding mode " << rounding;
      EXPECT_EQ(outcome.rounding_after, rounding);
    }
  }
}

}  // namespace
}  // namespace tutti
