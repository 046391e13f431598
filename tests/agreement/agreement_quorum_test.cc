// Which members are a quorum, and that two of the first kind always meet.
#include "src/membership/agreement_quorum.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

MemberSet set(std::uint32_t members, std::uint64_t bits) {
  MemberSet set(members);
  for (std::uint32_t i = 0; i < members; ++i) {
    if (i < 64 && (bits >> i & 1) != 0) set.add(i);
  }
  return set;
}

TEST(AgreementQuorum, TwoOfTheFirstKindHaveAMemberInCommon) {
  for (std::uint32_t members = 1; members <= 10; ++members) {
    const MemberSet nobody(members);
    for (std::uint32_t casting = 0; casting < members; casting += 3) {
      std::vector<std::uint64_t> quorums;
      for (std::uint64_t bits = 0; bits < std::uint64_t{1} << members; ++bits) {
        if (is_quorum(set(members, bits), nobody, {.casting = casting})) quorums.push_back(bits);
      }
      // Of a set and the others, one is a quorum: no weaker rule would do, and no stronger one is needed.
      EXPECT_EQ(quorums.size(), std::size_t{1} << (members - 1));
      for (const std::uint64_t a : quorums) {
        for (const std::uint64_t b : quorums) ASSERT_NE(a & b, 0u) << members;
      }
    }
  }
}

TEST(AgreementQuorum, AllThatAreNotDeadAreOne) {
  EXPECT_TRUE(is_quorum(set(8, 0x80), set(8, 0x7f), {}));
  EXPECT_FALSE(is_quorum(set(8, 0x80), set(8, 0x3f), {}));
  MemberSet dead(70);
  for (std::uint32_t i = 1; i < 69; ++i) dead.add(i);
  EXPECT_FALSE(is_quorum(dead.others(), MemberSet(70), {}));
  EXPECT_TRUE(is_quorum(dead.others(), dead, {}));
}

TEST(AgreementQuorum, NeedsTheMinimum) {
  EXPECT_FALSE(is_quorum(set(8, 0x80), set(8, 0x7f), {.minimum = 2}));
  EXPECT_TRUE(is_quorum(set(8, 0xc0), set(8, 0x3f), {.minimum = 2}));
  EXPECT_FALSE(is_quorum(set(4, 0x7), set(4, 0), {.minimum = 4}));
}

TEST(AgreementQuorum, SaysHowManyAreNeededAndWhoIsMissing) {
  EXPECT_NE(no_quorum(set(8, 0x3e), set(8, 0x02), {})
                .text()
                .find("3 of 8 members are left and 4 are needed, since what members 2, 3, 4, 5 do cannot be known"),
            std::string::npos);
  EXPECT_NE(no_quorum(set(5, 0x07), set(5, 0), {}).text().find("2 of 5 members are left and 3 are needed"),
            std::string::npos);
  EXPECT_NE(no_quorum(set(2, 0x1), set(2, 0), {}).text().find("1 of 2 members is left, half without member 0, which"),
            std::string::npos);
  EXPECT_NE(no_quorum(set(4, 0xa), set(4, 0), {.casting = 1})
                .text()
                .find("2 of 4 members are left, half without member 1,"),
            std::string::npos);
  EXPECT_NE(no_quorum(set(4, 0xe), set(4, 0), {.casting = 1}).text().find("1 of 4 members is left and 3 are needed"),
            std::string::npos);
  EXPECT_EQ(no_quorum(set(5, 0x07), set(5, 0x03), {}).culprit(), 2) << "the one without proof";
  EXPECT_NE(
      no_quorum(set(20, 0xfffff - 0x3), set(20, 0), {}).text().find("members 2, 3, 4, 5, 6, 7, 8, 9 and 10 more"),
      std::string::npos);
}

}  // namespace
}  // namespace tutti
