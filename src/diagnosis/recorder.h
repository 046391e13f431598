// Recorder: writes the flight recorder's file (recorder_format.h), always on. The file is mapped shared, so what was
// written is there for readers at once and stays when the process is killed.
//
// The space is reserved when the file is made: a full filesystem is seen then and never later. If no directory can be
// had, the Recorder writes into a little memory of its own that nobody reads, so callers need no branches. The file
// is removed by the destructor if no operation ended with an error, and kept otherwise.
//
// One thread at a time calls the methods (the engine's lock sees to it); `now` is the caller's clock, which is the
// monotonic one wherever the record is meant to be read by people.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "src/base/clock.h"
#include "src/base/ids.h"
#include "src/base/log.h"
#include "src/base/status.h"
#include "src/diagnosis/recorder_format.h"

namespace tutti {

struct RecorderOptions {
  bool enabled = true;
  std::string directory;            // empty: /dev/shm/tutti-UID, else /tmp/tutti-UID
  std::uint32_t operations = 4096;  // entries of the ring; four times as many peer entries; at least 64
  std::string library_version;
  ProcessId process;
};

struct RecordedMember {
  std::string_view host;
  ProcessId process;
  std::uint32_t pid = 0;
};

struct RecordedCommunicator {
  Id128 id;
  std::string_view name;
  std::int32_t rank = 0;
  std::int32_t ranks = 0;
  std::span<const RecordedMember> members;  // empty: unknown; otherwise `ranks` of them
};

struct RecordedOperation {
  std::uint32_t communicator = 0;  // what open_communicator returned
  std::uint64_t number = 0;
  OperationKind kind = OperationKind::barrier;
  std::uint8_t type = 0;   // tutti_datatype
  std::uint8_t op = 0;     // tutti_op
  std::int32_t root = -1;  // or the peer of a send or receive
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
};

struct RecordedLane {
  std::string_view host;  // of the process at the other end
  std::uint32_t pid = 0;
  std::uint8_t lane = 0;
  LaneChange change = LaneChange::lost;
  std::uint8_t transport = 0;  // what Recorder::transport returned
  std::string_view text;       // what has happened
};

struct RecordedPeer {
  std::int32_t rank = 0;
  std::uint8_t lane = 0;
  Direction direction = Direction::send;
  std::uint8_t transport = 0;  // what Recorder::transport returned
  std::uint64_t bytes = 0;     // how much is to move
};

class Recorder {
 public:
  // Where an operation's or a peer's entry is. It outlives the entry: writing by a handle whose entry has been given
  // to another does nothing. A default-made one stands for nothing, writing by it does nothing either.
  struct Operation {
    OperationEntry* entry = nullptr;
    std::uint64_t index = 0;
  };
  struct Peer {
    PeerEntry* entry = nullptr;
    std::uint64_t sequence = 0;
    Operation operation;
  };

  // Never fails: what keeps it from a directory or from having a file at all is said in one warning. Also removes
  // files that dead processes left there long ago (recorder_directory.h).
  static std::unique_ptr<Recorder> open(const RecorderOptions& options, Instant now, const Log& log);
  // One that keeps nothing, for tests and simulations.
  static std::unique_ptr<Recorder> none();

  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  const std::string& path() const { return path_; }  // empty when there is no file

  std::uint32_t open_communicator(const RecordedCommunicator& communicator, Instant now);
  void close_communicator(std::uint32_t serial, Instant now);

  // A connection of several is lost, or back, and nothing has failed for it.
  void note_lane(const RecordedLane& lane, Instant now);

  // The number of this transport in the counters; the same name gets the same number. Past the sixteenth name all
  // others share the last number.
  std::uint8_t transport(std::string_view name);

  // ---- The path of every operation: inline, no call, no lock, no branch on whether anything is recorded ----

  Operation begin_operation(const RecordedOperation& what, Instant now);
  // It has its plan and moves from now on.
  void start_operation(Operation operation, ShortName algorithm, std::uint16_t lanes, Instant now);
  // culprit: the rank to blame, Status::kNobody if there is none.
  void end_operation(Operation operation, Code result, std::int32_t culprit, Instant now);
  // The pending operation waits for this rank, longer than is usual.
  void note_straggler(Operation operation, std::int32_t rank);

