// What a message looks like, and that nothing else is taken for one.
#include "src/membership/agreement_messages.h"

#include <gtest/gtest.h>

#include <functional>

namespace tutti {
namespace {

using enum AgreementKind;

constexpr AgreementFrame kFrame{.tag = 0x1122334455667788, .members = 11};

Result<AgreementMessage> read(const std::string& bytes, std::uint32_t from = 3, std::uint32_t to = 0) {
  return decode(kFrame, from, to, std::as_bytes(std::span(bytes)));
}

AgreementMessage make(AgreementKind kind, Ballot ballot = 0, std::string value = {}) {
  AgreementMessage message{
      .kind = kind, .dead = MemberSet(kFrame.members), .ballot = ballot, .value = std::move(value)};
  message.dead.add(10);
  return message;
}

// Ballots 4 and 15 are member 3's, 12 and 23 are member 0's.
std::vector<AgreementMessage> one_of_each() {
  AgreementMessage promise = make(AgreementKind::promise, 23, "old");
  promise.accepted = 15;
  AgreementMessage refusal = make(refused, 12);
  refusal.promised = 15;
  return {make(poke),
          make(contribution, 0, "mine"),
          make(prepare, 15),
          promise,
          make(accept, 4, "value"),
          make(accepted, 12),
          refusal,
          make(decided, 0, "value"),
          make(contribution),
          make(AgreementKind::promise, 1)};
}

TEST(AgreementMessages, AreReadAsTheyWereWritten) {
  for (const AgreementMessage& message : one_of_each()) {
    const auto read_again = read(encode(kFrame, message));
    ASSERT_TRUE(read_again.is_ok()) << read_again.status().text();
    EXPECT_EQ(*read_again, message);
  }
}

TEST(AgreementMessages, AreRefusedWhenAnythingIsMissingOrTooMuch) {
  for (const AgreementMessage& message : one_of_each()) {
    const std::string bytes = encode(kFrame, message);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const auto refused = read(bytes.substr(0, length));
      ASSERT_FALSE(refused.is_ok());
      EXPECT_EQ(refused.status().code(), Code::invalid);
      EXPECT_EQ(refused.status().culprit(), 3);
    }
    EXPECT_EQ(read(bytes + "x").status().text(),
              "an agreement message of " + std::to_string(bytes.size() + 1) +
                  " bytes from member 3 was not taken: 1 bytes stand after its end");
  }
}

TEST(AgreementMessages, AreRefusedWhenAFieldCannotBe) {
  struct Case {
    std::string why;
    AgreementMessage message;
    std::function<void(std::string&)> change = [](std::string&) {};
    std::uint32_t from = 3;
  };
  const auto with = [](AgreementMessage message, auto change) {
    change(message);
    return message;
  };
  const Case cases[] = {
      {"its version is 2, not 1", make(poke), [](std::string& bytes) { bytes[0] = 2; }},
      {"there is no kind 0", make(poke), [](std::string& bytes) { bytes[1] = 0; }},
      {"there is no kind 9", make(poke), [](std::string& bytes) { bytes[1] = 9; }},
      {"it belongs to agreement 1122334455667789, this is 1122334455667788", make(poke),
       [](std::string& bytes) { bytes[2] = '\x89'; }},
      {"member 11 is not among the 11", make(poke), [](std::string& bytes) { bytes[11] = 0x0c; }},
      {"it says that member 0, which reads it, is dead", make(poke), [](std::string& bytes) { bytes[10] = 1; }},
      {"it says that its sender is dead", make(poke), [](std::string& bytes) { bytes[10] = 8; }},
      {"ballot 0 is not between 1 and 72057594037927936", make(prepare, 0)},
      {"ballot 18446744073709551615 is not between 1 and 72057594037927936", make(accept, ~Ballot{0})},
      {"ballot 5 belongs to member 4, not to member 3", make(prepare, 5)},
      {"ballot 5 belongs to member 4, not to member 3", make(accept, 5)},
      {"ballot 4 belongs to member 3, not to member 0", make(AgreementKind::promise, 4)},
      {"ballot 4 belongs to member 3, not to member 0", make(accepted, 4)},
      {"ballot 12 cannot have been accepted before ballot 12",
       with(make(AgreementKind::promise, 12, "v"), [](auto& m) { m.accepted = 12; })},
      {"it has a value that no ballot brought", make(AgreementKind::promise, 12, "v")},
      {"a promise to ballot 12 does not stand against ballot 12",
       with(make(refused, 12), [](auto& m) { m.promised = 12; })},
      {"a promise to ballot 72057594037927937 does not stand against ballot 12",
       with(make(refused, 12), [](auto& m) { m.promised = kBallotMax + 1; })},
      {"its value has 1048577 bytes; at most 1048576 are allowed", make(decided),
       [](std::string& bytes) {
         bytes.replace(12, 4, {1, 0, 16, 0});
       }},
      {"its value has 4294967295 bytes; at most 1048576 are allowed", make(decided),
       [](std::string& bytes) { bytes.replace(12, 4, 4, '\xff'); }},
  };
  for (const Case& one : cases) {
    std::string bytes = encode(kFrame, one.message);
    one.change(bytes);
    const auto refused = read(bytes, one.from);
    ASSERT_FALSE(refused.is_ok()) << one.why;
    EXPECT_TRUE(refused.status().text().ends_with("was not taken: " + one.why)) << refused.status().text();
  }
}

TEST(AgreementMessages, TakeTheLongestValue) {
  const AgreementMessage longest = make(decided, 0, std::string(kAgreementValueBytes, 'v'));
  const auto read_again = read(encode(kFrame, longest));
  ASSERT_TRUE(read_again.is_ok());
  EXPECT_EQ(*read_again, longest);
}

}  // namespace
}  // namespace tutti
