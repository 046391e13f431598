// Compiling: a program and the extents of one call become a flat array of steps with byte offsets, segment counts and
// byte-exact dependencies, which the executor walks. Pure; cached per size by the communicator.
//
// A step of `bytes` bytes runs in segments of `segment_bytes` (the last may be shorter), in order. Segment i may run
// when every `Need` holds: the predecessor has done at least clamp(end of segment i + shift, 0, its bytes) of its
// bytes. So a long message streams through a chain of steps even where their views overlap only in part.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/status.h"
#include "src/engine/extents.h"
#include "src/schedule/schedule.h"

namespace tutti {

// A place in one of the three buffers, in bytes.
struct Place {
  Buffer buffer = Buffer::input;
  std::uint64_t offset = 0;
};

struct Need {
  std::uint32_t step = 0;
  std::int64_t shift = 0;
};

struct CompiledOperand {
  static constexpr std::uint32_t kLocal = ~0u;
  std::uint32_t peer = kLocal;  // index into peers
  std::uint32_t inbound = 0;    // index into inbound, where a peer is named
  Place local;
};

struct CompiledStep {
  static constexpr std::uint32_t kAlone = ~0u;
  StepKind kind = StepKind::copy;
  bool finish = false;
  std::uint32_t peer = 0;        // send, receive: index into peers
  std::uint32_t message = 0;     // send: number of the message to that peer
  std::uint32_t inbound = 0;     // receive: index into inbound
  std::uint32_t group = kAlone;  // send: index into groups
  std::uint32_t segments = 0;
  std::uint64_t bytes = 0;
  Place target;
  Place source;
  Range operands;
  Range needs;
  Range unlocks;  // steps that need this one
};

// One message that this rank takes from a peer.
struct Inbound {
  std::uint32_t peer = 0;
  std::uint32_t message = 0;
  std::uint32_t step = 0;
};

struct CompiledPeer {
  Rank rank = 0;
  Range inbound;   // into CompiledLane::inbound: message n is entry n
  Range outbound;  // into CompiledLane::outbound: the step that sends message n
};

// A group of sends, two or more, is of the same bytes of the same place, which no step writes between the first and
// the last of them: what one of them reads there, all of them read.
struct CompiledLane {
  std::vector<CompiledStep> steps;
  std::vector<CompiledOperand> operands;
  std::vector<Need> needs;
  std::vector<std::uint32_t> unlocks;
  std::vector<CompiledPeer> peers;  // by rank, ascending
  std::vector<Inbound> inbound;
  std::vector<std::uint32_t> outbound;
  std::vector<Range> groups;                 // into group_members
  std::vector<std::uint32_t> group_members;  // steps, in the order of the program
  std::uint64_t scratch_bytes = 0;
  std::uint32_t segment_bytes = 0;

  std::uint32_t segment_length(const CompiledStep& step, std::uint32_t segment) const {
    const std::uint64_t begin = std::uint64_t{segment} * segment_bytes;
    return static_cast<std::uint32_t>(step.bytes - begin < segment_bytes ? step.bytes - begin : segment_bytes);
  }
  // Index of a rank in peers, or -1.
  int find_peer(Rank rank) const;
};

struct CompileOptions {
  std::uint64_t element_bytes = 1;
  std::uint32_t segment_bytes = 1 << 18;  // a multiple of 64
  Share share;
  bool send_empty = false;  // messages without elements travel too (see Signature::per_message)
};

// UNSUPPORTED where a run of blocks in the program is not contiguous in this call; the planner then takes an
// algorithm that moves single blocks.
Result<CompiledLane> compile(const Program& program, const Extents& extents, const CompileOptions& options);

}  // namespace tutti
