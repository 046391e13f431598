// The choice of instruction set.
#include "src/memory/instruction_set.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace tutti {
namespace {

TEST(InstructionSets, TheBaselineIsAlwaysThereAndTheBestIsTheLastSupported) {
  const auto sets = instruction_sets();
  ASSERT_FALSE(sets.empty());
  EXPECT_EQ(sets.front(), InstructionSet::baseline);
  EXPECT_EQ(sets.back(), best_instruction_set());
  for (const InstructionSet set : sets) EXPECT_TRUE(supported(set)) << name(set);
}

TEST(InstructionSets, EachHasANameOfItsOwn) {
  std::set<std::string> names;
  for (const InstructionSet set : instruction_sets()) names.insert(std::string(name(set)));
  EXPECT_EQ(names.size(), instruction_sets().size());
}

}  // namespace
}  // namespace tutti
