// Which seeds a simulation runs, as the environment says: TUTTI_TEST_SEED=N one of them, TUTTI_TEST_SEEDS=FIRST-LAST
// those, TUTTI_TEST_LONG=1 the long campaign. Otherwise a few, a quarter of them under sanitizers.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "src/base/format.h"
#include "tests/sanitized.h"

namespace tutti {

struct SeedRange {
  std::uint64_t first = 1;
  std::uint64_t last = 1;
  bool is_one = false;  // asked for by its number: to be looked at
};

inline SeedRange seed_range(std::uint64_t few, std::uint64_t many) {
  if (const char* const one = std::getenv("TUTTI_TEST_SEED")) {
    const std::uint64_t seed = std::strtoull(one, nullptr, 10);
    return {seed, seed, true};
  }
  if (const char* const range = std::getenv("TUTTI_TEST_SEEDS")) {
    char* end = nullptr;
    const std::uint64_t first = std::strtoull(range, &end, 10);
    return {first, std::strtoull(end + (*end == '-'), nullptr, 10), false};
  }
  const char* const wants_long = std::getenv("TUTTI_TEST_LONG");
  return {1,
          wants_long != nullptr && std::string_view(wants_long) == "1" ? many
          : kIsSanitized                                               ? (few + 3) / 4
                                                                       : few,
          false};
}

// The command that runs the test under way with this seed alone.
inline std::string replay(std::uint64_t seed) {
  const ::testing::TestInfo& test = *::testing::UnitTest::GetInstance()->current_test_info();
  return format("replay: TUTTI_TEST_SEED={} {} --gtest_filter={}.{}", seed, program_invocation_name,
                test.test_suite_name(), test.name());
}

// Until a seed fails.
template <typename Run>
void for_seeds(std::uint64_t few, std::uint64_t many, Run run) {
  const SeedRange range = seed_range(few, many);
  for (std::uint64_t seed = range.first; seed <= range.last && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(replay(seed));
    run(seed);
  }
}

}  // namespace tutti
