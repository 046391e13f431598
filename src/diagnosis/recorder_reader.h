// Reads a flight recorder file, of a living or dead process, into plain values. The file is whatever it is:
// truncated, damaged, written to at this moment or made by an enemy. Everything is checked before use, nothing is
// mapped (a file that shrinks is a short read), entries that were being written are left out and counted, text is
// made printable.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/base/status.h"
#include "src/diagnosis/recorder_format.h"

namespace tutti {

struct MemberRecord {
  std::string host;
  std::uint64_t process_high = 0;
  std::uint32_t pid = 0;
};

struct CommunicatorRecord {
  std::uint32_t serial = 0;
  Id128 id;
  std::string name;
  std::int32_t rank = 0;
  std::int32_t ranks = 0;
  std::vector<MemberRecord> members;  // by rank; empty: unknown
  std::int64_t opened_ns = 0;
  std::int64_t closed_ns = 0;
};

struct PeerRecord {
  std::uint64_t index = 0;
  std::uint64_t operation = 0;
  std::int32_t rank = 0;
  std::uint8_t lane = 0;
  Direction direction = Direction::send;
  std::uint8_t transport = 0;  // index into RecorderSnapshot::transports, always within
  bool pending = false;
  Code result = Code::ok;
  std::int64_t posted_ns = 0;
  std::int64_t first_byte_ns = 0;
  std::int64_t last_byte_ns = 0;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_done = 0;
};

struct OperationRecord {
  std::uint64_t index = 0;
  std::uint32_t communicator = 0;  // serial
  std::uint64_t number = 0;
  std::uint8_t kind = 0;  // any value; name_of_kind and the like take any
  std::uint8_t type = 0;
  std::uint8_t op = 0;
  OperationState state = OperationState::posted;
  std::int32_t root = -1;
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
  std::int64_t posted_ns = 0;
  std::int64_t started_ns = 0;
  std::int64_t first_byte_ns = 0;
  std::int64_t last_byte_ns = 0;
  std::int64_t done_ns = 0;
  std::string algorithm;
  std::uint16_t lanes = 0;
  Code result = Code::ok;
  std::int32_t culprit = -1;
  std::vector<PeerRecord> peers;  // in order of index

  bool is_pending() const { return state != OperationState::done; }
};

struct LaneRecord {
  std::uint64_t index = 0;
  std::int64_t at_ns = 0;
  std::string host;       // of the process at the other end
  std::uint32_t pid = 0;  // 0: not known
  std::uint8_t lane = 0;
  LaneChange change = LaneChange::lost;
  std::uint8_t transport = 0;  // index into RecorderSnapshot::transports, always within
  std::string text;
};

struct TransportRecord {
  std::string name;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
};

struct RecorderSnapshot {
  bool alive = false;   // the writing process holds its file
  bool closed = false;  // it ended in order
  std::uint32_t pid = 0;
  ProcessId process;
  std::string host;
  std::string program;
  std::string library;
  std::int64_t started_utc_ns = 0;
  std::int64_t started_ns = 0;
  std::int64_t heartbeat_ns = 0;
  std::uint64_t operations_begun = 0;
  std::uint64_t operations_done = 0;
  std::uint64_t operations_failed = 0;
  std::uint64_t operations_dropped = 0;
  std::uint64_t stragglers_reported = 0;
  std::uint64_t lane_changes = 0;
  std::vector<TransportRecord> transports;  // kRecorderTransports of them
  std::vector<CommunicatorRecord> communicators;
  std::vector<OperationRecord> operations;  // in order of index
  std::vector<LaneRecord> lanes;            // in order of index
  std::uint64_t entries_torn = 0;           // left out: they were being written, or are damaged

  const CommunicatorRecord* communicator(std::uint32_t serial) const;
};

// INVALID: this is no recorder file, or a damaged one; SYSTEM: it cannot be read.
Result<RecorderSnapshot> read_recorder(const std::string& path);
// The same from an open descriptor; `path` is for messages.
Result<RecorderSnapshot> read_recorder(int fd, const std::string& path);

// The recorder files in a directory, by path. A directory that is not there has none.
std::vector<std::string> find_recorders(const std::string& directory);

// "all_reduce", "float32", "sum"; "kind 77" for a number that has no name.
std::string name_of_kind(std::uint8_t kind);
std::string name_of_type(std::uint8_t type);
std::string name_of_op(std::uint8_t op);

}  // namespace tutti
