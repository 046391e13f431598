// Every kernel on every instruction set of this machine against the scalar reference, bit for bit.
#include "src/memory/reduce.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "src/memory/reduce_reference.h"
#include "tests/memory/operands.h"

namespace tutti {
namespace {

using testing_operands::Array;
using testing_operands::fill;

struct Case {
  DataType type;
  ReduceOp op;
  InstructionSet set;
};

void PrintTo(const Case& c, std::ostream* out) { *out << name(c.set) << " " << name(c.type) << " " << name(c.op); }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const InstructionSet set : instruction_sets()) {
    for (int type = 0; type < kDataTypes; ++type) {
      for (int op = 0; op < kReduceOps; ++op) {
        if (supports(static_cast<DataType>(type), static_cast<ReduceOp>(op))) {
          cases.push_back({static_cast<DataType>(type), static_cast<ReduceOp>(op), set});
        }
      }
    }
  }
  return cases;
}

bool long_run() { return std::getenv("TUTTI_TEST_LONG") != nullptr; }

bool divides(ReduceOp op) {
  return op == ReduceOp::sum || op == ReduceOp::average || op == ReduceOp::premultiplied_sum;
}

// One reduction at random places in memory; `alias` says which source the target is (none: -1).
void expect_equal_to_reference(const Case& c, const Reduction& reduction, std::size_t source_count, std::size_t count,
                               int alias, Random& random) {
  const std::size_t size = size_of(c.type);
  const std::size_t alignment = random.chance(0.3) ? 1 : size;
  std::vector<Array> arrays;
  std::vector<const std::byte*> sources;
  for (std::size_t s = 0; s < source_count; ++s) {
    arrays.emplace_back(count * size, random.below(64) / alignment * alignment);
    fill(c.type, arrays.back().data(), count, random);
  }
  for (const Array& array : arrays) sources.push_back(array.data());
  Array apart(count * size, random.below(64) / alignment * alignment);
  Array& target = alias < 0 ? apart : arrays[static_cast<std::size_t>(alias)];
  std::vector<std::byte> expected(count * size);
  reduce_reference(reduction, expected.data(), sources, count);

  find_reduce(c.type, c.op, c.set)(reduction, target.data(), sources, count);

  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == target.data()[i]) continue;
    FAIL() << "element " << i / size << " of " << count << " differs; sources " << source_count
           << ", target is source " << alias << ", divisor " << reduction.divisor << ", streaming "
           << reduction.streaming;
  }
  ASSERT_TRUE(target.intact()) << "count " << count << " wrote outside the target";
}

class Reduce : public testing::TestWithParam<Case> {
 protected:
  Random random_{20261121 + static_cast<std::uint64_t>(GetParam().type) * 16 +
                 static_cast<std::uint64_t>(GetParam().op)};
};

