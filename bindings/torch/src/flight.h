// Flight: one operation of a process group, as c10d::Work.
//
// Who completes it. A thread that waits drives Tutti itself, by waiting for the requests: no thread hands anything to
// another. Where somebody else wants to hear of the end (a Future, a copy to be written back), Tutti's notification
// wakes a worker, which tests the requests. One thread at a time is at the requests (`is_driven_`); whoever comes
// meanwhile to look asks it to look again (`again_`), so no end is missed. Flights live in their group's list until
// they are complete, whoever still holds them, and with them all memory that the operation uses.
#pragma once

#include <ATen/ATen.h>
#include <c10/util/SmallVector.h>

#include <chrono>
#include <functional>
#include <optional>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "bindings/torch/src/group.h"
#include "bindings/torch/src/tensors.h"

namespace tutti::pytorch {

using Instant = std::chrono::steady_clock::time_point;
using Start = std::function<tutti_status(tutti_comm*, const tutti_call*, tutti_request**)>;

// What to start, and what belongs to it. Outputs and inputs are as the caller knows them.
struct Launch {
  c10d::OpType type = c10d::OpType::UNKNOWN;
  const char* title = nullptr;  // in profiles
  Milliseconds timeout{0};
  bool is_async = true;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> outputs;
  std::vector<at::Tensor> memory;                      // that stands in for them
  std::vector<std::byte> extra;                        // a factor, a header
  c10::SmallVector<Start, 2> starts;                   // more than one start together
  c10::SmallVector<std::function<void()>, 1> endings;  // write results back
};

class Flight final : public c10d::Work {
 public:
  // What a receive is for.
  struct Receive {
    int sender = -1;  // -1: any
    std::int64_t tag = 0;
    std::byte* memory = nullptr;
    std::size_t bytes = 0;

    bool fits(int rank, std::int64_t its_tag) const { return (sender < 0 || sender == rank) && tag == its_tag; }
  };

  Flight(std::shared_ptr<Group> group, Launch launch, std::uint64_t number);

  // Starts it; throws if it cannot be started. Called once, before anybody else has it.
  void start();
  void receive(Receive receive);
  const Receive& wanted() const { return *receive_; }

  bool isCompleted() override;
  bool wait(Milliseconds timeout = kNoTimeout) override;
  std::vector<at::Tensor> result() override { return launch_.outputs; }
  int sourceRank() const override { return source_; }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  c10::intrusive_ptr<c10::ivalue::Future> getFutureResult() override;
  std::uint64_t getSequencenumber() const override { return number_; }
  float getDuration() const override;
  void abort() override { group_->abort("abort() of one of its operations was called"); }

  // Completes it if its operation is; never waits.
  void poll();
  bool is_complete() const;
  // Whether it uses memory that the other one writes, or the other way round.
  bool touches(const Launch& other) const;
  bool is_point_to_point() const { return c10d::isP2POp(opType_); }

  // By the mailbox: the message of a receive comes by this request (null: it is there), or does not come.
  void matched(int sender, tutti_request* request, std::function<void()> ending);
  void failed(const Failure& failure);
  void wait_for_match(std::chrono::nanoseconds limit);
  Milliseconds time_left() const;

 private:
  static void notified(void* flight);
  void follow();                                 // the list, before the start
  bool advance(std::chrono::nanoseconds limit);  // by who drives; whether it is complete
  void stop_driving(std::unique_lock<std::mutex>& lock);
  void watch();
  void complete();
  void tell();
  bool is_followed() const { return future_ || !launch_.endings.empty() || group_->on_completion; }

  const std::shared_ptr<Group> group_;
  Launch launch_;
  const std::uint64_t number_;
  const Instant begun_ = std::chrono::steady_clock::now();
  const Instant deadline_;
  Instant ended_{};
  Flights::iterator place_;
  std::optional<Receive> receive_;

  // Under Work's mutex.
  bool is_driven_ = false;
  bool again_ = false;
  bool is_matched_ = true;  // no header is waited for
  c10::intrusive_ptr<c10::ivalue::Future> future_;
  bool is_told_ = false;  // the future, or somebody is about to

  // By who drives; by matched() and failed() before anybody can.
  c10::SmallVector<tutti_request*, 2> requests_;
  Failure failure_;
  bool is_watched_ = false;
  int source_ = -1;
};

}  // namespace tutti::pytorch
