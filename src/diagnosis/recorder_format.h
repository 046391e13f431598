// The flight recorder's file, as plain structs: what a process writes about its operations and what tutti-recorder
// reads, also after the process was killed. Little-endian, fixed sizes, no pointers.
//
//   | RecorderHeader, 4 KiB | CommunicatorEntry[] | MemberEntry[] | OperationEntry[] | PeerEntry[] | LaneEntry[] |
//
// The header says where each table begins, how many entries it has and how large one is. Operations, peers and lanes
// are rings: an entry's `index` counts from 1 in order of writing, 0 means never used. A ring of operations or peers
// passes over what is still pending, so an operation that hangs stays on record however many others come and go.
//
// One thread writes at a time; readers take no lock. Each entry begins with a sequence word that is odd while the
// entry is being written. A reader reads the word before and after the rest and drops the entry if the two differ or
// are odd. Fields that change while an operation runs (times, bytes done) are words, each whole by itself.
//
// Times are nanoseconds on the writer's monotonic clock, 0 means "has not happened"; the header ties that clock to
// UTC.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tutti {

static_assert(std::endian::native == std::endian::little, "the recorder's file is little-endian");

constexpr std::uint64_t kRecorderMagic = 0x4345524954545554ull;  // "TUTTIREC"
constexpr std::uint32_t kRecorderVersion = 2;
constexpr std::size_t kRecorderTransports = 16;

enum class OperationKind : std::uint8_t {
  all_reduce = 0,  // 0 to 7 are those of tutti_collective
  reduce = 1,
  broadcast = 2,
  all_gather = 3,
  reduce_scatter = 4,
  all_to_all = 5,
  gather = 6,
  scatter = 7,
  barrier = 8,
  send = 9,
  receive = 10,
  split = 11,
  finalize = 12,
  agree = 13,
};
constexpr std::size_t kOperationKinds = 14;

enum class OperationState : std::uint8_t { unused = 0, posted = 1, running = 2, done = 3 };
enum class Direction : std::uint8_t { send = 0, receive = 1 };
enum class LaneChange : std::uint8_t { lost = 0, back = 1 };

// Up to 16 bytes of a name in two words, so that writing one costs two stores. Longer names are cut.
struct ShortName {
  std::array<std::uint64_t, 2> words{};

  constexpr ShortName() = default;
  constexpr explicit ShortName(std::string_view text) {
    for (std::size_t i = 0; i < text.size() && i < 16; ++i) {
      words[i / 8] |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[i])) << (i % 8 * 8);
    }
  }
};

struct TableLayout {
  std::uint64_t offset;  // from the beginning of the file, a multiple of 64
  std::uint32_t entries;
  std::uint32_t entry_bytes;
};

struct TransportCounters {
  ShortName name;  // empty: the slot is free
  std::uint64_t bytes_sent;
  std::uint64_t bytes_received;
};

struct RecorderHeader {
  std::uint64_t magic;  // written last: a file without it is not ready
  std::uint32_t version;
  std::uint32_t header_bytes;
  std::uint64_t file_bytes;
  std::uint64_t process_high;  // ProcessId
  std::uint64_t process_low;
  std::uint32_t pid;
  std::uint32_t closed;  // 1 after an orderly end
  char host[64];         // these three end with a NUL byte
  char program[32];
  char library[16];             // "0.1.0"
  std::int64_t started_utc_ns;  // since 1970; the same moment as
  std::int64_t started_ns;      // on the monotonic clock
  TableLayout communicators;
  TableLayout members;
  TableLayout operations;
  TableLayout peers;
  TableLayout lanes;

  alignas(64) std::int64_t heartbeat_ns;  // when the process last wrote anything or said that it lives
  std::uint64_t operations_begun;
  std::uint64_t operations_done;     // of those, ended, well or not
  std::uint64_t operations_failed;   // of those, ended with an error
  std::uint64_t operations_dropped;  // pending ones whose entries had to be given up for others
  std::uint64_t peers_begun;
  std::uint64_t communicators_begun;
  std::uint64_t stragglers_reported;  // each once for an operation
  std::uint64_t lane_changes;

