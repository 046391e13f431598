// Group: the communicator under a process group, and what is under way on it. Shared by the backend, which torch
// holds, and by its operations, which may outlive it.
#pragma once

#include <c10/util/intrusive_ptr.h>
#include <tutti/tutti.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "bindings/torch/src/failure.h"
#include "bindings/torch/src/mailbox.h"

namespace tutti::pytorch {

class Flight;

using Milliseconds = std::chrono::milliseconds;
using Flights = std::list<c10::intrusive_ptr<Flight>>;

class Group : public std::enable_shared_from_this<Group> {
 public:
  struct Options {
    std::string name;      // in messages
    std::string settings;  // Tutti's, before the environment's
    std::string attempt;   // part of every key: a restarted job finds the keys of the attempt before in its store
    Milliseconds timeout;
  };

  // Collective over the group. Ranks meet in torch's store, which is not used any more afterwards.
  static std::shared_ptr<Group> create(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                       const Options& options);
  Group(tutti_comm* comm, int rank, int size, Options options);
  ~Group() { close(); }

  int rank() const { return rank_; }
  int size() const { return size_; }
  const Options& options() const { return options_; }
  Mailbox& mailbox() { return mailbox_; }

  Milliseconds timeout() const { return timeout_.load(); }
  void set_timeout(Milliseconds timeout) { timeout_.store(timeout); }

  // Calls `act(comm)`. After close() nothing is called, and the failure says so.
  template <typename Act>
  Failure use(Act&& act) {
    const std::shared_lock lock(in_use_);
    if (comm_ == nullptr) return {TUTTI_INVALID, "it is shut down; make a new group", -1};
    return Failure::of(act(comm_));
  }

  // Ends everything that is under way with an error, here and on the other ranks. Does not wait.
  void abort(const char* reason);
  // Waits for what is under way, so long at most, then closes.
  void shut_down(Milliseconds limit);
  // Ends this rank's part. What is under way ends with an error.
  void close();

  // Operations that are not complete. Each leaves by itself when it is.
  Flights::iterator add(c10::intrusive_ptr<Flight> flight);
  void remove(Flights::iterator place);
  std::vector<c10::intrusive_ptr<Flight>> flights();
  bool has_flights();
  // Lets go of operations that are complete and that nobody has waited for.
  void look_after();

  // Told of every operation that has ended; empty: nobody is.
  std::function<void(std::shared_ptr<c10d::WorkInfo>)> on_completion;

 private:
  const int rank_;
  const int size_;
  const Options options_;
  std::atomic<Milliseconds> timeout_;
  std::shared_mutex in_use_;  // exclusively: by whoever ends the communicator
  tutti_comm* comm_;
  std::mutex mutex_;
  Flights flights_;
  Mailbox mailbox_;
};

// Shuts down all groups of the process that are left: at the end of the interpreter, whose memory they use.
void shut_down_all(Milliseconds limit);

}  // namespace tutti::pytorch