  Peer begin_peer(Operation operation, const RecordedPeer& what, Instant now);
  // `bytes` more have been moved; also counts them for the transport.
  void peer_moved(Peer peer, std::uint64_t bytes, Instant now);
  void end_peer(Peer peer, Code result);

  // Bytes of a transport that belong to no peer entry.
  void count_bytes(std::uint8_t transport, Direction direction, std::uint64_t bytes);
  // This process lives. Operations say so by themselves.
  void heartbeat(Instant now) { put(header_->heartbeat_ns, since_epoch(now)); }

 private:
  class Mapping;
  explicit Recorder(std::unique_ptr<Mapping> mapping);

  static constexpr std::uint32_t kPassOver = 64;  // pending entries that the search for a free one looks at

  static std::int64_t since_epoch(Instant now) { return now.time_since_epoch().count(); }
  // Release, so that no field can appear changed before the odd sequence word ahead of it.
  template <typename T>
  static void put(T& field, T value) {
    std::atomic_ref<T>(field).store(value, std::memory_order_release);
  }
  static void put(ShortName& field, const ShortName& value) {
    put(field.words[0], value.words[0]);
    put(field.words[1], value.words[1]);
  }
  static void add(std::uint64_t& counter, std::uint64_t more) { put(counter, counter + more); }

  static bool holds(Operation operation) { return operation.entry && operation.entry->index == operation.index; }
  static bool holds(Peer peer) { return peer.entry && peer.entry->sequence == peer.sequence; }
  static bool is_pending(const OperationEntry& entry) {
    return entry.state == static_cast<std::uint8_t>(OperationState::posted) ||
           entry.state == static_cast<std::uint8_t>(OperationState::running);
  }
  bool is_pending(const PeerEntry& entry) const;
  OperationEntry& next_operation();
  PeerEntry& next_peer();
  std::uint32_t place_members(std::uint32_t count);
  CommunicatorEntry& free_communicator();

