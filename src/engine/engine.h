// Engine: all communication of one process, as a state machine. It owns the transports and the peers, is told what
// the caller wants (create, start, abort, destroy) and does what can be done in progress(now). It starts no thread,
// takes no lock, reads no clock: whoever owns it calls from one thread at a time. So a whole cluster can run in one
// test.
//
// Failure. What goes wrong with one operation (a lost peer, a deadline, a mismatch, an abort) makes its communicator
// wrong: all its operations end with that status, and every member that can be reached is told, so that all name the
// same culprit. The caller's memory is let go of before an operation is complete, at the latest when its channels are
// closed. On an elastic communicator the members agree first (council.h): every operation ends the same way on all
// that survive, and they go on without the others.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/base/log.h"
#include "src/diagnosis/recorder.h"
#include "src/engine/communicator.h"
#include "src/engine/operation.h"
#include "src/engine/wire.h"
#include "src/transport/transport.h"

namespace tutti {

struct EngineOptions {
  ProcessId process;
  HostId host;
  std::uint32_t pid = 0;
  std::uint64_t pid_namespace = 0;
  std::uint32_t cores = 1;
  std::uint64_t cache_bytes = 128 << 20;  // what the last level of this host's caches keeps
  std::string host_name;
  Nanoseconds connect_timeout = std::chrono::seconds(60);
  Nanoseconds silence_limit = std::chrono::seconds(5);  // of a member that others wait for in an agreement
  // Whether the process has certainly ended, and nothing of it will come again; null: nobody can tell.
  std::function<bool(const ProcessAddress&)> has_ended;
  // The state of a process of this host as the system shows it ('R', 'S', 'D', 'T', ...); 0: it cannot be seen; null:
  // none can.
  std::function<char(const ProcessAddress&)> process_state;
  std::span<const Algorithm> algorithms;
  Log log;
};

// One rank of a communicator to be.
struct MemberSpec {
  ProcessAddress address;
  std::uint64_t board_offset = kNoBoard;
  bool joins = false;  // if it cannot be reached it is lost, and that is no error
};

struct CommunicatorSpec {
  std::uint64_t id = 0;
  std::string name;
  Rank rank = 0;
  std::vector<MemberSpec> members;
  Nanoseconds timeout{-1};  // of operations that do not say
  std::uint64_t eager_bytes = 16 << 10;
  std::uint64_t board_bytes = 8 << 10;
  std::uint32_t segment_bytes = 0;
  std::string algorithm;      // the setting TUTTI_ALGORITHM
  bool elastic = false;       // operations end the same way on every survivor; see council.h
  bool by_step = false;       // elastic: only agrees do, each for all operations since the last
  std::uint32_t minimum = 1;  // elastic: fewer members than this never go on
  StragglerPolicy stragglers;
};

// Somebody for whom an operation of this rank waits, longer than StragglerPolicy::timeout.
struct StragglerReport {
  Straggler who;
  std::uint32_t number = 0;  // of the operation
  Nanoseconds waited{0};
};

class Engine {
 public:
  // Transports in order of preference. `recorder` outlives the engine.
  Engine(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports, Recorder& recorder);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ProcessAddress& address() const { return address_; }

  // Room for one member's part of a board in this process's segment; kNoBoard when there is none left.
  std::uint64_t reserve_board(std::uint64_t board_bytes);
  void cancel_board(std::uint64_t offset, std::uint64_t board_bytes);

  // INVALID, UNSUPPORTED: a member cannot be reached by any transport (named).
  Result<Communicator*> create(const CommunicatorSpec& spec, Instant now);
  // The members, plan settings and so on of `parent`, for a split: members are given by their ranks in it.
  Result<Communicator*> create_from(const Communicator& parent, std::uint64_t id, std::string name,
                                    std::span<const Rank> members, std::span<const std::uint64_t> board_offsets,
                                    Instant now);
  std::uint32_t next_split(Communicator& communicator) { return ++communicator.splits_; }
  // Ends pending operations with ABORTED, tells the members. The pointer is dead afterwards, as soon as no operation
  // of it is left; those stay with their owners.
  void destroy(Communicator* communicator, Instant now);
  void abort(Communicator* communicator, const Status& why, Instant now);

