// The verifier's rules, one by one: each has a minimal broken schedule, and the error must name the step.
#include "src/schedule/verifier.h"

#include <gtest/gtest.h>

#include "src/schedule/print.h"
#include "tests/schedule/cases.h"

namespace tutti {
namespace {

// Two ranks exchange inputs and fold them in rank order.
constexpr std::string_view kAllReduce =
    "tutti schedule 1\n"
    "program all_reduce rank 0 of 2 root 0\n"
    "0 send input[0] to 1\n"
    "1 reduce output[0] of input[0], rank 1 finish\n"
    "program all_reduce rank 1 of 2 root 0\n"
    "0 send input[0] to 0\n"
    "1 reduce output[0] of rank 0, input[0] finish\n";

constexpr std::string_view kAllGather =
    "tutti schedule 1\n"
    "program all_gather rank 0 of 2 root 0\n"
    "0 send input[0] to 1\n"
    "1 copy output[0] of input[0]\n"
    "2 receive output[1] from 1\n"
    "program all_gather rank 1 of 2 root 0\n"
    "0 send input[0] to 0\n"
    "1 copy output[1] of input[0]\n"
    "2 receive output[0] from 0\n";

// In place: what arrives is parked until the own block has left.
constexpr std::string_view kAllToAll =
    "tutti schedule 1\n"
    "program all_to_all rank 0 of 2 root 0 in_place\n"
    "scratch input[0]\n"
    "0 send input[1] to 1\n"
    "1 receive scratch[0] from 1\n"
    "2 copy output[1] of scratch[0] after 0 1\n"
    "program all_to_all rank 1 of 2 root 0\n"
    "0 send input[0] to 0\n"
    "1 receive output[0] from 0\n"
    "2 copy output[1] of input[1]\n";

struct Change {
  std::string_view from;
  std::string_view to;
};

// The text with each change made once. A change must apply, or the test would test something else.
std::string changed(std::string_view text, std::initializer_list<Change> changes) {
  std::string result(text);
  for (const Change& change : changes) {
    const auto at = result.find(change.from);
    EXPECT_NE(at, std::string::npos) << change.from;
    if (at != std::string::npos) result.replace(at, change.from.size(), change.to);
  }
  return result;
}

Status verified(std::string_view text) {
  const auto schedule = parse(text);
  EXPECT_TRUE(schedule.is_ok()) << schedule.status().text() << "\n" << text;
  return schedule ? verify(*schedule) : schedule.status();
}

void expect_rejected(std::string_view text, Rank culprit, std::initializer_list<std::string_view> words) {
  const Status status = verified(text);
  ASSERT_FALSE(status.is_ok()) << text;
  EXPECT_EQ(status.code(), Code::invalid);
  EXPECT_EQ(status.culprit(), culprit) << status.text();
  for (const std::string_view word : words) {
    EXPECT_NE(status.text().find(word), std::string::npos) << "\"" << word << "\" is not in: " << status.text();
  }
}

constexpr std::string_view kRank1 = "program all_reduce rank 1 of 2 root 0\n";

TEST(Verifier, AcceptsTheRightSchedules) {
  for (const std::string_view text : {kAllReduce, kAllGather, kAllToAll}) {
    EXPECT_TRUE(verified(text).is_ok()) << verified(text).text();
  }
}

TEST(Verifier, RejectsProgramsThatDoNotFitTogether) {
  expect_rejected(changed(kAllReduce, {{"rank 1 of 2", "rank 0 of 2"}}), 1,
                  {"rank 1 has the program of rank 0 of 2"});
  expect_rejected(changed(kAllReduce, {{"rank 1 of 2", "rank 1 of 3"}}), 1, {"rank 1 of 3"});
  expect_rejected(changed(kAllReduce, {{kRank1, "program reduce rank 1 of 2 root 0\n"}}), 1, {"rank 1 is in reduce"});
  expect_rejected(changed(kAllReduce, {{"0 of 2 root 0", "0 of 2 root 1"}, {"1 of 2 root 0", "1 of 2 root 1"}}), 0,
                  {"names rank 1 as root"});
  EXPECT_FALSE(verify(Schedule()).is_ok());
}

TEST(Verifier, RejectsViewsOutsideTheirBuffers) {
  expect_rejected(changed(kAllReduce, {{"send input[0] to 0", "send input[1] to 0"}}), 1,
                  {"rank 1 step 0 (send to rank 0) reads input[1], which is outside its buffer, which has 1 blocks"});
  expect_rejected(changed(kAllReduce, {{"send input[0] to 1", "send input[0](1..3)/2 to 1"}}), 0,
                  {"rank 0 step 0", "is not a part of its block"});
  expect_rejected(changed(kAllReduce, {{"send input[0] to 1", "send input[0](1..1)/2 to 1"}}), 0, {"rank 0 step 0"});
  expect_rejected(changed(kAllReduce, {{"send input[0] to 1", "send input[0](0..1)/0 to 1"}}), 0, {"rank 0 step 0"});
  expect_rejected(changed(kAllGather, {{"receive output[1] from 1", "receive output[0+2](0..1)/2 from 1"}}), 0,
                  {"rank 0 step 2", "is not a run of whole blocks"});
  expect_rejected(changed(kAllGather, {{"receive output[1] from 1", "receive output[1+4294967295] from 1"}}), 0,
                  {"rank 0 step 2", "outside"});
  expect_rejected(changed(kAllToAll, {{"receive scratch[0]", "receive scratch[1]"}}), 0,
                  {"rank 0 step 1", "outside"});
}

TEST(Verifier, RejectsScratchWithoutALength) {
  expect_rejected(changed(kAllToAll, {{"scratch input[0]", "scratch scratch[0]"}}), 0, {"rank 0 scratch block 0"});
  expect_rejected(changed(kAllToAll, {{"scratch input[0]", "scratch input[7]"}}), 0, {"rank 0 scratch block 0"});
  expect_rejected(changed(kAllToAll, {{"scratch input[0]", "scratch input[0+2]"}}), 0, {"more than one block"});
  expect_rejected(changed(kAllToAll, {{"scratch input[0]", "scratch input[0](0..1)/2"},
                                      {"receive scratch[0]", "receive scratch[0](0..1)/2"}}),
                  0, {"rank 0 step 1", "scratch blocks like a part"});
}

TEST(Verifier, RejectsBuffersThatTheRoleDoesNotHave) {
  expect_rejected(
      "tutti schedule 1\n"
      "program reduce rank 0 of 2 root 0\n"
      "0 reduce output[0] of input[0], rank 1 finish\n"
      "program reduce rank 1 of 2 root 0\n"
      "0 copy output[0] of input[0]\n"
      "1 send output[0] to 0 after 0\n",
      1, {"rank 1 step 0 (copy) writes output[0]", "0 blocks"});
}

TEST(Verifier, RejectsWritesToInput) {
  expect_rejected(changed(kAllToAll, {{"copy output[1] of scratch[0]", "copy input[1] of scratch[0]"}}), 0,
                  {"rank 0 step 2 (copy) writes to input[1]"});
}

TEST(Verifier, RejectsUnequalLengthsWithinAStep) {
  expect_rejected(changed(kAllReduce, {{"of input[0], rank 1", "of input[0](0..1)/2, rank 1"}}), 0,
                  {"rank 0 step 1 (reduce from rank 1)", "not equally long"});
  expect_rejected(changed(kAllGather, {{"copy output[0] of input[0]", "copy output[0](0..1)/2 of input[0](1..2)/2"}}),
                  0, {"rank 0 step 1 (copy)", "not equally long"});
}

TEST(Verifier, RejectsUnequalLengthsOfAMessage) {
  expect_rejected(changed(kAllGather, {{"send input[0] to 0", "send input[0](0..1)/2 to 0"}}), 0,
                  {"rank 0 step 2 (receive from rank 1)", "rank 1 step 0 (send to rank 0)", "not equally long"});
}

TEST(Verifier, RejectsWrongPeers) {
  expect_rejected(changed(kAllReduce, {{"to 1", "to 2"}}), 0, {"rank 0 step 0", "rank 2, which does not exist"});
  expect_rejected(changed(kAllReduce, {{"to 1", "to -1"}}), 0, {"rank 0 step 0", "rank -1"});
  expect_rejected(changed(kAllReduce, {{"to 1", "to 0"}}), 0, {"rank 0 step 0", "its own rank"});
  expect_rejected(changed(kAllReduce, {{"to 1", "to 1 1"}}), 0, {"rank 0 step 0", "rank 1 twice"});
  expect_rejected(changed(kAllGather, {{"from 1", "from 1 1"}}), 0, {"rank 0 step 2", "2 ranks at once"});
  expect_rejected(changed(kAllReduce, {{", rank 1", ", rank 9"}}), 0, {"rank 0 step 1", "rank 9"});
}

TEST(Verifier, RejectsDependenciesThatLookAhead) {
  expect_rejected(changed(kAllReduce, {{"to 1", "to 1 after 1"}}), 0, {"rank 0 step 0", "after step 1"});
  expect_rejected(changed(kAllReduce, {{"to 1", "to 1 after 0"}}), 0, {"rank 0 step 0", "after step 0"});
}

TEST(Verifier, RejectsRangesOutsideTheProgram) {
  auto schedule = parse(kAllReduce);
  ASSERT_TRUE(schedule.is_ok());
  schedule->programs[1].steps[0].peers = {5, 1};
  const Status status = verify(*schedule);
  ASSERT_FALSE(status.is_ok());
  EXPECT_NE(status.text().find("rank 1 step 0 has a range outside its program"), std::string::npos) << status.text();
}

TEST(Verifier, RejectsAReduceOfOne) {
  expect_rejected(changed(kAllReduce, {{"of input[0], rank 1", "of rank 1"}}), 0, {"rank 0 step 1", "1 operands"});
}

TEST(Verifier, RejectsOverlapWithinAStep) {
  expect_rejected(changed(kAllReduce, {{kRank1, "program all_reduce rank 1 of 2 root 0 in_place\n"},
                                       {"1 reduce output[0] of rank 0, input[0] finish",
                                        "1 reduce output[0] of rank 0, input[0] finish after 0\n"
                                        "2 copy output[0] of input[0] after 1"}}),
                  1, {"rank 1 step 2 (copy) copies input[0] to output[0], which overlap"});
}

TEST(Verifier, RejectsAMessageThatNobodySends) {
  expect_rejected(changed(kAllReduce, {{"0 send input[0] to 0\n1 reduce", "0 reduce"}}), 0,
                  {"rank 0 step 1 (reduce from rank 1) waits for a message that rank 1 never sends"});
}

TEST(Verifier, RejectsAMessageThatNobodyTakes) {
  expect_rejected(changed(kAllGather, {{"2 receive output[0] from 0\n", ""}}), 0,
                  {"rank 0 step 0 (send to rank 1) sends a message that rank 1 never takes"});
}

TEST(Verifier, RejectsADeadlockByNamingTheCircle) {
  expect_rejected(changed(kAllGather, {{"2 receive output[1] from 1", "2 receive output[1] from 1 after 0"},
                                       {"2 receive output[0] from 0", "2 receive output[0] from 0 after 0"}}),
                  0, {"rank 0 step 0 (send to rank 1)", "waits for", "rank 1 step 2 (receive from rank 0)"});
}

TEST(Verifier, RejectsAMessageThatWouldHaveToOvertake) {
  // Rank 1 asks for the first half only when it has the second; but messages of a pair move in their order.
  expect_rejected(
      "tutti schedule 1\n"
      "program broadcast rank 0 of 2 root 0\n"
      "scratch input[0]\n"
      "0 receive scratch[0](1..2)/2 from 1\n"
      "1 send input[0](0..1)/2 to 1 after 0\n"
      "2 send input[0](1..2)/2 to 1\n"
      "3 copy output[0] of input[0]\n"
      "program broadcast rank 1 of 2 root 0\n"
      "0 receive output[0](0..1)/2 from 0\n"
      "1 receive output[0](1..2)/2 from 0\n"
      "2 send output[0](1..2)/2 to 0 after 1\n",
      0, {"rank 0 step 0 (receive from rank 1) waits for rank 1 step 2 (send to rank 0)", "rank 1 step 1"});
}

TEST(Verifier, RejectsOverwritingWhatIsStillBeingSent) {
  expect_rejected(changed(kAllToAll, {{"of scratch[0] after 0 1", "of scratch[0] after 1"}}), 0,
                  {"rank 0 step 2 (copy) writes output[1] while step 0 (send to rank 1) may still read it"});
}

TEST(Verifier, RejectsReadingWhatMayNotBeWrittenYet) {
  expect_rejected(changed(kAllToAll, {{"of scratch[0] after 0 1", "of scratch[0] after 0"}}), 0,
                  {"rank 0 step 2 (copy) reads scratch[0] while step 1 (receive from rank 1) writes it"});
}

TEST(Verifier, RejectsTwoUnorderedWrites) {
  expect_rejected(
      changed(kAllGather, {{"1 copy output[0] of input[0]\n2 receive", "1 copy output[1] of input[0]\n2 receive"}}),
      0, {"rank 0 step 2 (receive from rank 1) writes output[1] while step 1 (copy) writes it too"});
}

TEST(Verifier, AcceptsAnOrderThatOnlyAPathGives) {
  EXPECT_TRUE(verified(changed(kAllToAll, {{"1 receive scratch[0] from 1", "1 receive scratch[0] from 1 after 0"},
                                           {"of scratch[0] after 0 1", "of scratch[0] after 1"},
                                           // Rank 1 sends only after it has received.
                                           {"0 send input[0] to 0\n1 receive output[0] from 0",
                                            "0 receive output[0] from 0\n1 send input[0] to 0"}}))
                  .is_ok());
}

TEST(Verifier, RejectsReadingWhatNothingHasWritten) {
  expect_rejected(changed(kAllToAll, {{"0 send input[1] to 1", "0 send scratch[0] to 1"},
                                      {"1 receive scratch[0] from 1", "1 receive output[1] from 1"},
                                      {"2 copy output[1] of scratch[0] after 0 1\n", ""}}),
                  0, {"rank 0 step 0 (send to rank 1) reads scratch[0], which nothing has written"});
}

TEST(Verifier, RejectsAReceiveInsteadOfAReduce) {
  expect_rejected(changed(kAllReduce, {{"1 reduce output[0] of rank 0, input[0] finish",
                                        "1 receive output[0] from 0\n2 copy output[0] of output[0] finish after 1"}}),
                  1, {"rank 1 output[0] ends without rank 1"});
}

TEST(Verifier, RejectsAContributionThatComesTwice) {
  expect_rejected(changed(kAllReduce, {{"rank 0, input[0] finish", "rank 0, input[0], input[0] finish"}}), 1,
                  {"rank 1 output[0] ends with rank 1 twice; first wrong at rank 1 step 1 (reduce from rank 0)"});
}

TEST(Verifier, BlamesTheFirstStepThatWentWrong) {
  expect_rejected(
      "tutti schedule 1\n"
      "program reduce rank 0 of 3 root 0\n"
      "0 reduce output[0] of input[0], rank 1 finish\n"
      "program reduce rank 1 of 3 root 0\n"
      "scratch input[0]\n"
      "scratch input[0]\n"
      "0 reduce scratch[0] of input[0], input[0]\n"
      "1 reduce scratch[1] of scratch[0], rank 2 after 0\n"
      "2 send scratch[1] to 0 after 1\n"
      "program reduce rank 2 of 3 root 0\n"
      "0 send input[0] to 1\n",
      0, {"rank 0 output[0] ends with rank 1 twice; first wrong at rank 1 step 0 (reduce)"});
}

TEST(Verifier, RejectsAnotherOrderOnAnotherRank) {
  expect_rejected(changed(kAllReduce, {{"of rank 0, input[0] finish", "of input[0], rank 0 finish"}}), 1,
                  {"rank 1 output[0] ends with the right sum in another order than on rank 0"});
}

TEST(Verifier, RejectsAResultThatIsNeverFinished) {
  expect_rejected(changed(kAllReduce, {{"of rank 0, input[0] finish", "of rank 0, input[0]"}}), 1,
                  {"rank 1 output[0] ends with a result that is never finished"});
}

TEST(Verifier, RejectsFinishingTwiceOrTooEarly) {
  expect_rejected(changed(kAllReduce, {{"of rank 0, input[0] finish",
                                        "of rank 0, input[0] finish\n2 copy output[0] of output[0] finish after 1"}}),
                  1, {"rank 1 step 2 (copy) makes output[0] of a result that is already finished"});
  expect_rejected(
      "tutti schedule 1\n"
      "program reduce rank 0 of 2 root 0\n"
      "scratch input[0]\n"
      "0 copy scratch[0] of input[0] finish\n"
      "1 reduce output[0] of scratch[0], rank 1 finish after 0\n"
      "program reduce rank 1 of 2 root 0\n"
      "0 send input[0] to 0\n",
      0, {"rank 0 step 1 (reduce from rank 1) makes output[0] of a result that is already finished"});
}

TEST(Verifier, RejectsFinishWhereNothingIsReducedOrDone) {
  expect_rejected(changed(kAllGather, {{"copy output[1] of input[0]", "copy output[1] of input[0] finish"}}), 1,
                  {"rank 1 step 1 (copy) finishes, but all_gather reduces nothing"});
  expect_rejected(changed(kAllReduce, {{"send input[0] to 0", "send input[0] to 0 finish"}}), 1,
                  {"rank 1 step 0 (send to rank 0) cannot finish"});
}

TEST(Verifier, RejectsAnOutputThatIsNotWritten) {
  expect_rejected(changed(kAllGather, {{"1 copy output[1] of input[0]\n2 receive", "1 receive"}}), 1,
                  {"rank 1 output[1] ends with nothing written to it"});
  expect_rejected(changed(kAllReduce, {{"1 reduce output[0] of rank 0, input[0] finish",
                                        "1 reduce output[0](0..1)/3 of rank 0, input[0](0..1)/3 finish"},
                                       {"0 send input[0] to 1", "0 send input[0](0..1)/3 to 1"}}),
                  1, {"rank 1 output[0](1..3)/3 ends with nothing written to it"});
}

TEST(Verifier, RejectsTheWrongBlock) {
  expect_rejected(changed(kAllToAll, {{"0 send input[0] to 0", "0 send input[1] to 0"}}), 0,
                  {"rank 0 output[1] ends with rank 1's block 1 instead of rank 1's block 0"});
}

TEST(Verifier, RejectsASumWhereDataIsMoved) {
  expect_rejected(changed(kAllGather, {{"receive output[0] from 0", "reduce output[0] of rank 0, input[0]"}}), 1,
                  {"rank 1 output[0] ends with a sum made at rank 1 step 2 (reduce from rank 0)"});
}

}  // namespace
}  // namespace tutti