TEST_P(Reduce, EqualsTheReferenceForEveryLengthAndNumberOfSources) {
  const Case c = GetParam();
  const std::size_t longest = 300;
  const std::size_t rounds = long_run() ? 20 : 1;
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t count = 0; count <= longest; ++count) {
      // Every length, and over the lengths every number of sources; short ones meet all of them at once.
      const std::size_t numbers[] = {1, 2, 3, 4, 8, 9, 17};
      for (std::size_t n = 0; n < std::size(numbers); ++n) {
        if (!long_run() && count > 20 && (count + n) % 7 != 0 && n != 1) continue;
        Reduction reduction{c.type, c.op};
        reduction.streaming = random_.chance(0.2);
        if (divides(c.op) && random_.chance(0.4))
          reduction.divisor = static_cast<std::uint32_t>(1 + random_.below(40));
        expect_equal_to_reference(c, reduction, numbers[n], count, -1, random_);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Reduce, MayWriteOverAnyOfItsSources) {
  const Case c = GetParam();
  for (const std::size_t source_count : {1, 2, 3, 9}) {
    for (std::size_t alias = 0; alias < source_count; ++alias) {
      for (int i = 0; i < 6; ++i) {
        const std::size_t count = i == 0 ? 256 : random_.below(300);
        Reduction reduction{c.type, c.op};
        reduction.streaming = random_.chance(0.5);
        if (divides(c.op) && random_.chance(0.4)) reduction.divisor = 3;
        expect_equal_to_reference(c, reduction, source_count, count, static_cast<int>(alias), random_);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Reduce, StreamsLargeTargetsWithTheSameBits) {
  const Case c = GetParam();
  for (int i = 0; i < (long_run() ? 20 : 2); ++i) {
    Reduction reduction{c.type, c.op};
    reduction.streaming = true;
    const std::size_t count = 4096 + random_.below(8192);
    expect_equal_to_reference(c, reduction, 2 + random_.below(3), count, random_.chance(0.3) ? 1 : -1, random_);
    if (HasFatalFailure()) return;
  }
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::string(name(c.set)) + "_" + std::string(name(c.type)) + "_" + std::string(name(c.op));
}

INSTANTIATE_TEST_SUITE_P(All, Reduce, testing::ValuesIn(all_cases()), case_name);

TEST(ReduceDispatch, TheTableHoldsTheBestInstructionSet) {
  for (const Case& c : all_cases()) {
    if (c.set != best_instruction_set()) continue;
    EXPECT_EQ(find_reduce(c.type, c.op), find_reduce(c.type, c.op, c.set));
  }
}

TEST(ReduceDispatch, UnsupportedPairsHaveNoFunction) {
  for (int type = 0; type < kDataTypes; ++type) {
    for (int op = 0; op < kReduceOps; ++op) {
      const auto t = static_cast<DataType>(type);
      const auto o = static_cast<ReduceOp>(op);
      EXPECT_EQ(find_reduce(t, o) != nullptr, supports(t, o).is_ok()) << name(t) << " " << name(o);
    }
  }
}

// All pairs of codes, so that every special case of the vector conversions is met.
template <typename Code>
void expect_all_pairs(const Case& c, std::size_t step) {
  std::vector<Code> all(std::size_t{1} << (8 * sizeof(Code)));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Code>(i);
  std::vector<Code> other(all.size());
  std::vector<Code> expected(all.size());
  std::vector<Code> result(all.size());
  const std::vector<const std::byte*> sources = {reinterpret_cast<std::byte*>(all.data()),
                                                 reinterpret_cast<std::byte*>(other.data())};
  for (std::size_t second = 0; second < all.size(); second += step) {
    std::fill(other.begin(), other.end(), static_cast<Code>(second));
    const Reduction reduction{c.type, c.op};
    reduce_reference(reduction, reinterpret_cast<std::byte*>(expected.data()), sources, all.size());
    find_reduce(c.type, c.op, c.set)(reduction, reinterpret_cast<std::byte*>(result.data()), sources, all.size());
    ASSERT_EQ(expected, result) << name(c.set) << " " << name(c.type) << " " << name(c.op) << " second " << second;
  }
}

TEST(ReduceLowPrecision, EveryPairOfFloat8CodesAndEveryCodeOfTheOthers) {
  for (const Case& c : all_cases()) {
    if (is_integer(c.type) || size_of(c.type) > 2) continue;
    if (size_of(c.type) == 1) {
      expect_all_pairs<std::uint8_t>(c, 1);
    } else {
      expect_all_pairs<std::uint16_t>(c, long_run() ? 257 : 4369);  // 257 divides 65535, so 0xffff is among them
    }
    if (HasFatalFailure()) return;
  }
}

TEST(ReduceLowPrecision, AccumulatesInFloat32AndRoundsOnce) {
  // 256 + 1 is a tie in bfloat16 and rounds down; rounded once, 256 + 1 + 1 is 258.
  const std::uint16_t large = 0x4380;  // 256
  const std::uint16_t one = 0x3f80;
  const std::byte* const sources[] = {reinterpret_cast<const std::byte*>(&large),
                                      reinterpret_cast<const std::byte*>(&one),
                                      reinterpret_cast<const std::byte*>(&one)};
  std::uint16_t result = 0;
  reduce({DataType::bfloat16, ReduceOp::sum}, reinterpret_cast<std::byte*>(&result), sources, 1);
  EXPECT_EQ(result, 0x4381);  // 258
}

}  // namespace
}  // namespace tutti
