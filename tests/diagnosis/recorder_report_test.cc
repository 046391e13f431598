// The sentences that a person reads when something hangs.
#include "src/diagnosis/recorder_report.h"

#include "tests/diagnosis/recorder_fixture.h"

namespace tutti {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

class ReportTest : public RecorderTest {
 protected:
  ReportTest() {
    const RecordedMember members[] = {{"node01", {}, 11}, {"node02", {}, 22}, {"node03", {}, 33}};
    serial_ = recorder_->open_communicator({{7, 8}, "dp0", 0, 3, members}, at(1000));
  }

  RecordedOperation large() const {
    RecordedOperation what = all_reduce(4182);
    what.communicator = serial_;
    what.count = 1 << 20;
    what.bytes = 4 << 20;
    return what;
  }

  void expect_text(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << "missing: " << part << "\nin: " << text;
  }

  std::unique_ptr<Recorder> recorder_ = open();
  std::uint32_t serial_ = 0;
};

TEST_F(ReportTest, APendingOperationNamesWhomItWaitsFor) {
  // Given an all_reduce to which rank 1 has given half, rank 2 nothing
  const std::uint8_t tcp = recorder_->transport("tcp");
  const auto operation = recorder_->begin_operation(large(), at(1000));
  recorder_->start_operation(operation, ShortName("direct"), 1, at(1000));
  const auto from_1 = recorder_->begin_peer(operation, {1, 0, Direction::receive, tcp, 2 << 20}, at(1000));
  recorder_->begin_peer(operation, {2, 0, Direction::receive, tcp, 2 << 20}, at(1000));
  recorder_->peer_moved(from_1, 1 << 20, at(1000 + 40 * kMillisecond));

  // When it is described 100 ms later
  const std::string text = describe_pending(read(recorder_->path()), 1000 + 100 * kMillisecond);

  // Then both are named, with what is known of each
  expect_text(text, "all_reduce 4182 on dp0 (1048576 float32 sum, 4 MiB) has been pending for 100");
  expect_text(text, "waits for rank 1 (node02, pid 22): 1 MiB of 2 MiB have come, the last 60");
  expect_text(text, "waits for rank 2 (node03, pid 33): nothing has come from it yet (lane 0 by tcp)");
}

TEST_F(ReportTest, APendingOperationNamesItsStraggler) {
  const auto operation = recorder_->begin_operation(large(), at(1000));
  recorder_->note_straggler(operation, 2);
  RecorderSnapshot snapshot = read(recorder_->path());
  expect_text(describe_pending(snapshot, 2000), "not started yet; rank 2 is late");
  EXPECT_EQ(snapshot.stragglers_reported, 1u);
  recorder_->end_operation(operation, Code::ok, Status::kNobody, at(3000));
  snapshot = read(recorder_->path());
  EXPECT_EQ(snapshot.operations[0].culprit, Status::kNobody);
  EXPECT_EQ(snapshot.stragglers_reported, 1u);
}

TEST_F(ReportTest, PeersThatHaveGivenAllAreNotWaitedFor) {
  const auto operation = recorder_->begin_operation(large(), at(1000));
  recorder_->start_operation(operation, ShortName("direct"), 1, at(1000));
  const auto from_1 = recorder_->begin_peer(operation, {1, 0, Direction::receive, 0, 64}, at(1000));
  recorder_->peer_moved(from_1, 64, at(2000));
  expect_text(describe_pending(read(recorder_->path()), 3000), "every peer has given and taken all");
  recorder_->begin_peer(operation, {2, 0, Direction::receive, 0, 64}, at(1000));
  const std::string text = describe_pending(read(recorder_->path()), 3000);
  expect_text(text, "waits for rank 2");
  EXPECT_EQ(text.find("rank 1"), std::string::npos) << text;
}

TEST_F(ReportTest, RootsAndPeersAreShownWhereThereAreAny) {
  RecordedOperation what = large();
  what.root = 2;
  for (const auto kind : {OperationKind::all_reduce, OperationKind::broadcast, OperationKind::send}) {
    what.kind = kind;
    recorder_->begin_operation(what, at(1000));
  }
  const std::string text = describe_pending(read(recorder_->path()), 3000);
  expect_text(text, "float32 sum, 4 MiB) has been pending");
  expect_text(text, "float32, 4 MiB, root 2) has");
  expect_text(text, "float32, 4 MiB, peer 2) has");
}

TEST_F(ReportTest, NothingPendingIsNoText) {
  const auto operation = recorder_->begin_operation(large(), at(1000));
  recorder_->end_operation(operation, Code::ok, Status::kNobody, at(2000));
  EXPECT_EQ(describe_pending(read(recorder_->path()), 5000), "");
}

TEST_F(ReportTest, TheTableNamesWhoCameLastAndTheResult) {
  const auto operation = recorder_->begin_operation(large(), at(1000));
  recorder_->start_operation(operation, ShortName("ring"), 2, at(1000));
  for (std::int32_t rank : {1, 2}) {
    const auto peer = recorder_->begin_peer(operation, {rank, 0, Direction::receive, 0, 64}, at(1000));
    recorder_->peer_moved(peer, 64, at(1000 + rank * 3 * kMillisecond));
    recorder_->end_peer(peer, Code::ok);
  }
  recorder_->end_operation(operation, Code::peer_lost, 1, at(1000 + 10 * kMillisecond));
  const RecorderSnapshot snapshot = read(recorder_->path());
  ASSERT_TRUE(last_arrival(snapshot.operations[0]).has_value());
  EXPECT_EQ(last_arrival(snapshot.operations[0])->rank, 2);
  EXPECT_EQ(last_arrival(snapshot.operations[0])->after_ns, 6 * kMillisecond);
  const std::string text = describe_operations(snapshot, 20, 0);
  expect_text(text, "ring");
  expect_text(text, "rank 2 after 6");
  expect_text(text, "PEER_LOST, rank 1");
}

TEST_F(ReportTest, TheTableShowsTheNewest) {
  for (std::uint64_t i = 1; i <= 9; ++i) {
    recorder_->end_operation(recorder_->begin_operation(all_reduce(i), at(1000)), Code::ok, Status::kNobody,
                             at(2000));
  }
  const std::string text = describe_operations(read(recorder_->path()), 2, 0);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  expect_text(text, "  8       all_reduce");
  expect_text(text, "  9       all_reduce");
}

TEST_F(ReportTest, LanesThatWereLostAndAreBackAreTold) {
  EXPECT_EQ(describe_lanes(read(recorder_->path()), 20), "");
  const std::uint8_t tcp = recorder_->transport("tcp");
  recorder_->note_lane({"node02", 22, 1, LaneChange::lost, tcp, "the connection was reset"}, at(1000));
  recorder_->note_lane({"node02", 0, 1, LaneChange::back, tcp, "it is back after 2 s"}, at(2000));
  const RecorderSnapshot snapshot = read(recorder_->path());
  const std::string text = describe_lanes(snapshot, 20);
  expect_text(text,
              utc_text(snapshot, 1000) + "  lane 1 by tcp to node02 pid 22 is lost: the connection was reset\n");
  expect_text(text, "  lane 1 by tcp to node02 is back: it is back after 2 s\n");
  EXPECT_EQ(describe_lanes(snapshot, 1).find("is lost"), std::string::npos);
}

TEST_F(ReportTest, TheProcessIsDescribed) {
  const std::string text = describe_process(read(recorder_->path()), 3'000'001'000);
  expect_text(text, "process " + std::to_string(getpid()) + " on " + host_name());
  expect_text(text, "alive; last sign of life 3");
  expect_text(text, "dp0: this is rank 0 of 3");
}

TEST_F(ReportTest, TimesThatCannotBeAreSaidToBeSo) {
  RecorderSnapshot snapshot = read(recorder_->path());
  snapshot.started_ns = INT64_MIN;
  EXPECT_EQ(utc_text(snapshot, INT64_MAX), "an impossible time");
  EXPECT_EQ(elapsed_ns(INT64_MIN, INT64_MAX), 0);
  EXPECT_EQ(elapsed_ns(5, 3), 0);
}

}  // namespace
}  // namespace tutti
