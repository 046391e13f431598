// QueuePair: one reliable connection of a link, its ring, and the posting of work. What it says of its own errors is
// what the system says; whose link that is, its owner adds.
//
// Work requests complete in the order in which they are posted, so what each was is kept in a queue here and not in
// its number, which is the link's serial: completions that outlive their queue pair are known by it. Only some ask to
// be completed: payloads, whose memory the caller waits for, frames in a slot, which others wait for, and of the rest
// every kSignalEvery-th. A completion is that of all work before it, too. What fails completes in any case.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>

#include "src/base/status.h"
#include "transports/verbs/greeting.h"
#include "transports/verbs/rail.h"

namespace tutti::verbs {

constexpr std::size_t kWritesMax = 8;  // payloads that a receiver grants at a time
// What can come before this side looks: a ring full of the smallest frames, payloads, and reports of what it has
// written itself.
constexpr std::size_t kReceiveBatch = 8;  // receives that are posted together
constexpr std::size_t kReceiveDepth = kRingUnits + kWritesMax + kRingUnits / kReportUnits + kReceiveBatch;
constexpr std::size_t kSendDepth = 48;
constexpr std::size_t kSignalEvery = 8;
// Reports may take the last places, so that they are never in each other's way with what they make room for.
constexpr std::size_t kSendDepthForFrames = 32;
constexpr std::size_t kSendDepthForAnswers = 36;
constexpr std::size_t kSendDepthForWrites = 44;
static_assert(kSignalEvery < kSendDepthForFrames);  // whoever waits for room waits for a completion

struct QueuePairOptions {
  std::uint8_t traffic_class = 0;
  std::uint8_t service_level = 0;
  Nanoseconds silence_limit{0};
};

class QueuePair {
 public:
  enum class Work : std::uint8_t { frame, report, write, marker };
  struct Posted {
    Work work = Work::frame;
    std::uint16_t slot = Rail::kNoSlot;
    bool is_signaled = false;
  };

  QueuePair(Rail& rail, std::uint64_t serial, QueuePairOptions options);
  ~QueuePair();  // after it nothing is read or written any more
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  // Makes it, with its ring and room for what comes.
  Status create();
  Offer offer() const;
  // Connects it to the peer's, with what `manager` says of the way where there is one. REQUIRES: create() went well
  using Manager = std::function<int(ibv_qp_attr& attributes, int& mask)>;
  Status connect(const Offer& peer, const PortFacts& peer_port, const Manager& manager);

  Rail& rail() const { return rail_; }
  std::uint32_t number() const { return pair_->qp_num; }
  unsigned path_mtu_bytes() const { return mtu_bytes(path_mtu_); }
  const std::byte* ring() const { return ring_.data(); }
  // The memory of the ring, which somebody may still look at.
  Pages take_ring() { return std::move(ring_); }

  bool has_room(std::size_t depth) const { return posted_.size() < depth; }
  bool is_idle() const { return posted_.empty(); }
  bool awaits_completion() const { return posted_.size() > unsignaled_; }
  // Whether a frame of so many bytes can be sent now, without a look at the ring.
  bool can_send(std::size_t depth, std::size_t bytes) const;
  // Writes a frame to unit `at` of the peer's ring. REQUIRES: can_send.
  Status send_frame(std::uint32_t at, std::uint32_t units, const std::byte* head, const std::byte* payload,
                    std::size_t bytes);
  Status send_report(std::uint32_t count);
  Status write(const std::byte* payload, std::size_t bytes, std::uint32_t local_key, std::uint64_t address,
               std::uint32_t remote_key, std::uint64_t number);
  // No completion will say when the work that is under way is done, unless a marker is sent.
  bool needs_marker() const { return unsignaled_ > 0; }
  Status send_marker();
  // The oldest work that asked for it is done, which is returned, and all before it.
  Work complete();
  // One that came has been taken: makes room for another one.
  Status receive_one();

 private:
  int connect_by(const Manager& manager);
  int connect_to(const Offer& peer, const PortFacts& peer_port);
  void set_retries(ibv_qp_attr& attributes) const;
  Status post(ibv_send_wr& request, Posted posted);
  Status post_receives(std::size_t count);
  Status make_ring();

  Rail& rail_;
  const std::uint64_t serial_;
  const QueuePairOptions options_;
  ibv_qp* pair_ = nullptr;
  bool has_reserved_ = false;
  Pages ring_;
  Registration ring_registration_;
  std::size_t inline_bytes_ = 0;
  std::uint32_t first_number_ = 0;
  ibv_mtu path_mtu_ = IBV_MTU_1024;
  std::uint64_t peer_ring_ = 0;
  std::uint32_t peer_ring_key_ = 0;
  std::deque<Posted> posted_;
  std::size_t unsignaled_ = 0;        // of it, behind the last that asked to be completed
  std::size_t receives_missing_ = 0;  // of kReceiveDepth
};

}  // namespace tutti::verbs
