// --trace: the rows, slices and arrows that come out of flight recorders, and whom it says was waited for.
#include "perf/tutti-perf/trace.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tutti_perf {
namespace {

using nlohmann::json;

// One process, rank 1 of communicator 4: an all-reduce over two peers that took from 1000 to 9000 ns on its clock.
tutti::RecorderSnapshot one_operation() {
  tutti::RecorderSnapshot snapshot;
  snapshot.host = "node07";
  snapshot.pid = 4242;
  snapshot.started_ns = 500;
  snapshot.started_utc_ns = 1'000'000'500;
  snapshot.transports.resize(tutti::kRecorderTransports);
  snapshot.transports[1].name = "shm";
  tutti::CommunicatorRecord communicator;
  communicator.serial = 4;
  communicator.rank = 1;
  communicator.ranks = 3;
  snapshot.communicators.push_back(communicator);
  tutti::OperationRecord operation;
  operation.communicator = 4;
  operation.number = 12;
  operation.bytes = 1 << 20;
  operation.state = tutti::OperationState::done;
  operation.posted_ns = 1000;
  operation.done_ns = 9000;
  tutti::PeerRecord from;
  from.rank = 0;
  from.direction = tutti::Direction::receive;
  from.transport = 1;
  from.posted_ns = 1100;
  from.first_byte_ns = 6100;
  from.last_byte_ns = 8900;
  from.bytes = from.bytes_done = 512 << 10;
  tutti::PeerRecord to = from;
  to.rank = 2;
  to.direction = tutti::Direction::send;
  to.first_byte_ns = 1200;
  operation.peers = {from, to};
  snapshot.operations.push_back(operation);
  return snapshot;
}

const json* find(const json& events, const std::string& name) {
  for (const json& event : events) {
    if (event["name"] == name) return &event;
  }
  return nullptr;
}

TEST(Trace, ShowsAnOperationItsWaitsAndItsBytes) {
  const json events = trace_events(one_operation(), 1, 10);
  const json* const whole = find(events, "all_reduce 1 MiB");
  ASSERT_NE(whole, nullptr);
  EXPECT_EQ((*whole)["pid"], 1);
  EXPECT_DOUBLE_EQ((*whole)["ts"].get<double>(), 1'000'001.0);  // 1 s and 1000 ns, in microseconds of UTC
  EXPECT_DOUBLE_EQ((*whole)["dur"].get<double>(), 8.0);
  const json* const wait = find(events, "waits for rank 0");
  ASSERT_NE(wait, nullptr);
  EXPECT_DOUBLE_EQ((*wait)["dur"].get<double>(), 5.0);
  const json* const moved = find(events, "512 KiB shm");
  ASSERT_NE(moved, nullptr);
  EXPECT_DOUBLE_EQ((*moved)["dur"].get<double>(), 2.8);
}

TEST(Trace, TiesTheTwoEndsOfAMessage) {
  tutti::RecorderSnapshot sender = one_operation();
  sender.communicators[0].rank = 0;
  sender.operations[0].peers[1].rank = 1;  // rank 0 sends to rank 1
  std::string starts;
  for (const json& event : trace_events(sender, 0, 10)) {
    if (event["ph"] == "s") starts = event["id"];
  }
  std::string ends;
  for (const json& event : trace_events(one_operation(), 1, 10)) {
    if (event["ph"] == "f") ends = event["id"];
  }
  EXPECT_FALSE(starts.empty());
  EXPECT_EQ(starts, ends);
}

TEST(Trace, KeepsTheLastOperationsAndLeavesOutPendingAndForeignOnes) {
  tutti::RecorderSnapshot snapshot = one_operation();
  for (int i = 1; i <= 5; ++i) {
    snapshot.operations.push_back(snapshot.operations[0]);
    snapshot.operations.back().number = 12 + static_cast<std::uint64_t>(i);
  }
  snapshot.operations.push_back(snapshot.operations[0]);
  snapshot.operations.back().state = tutti::OperationState::running;
  snapshot.operations.push_back(snapshot.operations[0]);
  snapshot.operations.back().communicator = 9;
  std::vector<int> numbers;
  for (const json& event : trace_events(snapshot, 1, 2)) {
    if (event["name"] == "all_reduce 1 MiB") numbers.push_back(event["args"]["number"]);
  }
  EXPECT_EQ(numbers, (std::vector<int>{16, 17}));
}

TEST(Trace, MarksLanesThatAreLostOrBackSinceTheFirstOperationShown) {
  tutti::RecorderSnapshot snapshot = one_operation();
  tutti::LaneRecord lane;
  lane.host = "node08";
  lane.pid = 77;
  lane.lane = 1;
  lane.transport = 1;
  lane.text = "reset";
  for (const std::int64_t at_ns : {900, 2000, 12'000}) {
    lane.at_ns = at_ns;
    lane.change = at_ns == 2000 ? tutti::LaneChange::lost : tutti::LaneChange::back;
    snapshot.lanes.push_back(lane);
  }
  const json events = trace_events(snapshot, 1, 10);
  EXPECT_EQ(std::count_if(events.begin(), events.end(), [](const json& event) { return event["ph"] == "i"; }), 2);
  const json* const lost = find(events, "lane 1 by shm to node08 pid 77 is lost");
  ASSERT_NE(lost, nullptr);
  EXPECT_EQ((*lost)["pid"], 1);
  EXPECT_DOUBLE_EQ((*lost)["ts"].get<double>(), 1'000'002.0);
  EXPECT_EQ((*lost)["args"]["text"], "reset");
  EXPECT_NE(find(events, "lane 1 by shm to node08 pid 77 is back"), nullptr);
}

TEST(Trace, SumsUpWhomARankWaitedFor) {
  const std::string text = trace_summary(trace_events(one_operation(), 1, 10));
  EXPECT_EQ(
      text,
      "# rank 1: all_reduce 1 MiB number 12 took 8.0 us, waited longest for rank 0: 5.0 us to the first byte\n");
}

}  // namespace
}  // namespace tutti_perf