  // Elastic communicators. revoke() ends the work on it on all members, with the verdict that they agree upon.
  void revoke(Communicator* communicator, const Status& why, Instant now) {
    fail_communicator(*communicator, why, now);
  }
  // After the verdict: this member takes part in what follows. The contributions of all that do are council()->next,
  // once they have agreed (roll.h); who is lost meanwhile may be missing. An error if this member is not among them.
  Status begin_next(Communicator* communicator, std::string contribution, Instant now);

  // destroy(), but the others are told that this rank leaves: it is not lost, and they need only refresh.
  void leave(Communicator* communicator, Instant now);

  // Whether that process is lost to this one, for good: it has to start again before it can be a member anywhere
  // here.
  bool has_lost(const ProcessId& process) const;

  // Whether start() would find a plan and a communicator that works.
  Status check(Communicator* communicator, const OperationRequest& request);
  // Starts an operation; it is complete when is_complete() says so, which may be at once. The caller owns the pointer
  // until release().
  Result<Operation*> start(Communicator* communicator, const OperationRequest& request, Instant now);
  void release(Operation* operation);

  Result<std::string> explain(Communicator* communicator, const OperationRequest& request);
  // By rank, each once, with the first operation that waits for it.
  std::vector<StragglerReport> stragglers(const Communicator* communicator, Instant now) const;

  // Does what can be done. Returns how many events and steps that were; 0 says that waiting may be in place.
  std::size_t progress(Instant now);
  bool has_operations() const { return !operations_.empty() || !councils_.empty(); }
  std::uint64_t completed() const { return completed_; }  // operations, since the beginning
  // Nothing taken by a link is still in this process, and nobody who lives still reads what it has published.
  bool is_drained();
  Instant next_timer() const { return next_timer_; }

  // Ranks of this process have something for each other that no descriptor tells of.
  bool has_own_events() const { return self_transport_ != nullptr && !self_transport_->prepare_wait(); }

  // Sleeping: as Transport says, for all transports.
  void wait_descriptors(std::vector<int>& out) const;
  bool prepare_wait();
  void finish_wait();

 private:
  struct Orphans {
    Instant since{};
    std::vector<EarlyFrame> frames;
  };
  struct Ended {  // what the goodbyes of a communicator said, see FrameKind::goodbye
    std::uint32_t number = 0;
    std::uint32_t how = 0;  // kForGood, kLeaves
  };
  struct CommunicatorKey {
    std::uint64_t id;
    Rank rank;
    bool operator==(const CommunicatorKey&) const = default;
  };
  struct CommunicatorKeyHash {
    std::size_t operator()(const CommunicatorKey& key) const {
      return static_cast<std::size_t>(
          key.id ^ (static_cast<std::uint64_t>(static_cast<std::uint32_t>(key.rank)) * 0x9e3779b97f4a7c15ull));
    }
  };

  // engine.cc
  Result<Peer*> find_peer(const ProcessAddress& address);
  Peer* add_unreachable(const ProcessAddress& address, const Status& why, Instant now);
  Shape shape_of(const std::vector<Member>& members, const CommunicatorSpec& spec) const;
  Result<Communicator*> install(std::unique_ptr<Communicator> communicator, const CommunicatorSpec& spec,
                                Instant now);
  void check_timers(Instant now);
  void check_operation(Operation& operation, Instant now);
  void remember_ended(const Communicator& communicator);
  static Ended farewell_of(const Communicator& communicator);
  void free_boards();

  // engine_links.cc
  Result<Channel*> channel_to(Peer& peer, std::uint32_t lane, Instant now);
  void handle(Transport& transport, const Event& event, Instant now);
  void on_connected(Transport& transport, Link* link);
  void on_closed(Channel& channel, Instant now);
  void end_channel(Channel& channel, Instant now);
  void on_fetched(Channel& channel, std::uint64_t token, Instant now);
  void on_sent(std::uint64_t cookie, Instant now);
  void retry(std::deque<StepReference>& waiting, Instant now);
  void lose_peer(Peer& peer, const Status& why, Instant now);
  Status lost(const Operation& operation, const Peer& peer, Rank rank) const;
  Rank needs_peer(const Operation& operation, const Peer& peer, Rank only = -1) const;