  std::unique_ptr<Mapping> mapping_;
  std::string path_;
  RecorderHeader* header_;
  CommunicatorEntry* communicators_;
  MemberEntry* members_;
  OperationEntry* operations_;
  PeerEntry* peers_;
  LaneEntry* lanes_;
  std::unique_ptr<const OperationEntry*[]> operation_of_peer_;  // for each peer entry
  std::uint32_t next_operation_ = 0;                            // slots
  std::uint32_t next_peer_ = 0;
  std::uint32_t serial_ = 0;
};

inline OperationEntry& Recorder::next_operation() {
  const std::uint32_t entries = header_->operations.entries;
  for (std::uint32_t tries = 0;; ++tries) {
    OperationEntry& entry = operations_[next_operation_];
    if (++next_operation_ == entries) next_operation_ = 0;
    if (!is_pending(entry)) return entry;
    if (tries == kPassOver) {
      add(header_->operations_dropped, 1);
      return entry;
    }
  }
}

inline Recorder::Operation Recorder::begin_operation(const RecordedOperation& what, Instant now) {
  OperationEntry& entry = next_operation();
  const std::uint64_t index = header_->operations_begun + 1;
  const std::int64_t time = since_epoch(now);
  const std::uint32_t sequence = entry.sequence;
  put(entry.sequence, sequence + 1);
  put(entry.communicator, what.communicator);
  put(entry.index, index);
  put(entry.number, what.number);
  put(entry.kind, static_cast<std::uint8_t>(what.kind));
  put(entry.type, what.type);
  put(entry.op, what.op);
  put(entry.state, static_cast<std::uint8_t>(OperationState::posted));
  put(entry.root, what.root);
  put(entry.count, what.count);
  put(entry.bytes, what.bytes);
  put(entry.posted_ns, time);
  put(entry.started_ns, std::int64_t{0});
  put(entry.first_byte_ns, std::int64_t{0});
  put(entry.last_byte_ns, std::int64_t{0});
  put(entry.done_ns, std::int64_t{0});
  put(entry.algorithm, ShortName());
  put(entry.lanes, std::uint16_t{0});
  put(entry.result, std::uint16_t{0});
  put(entry.culprit, std::int32_t{Status::kNobody});
  put(entry.sequence, sequence + 2);
  put(header_->operations_begun, index);
  put(header_->heartbeat_ns, time);
  return {&entry, index};
}

inline void Recorder::start_operation(Operation operation, ShortName algorithm, std::uint16_t lanes, Instant now) {
  if (!holds(operation)) return;
  OperationEntry& entry = *operation.entry;
  const std::uint32_t sequence = entry.sequence;
  put(entry.sequence, sequence + 1);
  put(entry.algorithm, algorithm);
  put(entry.lanes, lanes);
  put(entry.started_ns, since_epoch(now));
  put(entry.state, static_cast<std::uint8_t>(OperationState::running));
  put(entry.sequence, sequence + 2);
}

inline void Recorder::end_operation(Operation operation, Code result, std::int32_t culprit, Instant now) {
  if (!operation.entry) return;
  add(header_->operations_done, 1);
  if (result != Code::ok) add(header_->operations_failed, 1);
  if (!holds(operation)) return;
  OperationEntry& entry = *operation.entry;
  const std::uint32_t sequence = entry.sequence;
  put(entry.sequence, sequence + 1);
  put(entry.result, static_cast<std::uint16_t>(result));
  put(entry.culprit, culprit);
  put(entry.done_ns, since_epoch(now));
  put(entry.state, static_cast<std::uint8_t>(OperationState::done));
  put(entry.sequence, sequence + 2);
  put(header_->heartbeat_ns, since_epoch(now));
}

inline void Recorder::note_straggler(Operation operation, std::int32_t rank) {
  add(header_->stragglers_reported, 1);
  if (!holds(operation)) return;
  OperationEntry& entry = *operation.entry;
  const std::uint32_t sequence = entry.sequence;
  put(entry.sequence, sequence + 1);
  put(entry.culprit, rank);
  put(entry.sequence, sequence + 2);
}

inline bool Recorder::is_pending(const PeerEntry& entry) const {
  if (entry.result != PeerEntry::kPending) return false;
  const OperationEntry* operation = operation_of_peer_[&entry - peers_];
  return operation && operation->index == entry.operation && is_pending(*operation);
}

inline PeerEntry& Recorder::next_peer() {
  const std::uint32_t entries = header_->peers.entries;
  for (std::uint32_t tries = 0;; ++tries) {
    PeerEntry& entry = peers_[next_peer_];
    if (++next_peer_ == entries) next_peer_ = 0;
    if (tries == kPassOver || !is_pending(entry)) return entry;
  }
}

inline Recorder::Peer Recorder::begin_peer(Operation operation, const RecordedPeer& what, Instant now) {
  PeerEntry& entry = next_peer();
  const std::uint64_t index = header_->peers_begun + 1;
  const std::uint64_t sequence = 2 * index;
  operation_of_peer_[&entry - peers_] = operation.entry;
  put(entry.sequence, sequence - 1);
  put(entry.operation, operation.index);
  put(entry.posted_ns, since_epoch(now));
  put(entry.first_byte_ns, std::int64_t{0});
  put(entry.last_byte_ns, std::int64_t{0});
  put(entry.bytes, what.bytes);
  put(entry.bytes_done, std::uint64_t{0});
  put(entry.rank, what.rank);
  put(entry.lane, what.lane);
  put(entry.direction, static_cast<std::uint8_t>(what.direction));
  put(entry.transport, what.transport);
  put(entry.result, PeerEntry::kPending);
  put(entry.sequence, sequence);
  put(header_->peers_begun, index);
  return {&entry, sequence, operation};
}

inline void Recorder::peer_moved(Peer peer, std::uint64_t bytes, Instant now) {
  if (!holds(peer)) return;
  const std::int64_t time = since_epoch(now);
  PeerEntry& entry = *peer.entry;
  if (entry.first_byte_ns == 0) put(entry.first_byte_ns, time);
  put(entry.last_byte_ns, time);
  add(entry.bytes_done, bytes);
  count_bytes(entry.transport, static_cast<Direction>(entry.direction), bytes);
  if (!holds(peer.operation)) return;
  OperationEntry& operation = *peer.operation.entry;
  if (operation.first_byte_ns == 0) put(operation.first_byte_ns, time);
  put(operation.last_byte_ns, time);
}

inline void Recorder::end_peer(Peer peer, Code result) {
  if (holds(peer)) put(peer.entry->result, static_cast<std::uint8_t>(result));
}

inline void Recorder::count_bytes(std::uint8_t transport, Direction direction, std::uint64_t bytes) {
  TransportCounters& counters = header_->transports[transport % kRecorderTransports];
  add(direction == Direction::send ? counters.bytes_sent : counters.bytes_received, bytes);
}

}  // namespace tutti
