// How a waiting thread learns: what it does untaught, what each kind of experience changes, and what undoes it.
#include "src/api/patience.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Next = Patience::Next;

constexpr Nanoseconds kSpin = microseconds(20);
constexpr Nanoseconds kYield = microseconds(200);
constexpr Nanoseconds kAlone = std::chrono::nanoseconds(300);  // a yield that found nobody
constexpr Nanoseconds kPeer = microseconds(3);                 // one that let a peer do its work
constexpr Nanoseconds kSlice = milliseconds(4);                // one that a stranger took
const Instant kStart{seconds(1000)};

class PatienceTest : public ::testing::Test {
 protected:
  Next next(Nanoseconds idle, bool crowded = false) const { return patience.next(idle, crowded, now); }
  void yield(int times, Nanoseconds took) {
    for (int i = 0; i < times; ++i) {
      now += took;
      patience.yielded(took, now);
    }
  }

  Patience patience{kSpin, kYield};
  Instant now = kStart;
};

TEST_F(PatienceTest, SpinsThenYieldsThenSleeps) {
  EXPECT_EQ(next(Nanoseconds(0)), Next::spin);
  EXPECT_EQ(next(kSpin - Nanoseconds(1)), Next::spin);
  EXPECT_EQ(next(kSpin), Next::yield);
  EXPECT_EQ(next(kSpin + kYield - Nanoseconds(1)), Next::yield);
  EXPECT_EQ(next(kSpin + kYield), Next::sleep);
}

TEST_F(PatienceTest, GivesWayAtOnceWhereRanksShareCores) {
  EXPECT_EQ(next(Nanoseconds(0), true), Next::yield);
  EXPECT_EQ(next(kYield, true), Next::sleep);
}

TEST_F(PatienceTest, SleepsAtOnceWhenToldTo) {
  const Patience sleeper(Nanoseconds(0), Nanoseconds(0));
  EXPECT_EQ(sleeper.next(Nanoseconds(0), false, now), Next::sleep);
}

TEST_F(PatienceTest, SpinsNothingAwayWhileAPeerIsOnThisCore) {
  yield(20, kPeer);
  EXPECT_EQ(next(Nanoseconds(0)), Next::yield);
  yield(20, kAlone);
  EXPECT_EQ(next(Nanoseconds(0)), Next::spin);
}

TEST_F(PatienceTest, IsNotMisledByOneVisitor) {
  yield(1, kPeer);
  EXPECT_EQ(next(Nanoseconds(0)), Next::spin);
}

TEST_F(PatienceTest, SleepsWhereYieldsCostTimeSlices) {
  yield(4, kSlice);
  EXPECT_EQ(next(Nanoseconds(0)), Next::spin);
  EXPECT_EQ(next(kSpin), Next::sleep);
  EXPECT_EQ(next(Nanoseconds(0), true), Next::sleep);
}

TEST_F(PatienceTest, KeepsYieldingWhereALostTimeSliceIsRare) {
  for (int i = 0; i < 20; ++i) {
    yield(1, kSlice);
    EXPECT_EQ(next(kSpin), Next::yield) << i;
    yield(1000, kAlone);
  }
}

TEST_F(PatienceTest, YieldsAgainWhenManyShortWaitsSayThatItWasPeersWithMuchToDo) {
  for (int i = 0; i < 20; ++i) {
    yield(4, kSlice);
    now += seconds(1);
  }
  yield(1, kSlice);
  ASSERT_EQ(next(kSpin, true), Next::sleep);
  for (int i = 0; i < 200; ++i) patience.arrived(microseconds(20));
  patience.arrived(milliseconds(2));
  for (int i = 0; i < 200; ++i) patience.arrived(microseconds(20));
  EXPECT_EQ(next(kSpin, true), Next::sleep) << "beside a stranger some waits are long";
  for (int i = 0; i < 60; ++i) patience.arrived(microseconds(20));
  EXPECT_EQ(next(kSpin, true), Next::yield);
}

TEST_F(PatienceTest, YieldsForLongerWhileARareStrangerIsAbout) {
  yield(1, kSlice);
  yield(300, kAlone);
  EXPECT_EQ(next(milliseconds(7)), Next::yield) << "to sleep would give that stranger the core";
  EXPECT_EQ(next(milliseconds(9)), Next::sleep);
  now += seconds(2);
  EXPECT_EQ(next(milliseconds(7)), Next::sleep);
}

TEST_F(PatienceTest, DoesNotYieldInVainWhereAPeerWaitsForThisCore) {
  yield(1, kSlice);
  yield(19, kAlone);
  EXPECT_EQ(next(kSpin, true), Next::yield);
  yield(1, kAlone);
  EXPECT_EQ(next(kSpin, true), Next::sleep);
  EXPECT_EQ(next(kSpin, false), Next::yield) << "the peers have cores of their own";
  patience.arrived(kSpin);
  EXPECT_EQ(next(kSpin, true), Next::yield);
}

TEST_F(PatienceTest, YieldsToNobodyForAsLongAsItWasToldWhereThereIsNoStranger) {
  yield(100, kAlone);
  EXPECT_EQ(next(kYield - Nanoseconds(1), true), Next::yield);
}

TEST_F(PatienceTest, TriesAgainLaterAndLaterButAtLeastEverySecond) {
  Nanoseconds last{0};
  yield(4, kSlice);
  for (int i = 0; i < 12; ++i) {
    const Instant since = now;
    while (next(kSpin) == Next::sleep) now += milliseconds(1);
    const Nanoseconds paused = now - since;
    EXPECT_GE(paused, last);
    EXPECT_LE(paused, seconds(1));
    last = paused;
    yield(1, kSlice);  // the stranger is still there
  }
  EXPECT_EQ(last, seconds(1));
}

TEST_F(PatienceTest, ForgetsAStrangerWhoHasGone) {
  for (int i = 0; i < 8; ++i) {
    yield(4, kSlice);
    now += seconds(1);
  }
  yield(2000, kAlone);
  EXPECT_EQ(next(kSpin), Next::yield);
  yield(1, kSlice);  // rare again
  EXPECT_EQ(next(kSpin), Next::yield);
}

TEST_F(PatienceTest, SleepsSoonWhereWaitsAreLong) {
  for (int i = 0; i < 8; ++i) patience.arrived(milliseconds(2));
  EXPECT_EQ(next(Nanoseconds(0)), Next::spin);
  EXPECT_EQ(next(microseconds(3)), Next::sleep);
}

TEST_F(PatienceTest, PollsAgainAfterAFewShortWaits) {
  for (int i = 0; i < 8; ++i) patience.arrived(seconds(2));
  for (int i = 0; i < 4; ++i) patience.arrived(microseconds(30));
  EXPECT_EQ(next(microseconds(3)), Next::spin);
  EXPECT_EQ(next(kSpin), Next::yield);
}

TEST_F(PatienceTest, LearnsNothingFromWhatCameAtOnce) {
  for (int i = 0; i < 8; ++i) patience.arrived(milliseconds(2));
  for (int i = 0; i < 100; ++i) patience.arrived(Nanoseconds(500));
  EXPECT_EQ(next(microseconds(3)), Next::sleep);
}

}  // namespace
}  // namespace tutti
