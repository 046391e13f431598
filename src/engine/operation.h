// Operation: one collective, or one send or receive, in flight on one rank. Made by Engine::start, driven by the
// engine, given back to it by Engine::release once its owner has seen the result. Pooled: memory is reused from one
// to the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/engine/extents.h"
#include "src/engine/lane_run.h"
#include "src/engine/signature.h"
#include "src/engine/stragglers.h"
#include "src/planning/plan.h"

namespace tutti {

class Communicator;

// What a caller asks for; the C API's arguments after they were checked. Pointers are to the caller's memory.
struct OperationRequest {
  CallKind kind = CallKind::barrier;
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  std::uint64_t count = 0;
  DataType type = DataType::uint8;
  ReduceOp op = ReduceOp::sum;
  Rank root = 0;       // or the peer of a send or receive
  bool sends = false;  // point to point: this is the send
  bool in_place = false;
  BlockTable input_table;  // kinds with tables of counts: the blocks of input and output, where they are tables
  BlockTable output_table;
  const std::byte* scalar = nullptr;  // premultiplied_sum
  Nanoseconds timeout{-1};            // negative: none
  std::string_view algorithm;
};

// A plan made executable for one size on one rank.
struct CompiledPlan {
  Plan plan;
  std::vector<CompiledLane> lanes;
  std::uint64_t input_bytes = 0;   // of all blocks
  std::uint64_t board_offset = 0;  // where in another's published input this rank's part begins
  bool sends = false;              // some step sends
  bool streaming = false;          // all ranks' buffers together exceed the cache: results are written past it
  ShortName algorithm;
};

class Operation {
 public:
  enum class State : std::uint8_t {
    connecting,  // waits for channels
    running,
    draining,    // has failed, and waits for transports to let go of the caller's memory
    committing,  // elastic: complete on this rank, and waits until it is on all
    frozen,      // elastic: has failed on this rank and been let go of, and waits for the verdict
    complete,
  };

  // Set once, after the result is final. Any thread may look.
  bool is_complete() const { return complete_.load(std::memory_order_acquire) != 0; }
  // REQUIRES: is_complete()
  const Status& result() const { return result_; }
  Communicator* communicator() const { return communicator_; }
  const Signature& signature() const { return signature_; }
  std::uint32_t number() const { return number_; }

 private:
  friend class Engine;
  friend class Communicator;

  // Neither over on this rank nor failed.
  bool is_under_way() const { return state_ == State::connecting || state_ == State::running; }

  Communicator* communicator_ = nullptr;
  Signature signature_;
  std::uint32_t number_ = 0;
  bool point_to_point_ = false;
  bool sends_ = false;
  Rank peer_ = -1;
  State state_ = State::complete;
  bool on_board_ = false;
  bool published_ = false;
  std::uint32_t board_step_ = 0;
  std::size_t index_ = 0;  // among the engine's operations
  Instant posted_{};
  Instant deadline_ = kNever;
  Nanoseconds timeout_{-1};
  Instant next_check_{};  // of its timers
  Instant next_probe_ = kNever;
  Nanoseconds probe_interval_{0};
  std::shared_ptr<const CompiledPlan> plan_;
  std::vector<std::unique_ptr<LaneRun>> runs_;  // as many as ever needed; the first plan_->lanes.size() are in use
  std::vector<std::byte> scratch_;
  std::vector<std::byte> scaled_input_;
  KeptInput kept_;           // elastic, in place: what the output overwrites
  std::byte token_[2] = {};  // a barrier's input and output
  LaneRun::Job job_;
  Recorder::Operation record_;
  std::vector<Recorder::Peer> board_records_;
  Nanoseconds asked_{
      -1};           // since when it asks those it waits for, by the engine's attentive clock; negative: not yet
  Stragglers late_;  // what probes brought back
  std::vector<Rank> probed_by_;  // ranks that wait for this one in the operation
  Status failure_;
  Status result_;
  std::atomic<std::uint32_t> complete_{1};
};

}  // namespace tutti