  // engine_frames.cc
  void on_delivery(Channel& channel, const Event& event, Instant now);
  void dispatch(Channel& channel, const Frame& frame, Arrival* arrival, Instant now);
  void to_communicator(Communicator& communicator, Channel& channel, const Frame& frame, Arrival* arrival,
                       Instant now);
  void to_operation(Operation& operation, const Frame& frame, Arrival* arrival, Instant now);
  void on_failure(Communicator& communicator, Channel& channel, const Frame& frame, Arrival* arrival, Instant now);
  void say_goodbye(Channel& channel, const Frame& asked, const Ended& ended);
  void on_goodbye(Communicator& communicator, const Frame& frame, Instant now);
  void keep(Arrival* arrival);
  void drop(Arrival* arrival);
  void mismatch(Communicator& communicator, const Signature& mine, Rank other, const Signature& theirs,
                std::uint32_t number, Instant now);

  // engine_operations.cc
  Result<std::shared_ptr<const CompiledPlan>> find_plan(Communicator& communicator, const OperationRequest& request);
  Result<std::shared_ptr<const CompiledPlan>> make_plan(Communicator& communicator, const OperationRequest& request);
  void prepare_job(Operation& operation, const OperationRequest& request);
  void connect_operation(Operation& operation, Instant now);
  void begin_runs(Operation& operation, Instant now);
  void fail_if_orphaned(Operation& operation, Instant now);
  void deliver_early(Operation& operation, Instant now);
  void settle(Operation& operation, Instant now);
  void complete(Operation& operation, const Status& result, Instant now);
  void tell_failure(Communicator& communicator);
  static OperationKind recorded_kind(const OperationRequest& request);
  void end_runs(Operation& operation, Code result);
  std::string title(const Operation& operation) const;

  // engine_failure.cc
  void fail(Operation& operation, const Status& why, Instant now);
  void fail_communicator(Communicator& communicator, const Status& why, Instant now);
  void miss_departed(Operation& operation, const Status& why, Instant now);
  void let_all_go(Communicator& communicator, const Status& why, Instant now);
  bool only_receives(const Communicator& communicator) const;  // its operations that are under way
  void let_go(Operation& operation, const Status& why, Instant now);
  void forget_early(Communicator& communicator);

  // engine_stragglers.cc
  void begin_asking(Operation& operation, Instant now);
  void probe(Operation& operation, Instant now);
  void judge_silence(Operation& operation, Rank rank, Instant now);
  bool waits_on(const Operation& operation, Rank rank) const;
  bool is_fresh(const Operation& operation, const Straggler& straggler, Instant now) const;
  void on_probe(Communicator& communicator, Channel& channel, const Frame& frame, Instant now);
  void on_position(Communicator& communicator, const Frame& frame, Instant now);
  void learn(Operation& operation, const Straggler& news, Rank from, Instant now);
  void answer(Channel& channel, Frame asked, const Straggler& late, Instant now);
  void report_stragglers(Operation& operation, Instant now);
  void exclude_stragglers(Operation& operation, Instant now);
  void forget_reported(const Operation& operation, bool came, Instant now);
  std::string describe(const Communicator& communicator, const Straggler& late, Instant now) const;
  std::string waiting_for(const Operation& operation, Instant now) const;
  Rank missing_in(const Operation& operation, Instant now) const;

