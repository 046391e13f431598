// What is written by a Recorder is what a reader finds, at any time.
#include "src/diagnosis/recorder.h"

#include <atomic>
#include <thread>

#include "tests/diagnosis/recorder_fixture.h"

namespace tutti {
namespace {

TEST_F(RecorderTest, AReaderFindsWhatWasWritten) {
  // Given a communicator and an operation with one peer that has moved some of its bytes
  const auto recorder = open();
  const RecordedMember members[] = {{"node01", {}, 11}, {"node02", {}, 22}};
  RecordedCommunicator communicator{{7, 8}, "dp0", 1, 2, members};
  const std::uint32_t serial = recorder->open_communicator(communicator, at(1500));
  RecordedOperation what = all_reduce(41);
  what.communicator = serial;
  what.root = 1;
  what.op = 3;
  const auto operation = recorder->begin_operation(what, at(2000));
  recorder->start_operation(operation, ShortName("ring"), 2, at(2100));
  const std::uint8_t tcp = recorder->transport("tcp");
  const auto peer = recorder->begin_peer(operation, {0, 1, Direction::receive, tcp, 512}, at(2200));
  recorder->peer_moved(peer, 100, at(2300));
  recorder->peer_moved(peer, 28, at(2400));

  // When it is read in the middle
  const RecorderSnapshot snapshot = read(recorder->path());

  // Then all of it is there
  EXPECT_TRUE(snapshot.alive);
  EXPECT_FALSE(snapshot.closed);
  EXPECT_EQ(snapshot.pid, static_cast<std::uint32_t>(getpid()));
  EXPECT_EQ(snapshot.process.high, 0xabcdef0112345678u);
  EXPECT_EQ(snapshot.host, host_name());
  EXPECT_EQ(snapshot.library, "1.2.3");
  EXPECT_EQ(snapshot.started_ns, 1000);
  EXPECT_EQ(snapshot.heartbeat_ns, 2000);
  ASSERT_EQ(snapshot.communicators.size(), 1u);
  EXPECT_EQ(snapshot.communicators[0].name, "dp0");
  EXPECT_EQ(snapshot.communicators[0].rank, 1);
  ASSERT_EQ(snapshot.communicators[0].members.size(), 2u);
  EXPECT_EQ(snapshot.communicators[0].members[1].host, "node02");
  EXPECT_EQ(snapshot.communicators[0].members[1].pid, 22u);
  ASSERT_EQ(snapshot.operations.size(), 1u);
  const OperationRecord& found = snapshot.operations[0];
  EXPECT_EQ(found.communicator, serial);
  EXPECT_EQ(found.number, 41u);
  EXPECT_EQ(name_of_kind(found.kind), "all_reduce");
  EXPECT_EQ(name_of_type(found.type), "float32");
  EXPECT_EQ(name_of_op(found.op), "max");
  EXPECT_EQ(found.root, 1);
  EXPECT_EQ(found.count, 123u);
  EXPECT_EQ(found.bytes, 492u);
  EXPECT_EQ(found.algorithm, "ring");
  EXPECT_EQ(found.lanes, 2);
  EXPECT_EQ(found.state, OperationState::running);
  EXPECT_EQ(found.posted_ns, 2000);
  EXPECT_EQ(found.started_ns, 2100);
  EXPECT_EQ(found.first_byte_ns, 2300);
  EXPECT_EQ(found.last_byte_ns, 2400);
  EXPECT_EQ(found.done_ns, 0);
  ASSERT_EQ(found.peers.size(), 1u);
  EXPECT_EQ(found.peers[0].rank, 0);
  EXPECT_EQ(found.peers[0].lane, 1);
  EXPECT_EQ(found.peers[0].direction, Direction::receive);
  EXPECT_EQ(snapshot.transports[found.peers[0].transport].name, "tcp");
  EXPECT_EQ(snapshot.transports[tcp].bytes_received, 128u);
  EXPECT_EQ(found.peers[0].bytes, 512u);
  EXPECT_EQ(found.peers[0].bytes_done, 128u);
  EXPECT_TRUE(found.peers[0].pending);

  // And when it ends with an error, that is there too
  recorder->end_peer(peer, Code::peer_lost);
  recorder->end_operation(operation, Code::peer_lost, 0, at(9000));
  const RecorderSnapshot after = read(recorder->path());
  EXPECT_EQ(after.operations[0].state, OperationState::done);
  EXPECT_EQ(after.operations[0].result, Code::peer_lost);
  EXPECT_EQ(after.operations[0].culprit, 0);
  EXPECT_EQ(after.operations[0].done_ns, 9000);
  EXPECT_FALSE(after.operations[0].peers[0].pending);
  EXPECT_EQ(after.operations[0].peers[0].result, Code::peer_lost);
  EXPECT_EQ(after.operations_failed, 1u);
}

TEST_F(RecorderTest, TheRingKeepsTheNewestOperations) {
  const auto recorder = open();
  for (std::uint64_t i = 1; i <= 200; ++i) {
    recorder->end_operation(recorder->begin_operation(all_reduce(i), at(2000)), Code::ok, Status::kNobody, at(2001));
  }
  const RecorderSnapshot snapshot = read(recorder->path());
  ASSERT_EQ(snapshot.operations.size(), 64u);
  EXPECT_EQ(snapshot.operations.front().number, 137u);
  EXPECT_EQ(snapshot.operations.back().number, 200u);
  EXPECT_EQ(snapshot.operations_begun, 200u);
  EXPECT_EQ(snapshot.operations_done, 200u);
}

TEST_F(RecorderTest, AnOperationThatHangsStaysOnRecordWithItsPeers) {
  // Given one operation that is pending on rank 5
  const auto recorder = open();
  const auto stuck = recorder->begin_operation(all_reduce(1), at(2000));
  recorder->begin_peer(stuck, {5, 0, Direction::receive, 0, 64}, at(2000));

  // When many others come and go
  for (std::uint64_t i = 2; i <= 1000; ++i) {
    const auto operation = recorder->begin_operation(all_reduce(i), at(3000));
    recorder->end_peer(recorder->begin_peer(operation, {1, 0, Direction::send, 0, 64}, at(3000)), Code::ok);
    recorder->end_operation(operation, Code::ok, Status::kNobody, at(3001));
  }

  // Then it is still there, and the others have gone round the ring past it
  const RecorderSnapshot snapshot = read(recorder->path());
  ASSERT_EQ(snapshot.operations.size(), 64u);
  EXPECT_EQ(snapshot.operations.front().number, 1u);
  EXPECT_TRUE(snapshot.operations.front().is_pending());
  ASSERT_EQ(snapshot.operations.front().peers.size(), 1u);
  EXPECT_EQ(snapshot.operations.front().peers[0].rank, 5);
  EXPECT_EQ(snapshot.operations[1].number, 938u);
  EXPECT_EQ(snapshot.operations_dropped, 0u);
}

TEST_F(RecorderTest, AHandleWhoseEntryWentToAnotherWritesNothingThere) {
  // Given more pending operations than the ring has entries
  const auto recorder = open();
  const auto first = recorder->begin_operation(all_reduce(1), at(2000));
  const auto peer = recorder->begin_peer(first, {5, 0, Direction::receive, 0, 64}, at(2000));
  for (std::uint64_t i = 2; i <= 400; ++i) {
    const auto operation = recorder->begin_operation(all_reduce(i), at(2000));
    recorder->begin_peer(operation, {6, 0, Direction::receive, 0, 64}, at(2000));
  }

  // When the first ends
  recorder->peer_moved(peer, 64, at(3000));
  recorder->end_peer(peer, Code::ok);
  recorder->end_operation(first, Code::ok, Status::kNobody, at(3000));

  // Then nobody else is said to have ended, and the counters are right all the same
  const RecorderSnapshot snapshot = read(recorder->path());
  for (const OperationRecord& operation : snapshot.operations) {
    EXPECT_TRUE(operation.is_pending()) << operation.number;
    EXPECT_NE(operation.number, 1u);
  }
  EXPECT_EQ(snapshot.operations_done, 1u);
  EXPECT_EQ(snapshot.operations_dropped, 400u - 64u);
}

TEST_F(RecorderTest, SlotsAndMembersOfClosedCommunicatorsAreUsedAgain) {
  const auto recorder = open();
  const std::vector<RecordedMember> members(100, RecordedMember{"node", {}, 3});
  const RecordedCommunicator world{{1, 1}, "world", 0, 100, members};
  recorder->open_communicator(world, at(1));
  for (int i = 0; i < 1000; ++i) {
    const RecordedCommunicator split{{1, 2}, "split", 2, 100, members};
    recorder->close_communicator(recorder->open_communicator(split, at(i + 2)), at(i + 3));
  }
  const RecorderSnapshot snapshot = read(recorder->path());
  ASSERT_EQ(snapshot.communicators.size(), 256u);
  EXPECT_EQ(snapshot.communicators.front().name, "world");
  EXPECT_EQ(snapshot.communicators.front().members.size(), 100u);
  EXPECT_EQ(snapshot.communicators.back().serial, 1001u);
}

TEST_F(RecorderTest, ACommunicatorWithoutRoomForItsMembersIsRecordedWithoutThem) {
  const auto recorder = open();
  const std::vector<RecordedMember> many(100'000, RecordedMember{"node", {}, 3});
  recorder->open_communicator({{1, 1}, "huge", 0, 100'000, many}, at(1));
  const RecorderSnapshot snapshot = read(recorder->path());
  ASSERT_EQ(snapshot.communicators.size(), 1u);
  EXPECT_EQ(snapshot.communicators[0].ranks, 100'000);
  EXPECT_TRUE(snapshot.communicators[0].members.empty());
}

TEST_F(RecorderTest, TheNewestChangesOfLanesAreKept) {
  const auto recorder = open();
  const std::uint8_t tcp = recorder->transport("tcp");
  for (std::uint8_t i = 1; i <= 100; ++i)
    recorder->note_lane({"node02", 22, i, i % 2 == 1 ? LaneChange::lost : LaneChange::back, tcp, "a cable"}, at(i));
  const RecorderSnapshot snapshot = read(recorder->path());
  EXPECT_EQ(snapshot.lane_changes, 100u);
  EXPECT_EQ(snapshot.heartbeat_ns, 100);
  ASSERT_EQ(snapshot.lanes.size(), 64u);
  EXPECT_EQ(snapshot.lanes.front().index, 37u);
  const LaneRecord& last = snapshot.lanes.back();
  EXPECT_EQ(last.index, 100u);
  EXPECT_EQ(last.at_ns, 100);
  EXPECT_EQ(last.host, "node02");
  EXPECT_EQ(last.pid, 22u);
  EXPECT_EQ(last.lane, 100);
  EXPECT_EQ(last.change, LaneChange::back);
  EXPECT_EQ(snapshot.lanes[62].change, LaneChange::lost);
  EXPECT_EQ(snapshot.transports[last.transport].name, "tcp");
  EXPECT_EQ(last.text, "a cable");
}

TEST_F(RecorderTest, TransportsAreToldApartByName) {
  const auto recorder = open();
  EXPECT_EQ(recorder->transport("shm"), 0);
  EXPECT_EQ(recorder->transport("tcp"), 1);
  EXPECT_EQ(recorder->transport("shm"), 0);
  recorder->count_bytes(1, Direction::send, 10);
  recorder->count_bytes(1, Direction::send, 5);
  const RecorderSnapshot snapshot = read(recorder->path());
  EXPECT_EQ(snapshot.transports[1].name, "tcp");
  EXPECT_EQ(snapshot.transports[1].bytes_sent, 15u);
}

TEST_F(RecorderTest, ADisabledRecorderTakesEverythingAndKeepsNothing) {
  RecorderOptions disabled = options();
  disabled.enabled = false;
  const auto recorder = open(disabled);
  EXPECT_EQ(recorder->path(), "");
  for (std::uint64_t i = 0; i < 1000; ++i) {
    recorder->close_communicator(recorder->open_communicator({{1, 1}, "c", 0, 1, {}}, at(1)), at(2));
    const auto operation = recorder->begin_operation(all_reduce(i), at(2000));
    recorder->peer_moved(recorder->begin_peer(operation, {}, at(3)), 8, at(4));
    recorder->end_operation(operation, Code::timeout, 3, at(2001));
    recorder->note_lane({"node", 1, 0, LaneChange::lost, 0, "a cable"}, at(2002));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_TRUE(warnings_.empty());
}

// number, count and bytes of an entry belong together; a torn one would show.
void expect_whole(const RecorderSnapshot& snapshot) {
  for (const OperationRecord& operation : snapshot.operations) {
    ASSERT_EQ(operation.count, operation.number * 3);
    ASSERT_EQ(operation.bytes, operation.number * 12);
    ASSERT_EQ(operation.posted_ns, static_cast<std::int64_t>(operation.number) + 5000);
    if (!operation.is_pending()) {
      ASSERT_EQ(operation.done_ns, operation.posted_ns + 7);
      ASSERT_EQ(static_cast<std::uint64_t>(operation.culprit), operation.number % 1000);
    }
    for (const PeerRecord& peer : operation.peers) {
      ASSERT_EQ(peer.bytes, operation.number);
      ASSERT_EQ(static_cast<std::uint64_t>(peer.rank), operation.number % 1000);
    }
  }
}

TEST_F(RecorderTest, AReaderBesideABusyWriterSeesWholeEntriesOnly) {
  const auto recorder = open();
  std::atomic<bool> begun = false;  // on a busy machine the reader could be through before
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (std::uint64_t i = 1; !stop.load(); ++i) {
      const auto base = static_cast<std::int64_t>(i) + 5000;
      const auto operation = recorder->begin_operation(all_reduce(i), at(base));
      const auto rank = static_cast<std::int32_t>(i % 1000);
      const auto peer = recorder->begin_peer(operation, {rank, 0, Direction::receive, 0, i}, at(base));
      recorder->peer_moved(peer, i, at(base + 1));
      recorder->end_peer(peer, Code::ok);
      recorder->end_operation(operation, Code::ok, rank, at(base + 7));
      begun = true;
    }
  });
  while (!begun) std::this_thread::yield();
  std::size_t seen = 0;
  for (int i = 0; i < 100; ++i) {
    const RecorderSnapshot snapshot = read(recorder->path());
    expect_whole(snapshot);
    seen += snapshot.operations.size();
  }
  stop = true;
  writer.join();
  EXPECT_GT(seen, 0u);
}

}  // namespace
}  // namespace tutti
