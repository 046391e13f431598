// scale against its reference and copy against memcpy, on every instruction set of this machine.
#include <gtest/gtest.h>

#include "src/memory/reduce.h"
#include "src/memory/reduce_reference.h"
#include "tests/memory/operands.h"

namespace tutti {
namespace {

using testing_operands::Array;
using testing_operands::fill;

TEST(Scale, EqualsTheReferenceOnEveryTypeAndInstructionSet) {
  Random random(3);
  for (const InstructionSet set : instruction_sets()) {
    for (int t = 0; t < kDataTypes; ++t) {
      const auto type = static_cast<DataType>(t);
      for (std::size_t count = 0; count <= 200; ++count) {
        Array source(count * size_of(type), random.below(64));
        Array apart(count * size_of(type), random.below(64));
        Array scalar(size_of(type), random.below(64));
        fill(type, source.data(), count, random);
        fill(type, scalar.data(), 1, random);
        Array& target = random.chance(0.5) ? source : apart;
        std::vector<std::byte> expected(count * size_of(type));
        scale_reference(type, expected.data(), source.data(), count, scalar.data());

        find_scale(type, set)(target.data(), source.data(), count, scalar.data());

        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), target.data()))
            << name(set) << " " << name(type) << " count " << count;
        ASSERT_TRUE(target.intact());
      }
    }
  }
}

TEST(Scale, IsWhatPremultipliedSumNeeds) {
  const float values[] = {1.5f, -2.0f, 4.0f};
  const float half = 0.5f;
  float result[3];
  scale(DataType::float32, reinterpret_cast<std::byte*>(result), reinterpret_cast<const std::byte*>(values), 3,
        reinterpret_cast<const std::byte*>(&half));
  EXPECT_EQ(result[0], 0.75f);
  EXPECT_EQ(result[1], -1.0f);
  EXPECT_EQ(result[2], 2.0f);
}

TEST(Copy, StreamingOrNotMovesTheSameBytesAtAnyAlignment) {
  Random random(4);
  for (const bool streaming : {false, true}) {
    for (int i = 0; i < 40; ++i) {
      const std::size_t bytes = i < 20 ? random.below(200) : (std::size_t{1} << 18) + random.below(100'000);
      Array source(bytes, random.below(64));
      Array target(bytes, random.below(64));
      fill(DataType::uint8, source.data(), bytes, random);
      copy(target.data(), source.data(), bytes, streaming);
      ASSERT_TRUE(std::equal(source.data(), source.data() + bytes, target.data())) << bytes;
      ASSERT_TRUE(target.intact());
    }
  }
}

TEST(Copy, EveryInstructionSetStreamsEveryLength) {
  Random random(5);
  for (const InstructionSet set : instruction_sets()) {
    for (std::size_t bytes = 0; bytes < 600; ++bytes) {
      Array source(bytes, random.below(64));
      Array target(bytes, random.below(64));
      fill(DataType::uint8, source.data(), bytes, random);
      find_copy(set)(target.data(), source.data(), bytes, true);
      ASSERT_TRUE(std::equal(source.data(), source.data() + bytes, target.data())) << name(set) << " " << bytes;
      ASSERT_TRUE(target.intact());
    }
  }
}

}  // namespace
}  // namespace tutti