  alignas(64) TransportCounters transports[kRecorderTransports];
};
constexpr std::size_t kRecorderHeaderBytes = 4096;
static_assert(sizeof(RecorderHeader) <= kRecorderHeaderBytes);

// `serial` counts the process's communicators from 1, 0 means never used. The slot of a closed one may be used again.
struct alignas(64) CommunicatorEntry {
  std::uint32_t sequence;
  std::uint32_t serial;
  std::uint64_t id_high;
  std::uint64_t id_low;
  char name[64];  // ends with a NUL byte; longer names are cut
  std::int32_t rank;
  std::int32_t ranks;
  std::uint32_t first_member;  // members[first_member + r] is rank r
  std::uint32_t member_count;  // equal to ranks, or 0: there was no room for them
  std::int64_t opened_ns;
  std::int64_t closed_ns;
};
static_assert(sizeof(CommunicatorEntry) == 128);

struct MemberEntry {
  char host[48];  // ends with a NUL byte; longer names are cut
  std::uint64_t process_high;
  std::uint32_t pid;
  std::uint32_t unused;
};
static_assert(sizeof(MemberEntry) == 64);

struct alignas(64) OperationEntry {
  std::uint32_t sequence;
  std::uint32_t communicator;  // CommunicatorEntry::serial
  std::uint64_t index;
  std::uint64_t number;  // the communicator's own count, equal on all its ranks
  std::uint8_t kind;     // OperationKind
  std::uint8_t type;     // tutti_datatype
  std::uint8_t op;       // tutti_op
  std::uint8_t state;    // OperationState
  std::int32_t root;     // or the peer of a send or receive; -1 where there is none
  std::uint64_t count;
  std::uint64_t bytes;  // of the whole operation, as its caller would count them
  std::int64_t posted_ns;
  std::int64_t started_ns;
  std::int64_t first_byte_ns;
  std::int64_t last_byte_ns;
  std::int64_t done_ns;
  ShortName algorithm;
  std::uint16_t lanes;
  std::uint16_t result;  // tutti_status, when done
  std::int32_t culprit;  // whom a pending one waits for unusually long; to blame for a result that is not OK; or -1
  std::uint64_t unused;
};
static_assert(sizeof(OperationEntry) == 128);

// What an operation moved to or from one peer on one lane. `sequence` is twice the entry's index, and odd while the
// entry is being replaced.
struct alignas(64) PeerEntry {
  static constexpr std::uint8_t kPending = 255;

  std::uint64_t sequence;
  std::uint64_t operation;  // OperationEntry::index
  std::int64_t posted_ns;
  std::int64_t first_byte_ns;
  std::int64_t last_byte_ns;
  std::uint64_t bytes;
  std::uint64_t bytes_done;
  std::int32_t rank;  // of the peer in the operation's communicator
  std::uint8_t lane;
  std::uint8_t direction;  // Direction
  std::uint8_t transport;  // index into RecorderHeader::transports
  std::uint8_t result;     // tutti_status, or kPending
};
static_assert(sizeof(PeerEntry) == 64);

// A lane to another process, which lives, has lost its own connection and goes on by others, or has it back.
struct alignas(64) LaneEntry {
  std::uint32_t sequence;
  std::uint32_t pid;  // of the other process; 0: not known
  std::uint64_t index;
  std::int64_t at_ns;
  std::uint8_t lane;
  std::uint8_t change;     // LaneChange
  std::uint8_t transport;  // index into RecorderHeader::transports
  std::uint8_t unused[5];
  char host[48];   // both end with a NUL byte; longer ones are cut
  char text[304];  // what has happened, in the words of the log
};
static_assert(sizeof(LaneEntry) == 384);

}  // namespace tutti