  // engine_council.cc
  void keep_input(Operation& operation, const OperationRequest& request);
  void finish(Operation& operation, Instant now);
  void spread_reached(Communicator& communicator, Instant now);
  void cannot_reach(Communicator& communicator, Rank rank, const Status& why, Instant now);
  std::size_t commit_reached(Communicator& communicator, Instant now);
  void on_reached(Communicator& communicator, const Frame& frame, Instant now);
  void freeze(Communicator& communicator, const Status& why, bool first_hand, Instant now);
  void leave_council(Communicator& communicator, const Status& why, Instant now);
  void lose_member(Communicator& communicator, const Peer& peer, Instant now);
  static Status departure(const Communicator& communicator, Rank rank);
  static bool still_needs(const Communicator& communicator, Rank rank);
  void miss_member(Communicator& communicator, const Frame& frame, Instant now);
  void look_around(Communicator& communicator, Instant now);
  void shut_out(Peer& peer);
  bool has_died(Peer& peer, Instant now) const;
  void notice_absence(Instant now);
  void suspect(Communicator& communicator, Rank rank, bool certain, Instant now);
  static void suspect_in_next(Council& council, Rank rank, Instant now);
  void send_council(Communicator& communicator, Rank rank, std::uint32_t agreement,
                    std::span<const std::byte> payload, Instant now);
  void on_council(Communicator& communicator, const Frame& frame, Arrival* arrival, Instant now);
  Status receive_next(Communicator& communicator, Rank rank, std::span<const std::byte> bytes, Instant now);
  static void open_next(Communicator& communicator, Instant now);
  void advance_council(Communicator& communicator, Instant now);
  void apply_verdict(Communicator& communicator, Instant now);
  static Status too_few(const Communicator& communicator);
  void stop_council(Communicator& communicator, const Status& why, Instant now);
  void end_operations(Communicator& communicator, Instant now);
  void conclude(Operation& operation, Instant now);
  void check_council(Communicator& communicator, Instant now);
  void stop_if_stuck(Communicator& communicator, Instant now);

  // engine_board.cc
  void watch_board(Communicator& communicator);
  void link_board(Communicator& communicator, Instant now);
  std::size_t run_board(Communicator& communicator, Instant now);
  static void ring_board(const Communicator& communicator);
  bool publish(Operation& operation, Instant now);
  bool advance_board(Operation& operation, Instant now);
  bool board_step(Operation& operation, const CompiledStep& step);
  bool board_needs(const Operation& operation, Rank rank) const;
  bool board_waits_to_publish(const Operation& operation, Rank rank) const;
  const std::byte* board_data(Operation& operation, std::uint32_t peer);
  static std::uint32_t digest_before(const Communicator& communicator, std::uint32_t number);
  void doubt_previous(const Operation& operation, Rank rank);

  EngineOptions options_;
  std::vector<std::unique_ptr<Transport>> transports_;
  Transport* segment_transport_ = nullptr;
  Transport* self_transport_ = nullptr;
  Recorder& recorder_;
  ProcessAddress address_;
  Wire wire_;

  std::unordered_map<ProcessId, std::unique_ptr<Peer>, Id128Hash> peers_;
  std::unordered_map<Link*, Channel*> channels_;
  std::unordered_map<CommunicatorKey, std::unique_ptr<Communicator>, CommunicatorKeyHash> communicators_;
  std::vector<const std::byte*> board_sources_;
  std::vector<Communicator*> boards_active_;  // with operations on their boards
  std::vector<Communicator*> councils_;       // whose members are agreeing
  std::unordered_map<CommunicatorKey, Orphans, CommunicatorKeyHash> orphans_;
  std::unordered_map<std::uint64_t, Ended> ended_;      // by id: communicators that were destroyed here lately
  std::deque<std::uint64_t> ended_order_;               // the oldest first
  std::vector<std::unique_ptr<Communicator>> leaving_;  // destroyed, with operations that transports still hold or a
                                                        // board that others still read

  std::vector<std::unique_ptr<Operation>> pool_;
  std::vector<Operation*> free_operations_;
  std::vector<Operation*> operations_;  // not complete
  std::vector<Channel*> ending_;        // with closed links, waiting for what the peer's other lanes still bring
  std::vector<Event> events_;
  std::size_t lost_peers_ = 0;
  std::uint64_t completed_ = 0;
  Instant next_timer_ = kNever;
  int probes_left_ = 0;       // of this step of the timers
  Instant now_{};             // of the last turn, if there was one
  Nanoseconds attentive_{0};  // how long this process has listened: time in which it did not run counts little
  bool has_run_ = false;

  std::uint8_t segment_record_ = 0;  // the segment transport's number in the flight recorder
  std::uint64_t segment_used_ = 0;   // of the segment, by boards
  std::vector<std::pair<std::uint64_t, std::uint64_t>> free_parts_;  // offset, bytes
};

}  // namespace tutti
