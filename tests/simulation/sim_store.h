// SimStore: the job's store in a world: calls and answers take time, disks are slow, answers get lost, it may die,
// with all that it holds, and come back. What a call that ends without an answer has done stays open, as the contract
// of Store says.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "src/membership/store.h"
#include "src/membership/store_table.h"
#include "tests/simulation/world.h"

namespace tutti {

class SimStore {
 public:
  explicit SimStore(World& world) : world_(world) {}

  // How a process calls it.
  std::unique_ptr<Store> client(Process& process);

  // Faults.
  void set_disk(Nanoseconds slowest) { disk_max_ = slowest; }  // each call takes up to so long
  void set_loss(double share) { loss_ = share; }               // of answers, and of the calls themselves
  void separate(const Process& process) { separate_.insert(process.number); }
  void join(const Process& process) { separate_.erase(process.number); }
  void die();
  void come_back() { up_ = true; }

  std::uint64_t lost() const { return lost_; }

 private:
  friend class SimStoreClient;

  // A call on its way: tries to answer itself from the table; nothing of it refers to the caller's stack.
  struct Call {
    std::function<bool(StoreTable&)> serve;  // true: it has its answer
    bool has_answer = false;                 // and the caller has it
    bool is_broken = false;                  // the connection ended before
  };

  void submit(const Process& process, const std::shared_ptr<Call>& call);
  void take(const std::shared_ptr<Call>& call, std::uint64_t life);
  void answer(const std::shared_ptr<Call>& call);
  void break_off(const std::shared_ptr<Call>& call);
  void serve_waiting();
  Nanoseconds way() { return std::chrono::microseconds(20) + world_.some_time(std::chrono::microseconds(80)); }

  World& world_;
  StoreTable table_;
  std::vector<std::shared_ptr<Call>> waiting_;  // for keys that are not there yet
  std::set<int> separate_;
  Nanoseconds disk_max_{0};
  double loss_ = 0;
  bool up_ = true;
  std::uint64_t life_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace tutti
