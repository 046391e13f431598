// Communicator: an id, an ordered list of members, and what the operations of this rank on it need: numbers, plans,
// the board, what came early, what others said they called. It opens nothing; the engine owns and drives it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/engine/council.h"
#include "src/engine/operation.h"
#include "src/planning/planner.h"
#include "src/transport/board.h"

namespace tutti {

struct Member {
  Peer* peer = nullptr;
  bool gone = false;               // has destroyed its end
  std::uint64_t board_offset = 0;  // of its part in its process's segment; kNoBoard: it has none
  std::uint32_t goodbyes = 0;      // of the lanes of its process, before it is gone
  std::uint32_t left_after = 0;    // elastic, gone: the operation up to which it had completed all
  bool left_for_good = false;      // elastic, gone: it is no member of a successor either
  bool left_properly = false;      // elastic, gone: it has said that it leaves
};

constexpr std::uint64_t kNoBoard = ~0ull;

struct EarlyFrame {
  Frame frame;
  Arrival* arrival = nullptr;  // null for frames without a payload
  Channel* channel = nullptr;  // that it came by
};

class Communicator {
 public:
  std::uint64_t id() const { return id_; }
  Rank rank() const { return rank_; }
  Rank size() const { return static_cast<Rank>(members_.size()); }
  const std::string& name() const { return name_; }
  const Status& failure() const { return failure_; }
  const Council* council() const { return council_.get(); }  // null: not elastic
  bool verdict_excludes_self() const { return council_->verdict.has_lost(rank_); }
  // It has said so: nobody has lost it.
  bool has_left(Rank rank) const { return members_[static_cast<std::size_t>(rank)].left_properly; }
  const Planner& planner() const { return *planner_; }
  std::size_t pending() const { return operations_; }  // operations not complete
  // "rank 5 (node07 pid 4242)"
  std::string describe(Rank rank) const;

 private:
  friend class Engine;

  // Point-to-point operations and what came for them: by the other rank, its direction, and the number.
  static std::uint64_t point_key(Rank other, bool sends, std::uint32_t number) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(other)) << 33 |
           static_cast<std::uint64_t>(sends) << 32 | number;
  }

  // A call on a frozen one is taken, too: it ends with the verdict, as those before it.
  bool takes_operations() const {
    return failure_.is_ok() || (council_ != nullptr && council_->stage == Council::Stage::frozen);
  }

  Operation* find(std::uint32_t number) const {
    const std::uint32_t index = number - first_number_;
    return index < active_.size() ? active_[index] : nullptr;
  }

  // Something may come by the board.
  bool uses_board() const {
    return !on_board_.empty() || (council_ != nullptr && board_wanted_ && !active_.empty() &&
                                  active_.front()->state_ == Operation::State::committing);
  }

  std::uint64_t id_ = 0;
  std::string name_;
  Rank rank_ = 0;
  std::vector<Member> members_;
  std::unique_ptr<Planner> planner_;
  Nanoseconds timeout_{-1};
  StragglerPolicy stragglers_;
  Instant came_{};  // when a straggler that had been reported came after all
  struct Reported {
    Rank rank;
    const Operation* by;  // the first that waited for it
  };
  std::vector<Reported> reported_;  // stragglers; an operation's go with it
  std::uint64_t eager_bytes_ = 0;
  Status failure_;
  bool failure_told_ = false;
  std::size_t gone_ = 0;  // members that have destroyed their ends
  std::uint32_t record_ = 0;
  std::uint32_t splits_ = 0;

  std::uint32_t next_number_ = 1;
  std::uint32_t first_number_ = 1;  // of active_
  std::deque<Operation*> active_;   // by number; null: complete
  std::size_t operations_ = 0;      // not complete, all kinds
  std::unordered_map<std::uint64_t, Operation*> points_;
  std::vector<std::uint32_t> sends_to_;  // by rank: numbers given
  std::vector<std::uint32_t> receives_from_;
  std::unordered_map<std::uint32_t, std::vector<EarlyFrame>> early_;
  std::unordered_map<std::uint64_t, std::vector<EarlyFrame>> early_points_;

  static constexpr std::uint32_t kHistory = 256;  // calls remembered, for probes about complete operations
  std::vector<Signature> history_ = std::vector<Signature>(kHistory);

  std::unique_ptr<Council> council_;  // elastic communicators have one
  bool leaves_ = false;               // this rank does, and says so

  std::unique_ptr<Board> board_;
  bool board_wanted_ = false;             // every member has a part
  bool board_watched_ = false;            // the engine looks at it in each turn
  bool board_linked_ = false;             // every member's part is mapped here
  std::vector<Channel*> board_channels_;  // by rank; null: this rank
  std::deque<Operation*> on_board_;       // in order
  std::uint32_t board_published_ = 0;     // the last number published by this rank
  std::uint32_t doubted_ = 0;             // the last operation before which somebody seems to have called another one

  struct PlanKey {
    CallKind kind;
    std::uint8_t element_bytes;
    bool in_place;
    bool sends;
    Rank root;
    std::uint64_t count;
    std::uint64_t algorithm;
    bool operator==(const PlanKey&) const = default;
  };
  struct PlanEntry {
    PlanKey key;
    std::shared_ptr<const CompiledPlan> plan;
  };
  std::vector<PlanEntry> plans_;  // most recently used last used index first; bounded
};

}  // namespace tutti
