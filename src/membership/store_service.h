// StoreService: the store's side of the protocol as a state machine without I/O: requests of numbered clients and the
// time go in, encoded replies come out, at once or when what a client waits for is there or its time is up.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/membership/store_protocol.h"
#include "src/membership/store_table.h"

namespace tutti {

class StoreService {
 public:
  using Client = std::uint64_t;

  // A whole frame. Clients that gathered the same keys at the same moment, as all ranks of a job do, share one.
  struct Answer {
    Client client;
    std::shared_ptr<const std::string> frame;
  };

  explicit StoreService(std::size_t table_bytes) : table_(table_bytes) {}

  // REQUIRES: the client's last request has been answered.
  void handle(Client client, const StoreRequest& request, Instant now);

  void forget(Client client);  // whatever it waits for
  void expire(Instant now);    // answers those whose time is up
  Instant next_deadline() const { return deadlines_.empty() ? kNever : deadlines_.begin()->first; }

  std::vector<Answer> take_answers() { return std::exchange(answers_, {}); }

 private:
  struct Wait {
    StoreOperation operation = StoreOperation::get;
    std::string key;
    std::size_t count = 0;
    Instant deadline = kNever;
  };
  struct GatherGroup {
    std::size_t present = 0;                           // keys with the prefix
    std::set<std::pair<std::size_t, Client>> waiters;  // by the count each wants
  };
  using Frame = std::shared_ptr<const std::string>;

  void handle_get(Client client, const StoreRequest& request, Instant now);
  void handle_gather(Client client, const StoreRequest& request, Instant now);
  StoreReply change(const StoreRequest& request);
  void begin_wait(Client client, Wait wait);
  void answer(Client client, const StoreReply& reply);
  void answer_waiters(const std::string& key, bool inserted);
  void answer_gathers(std::vector<std::pair<Client, Wait>> waits);
  Frame gather_frame(const std::string& prefix, std::size_t count) const;

  StoreTable table_;
  std::unordered_map<Client, Wait> waits_;
  std::set<std::pair<Instant, Client>> deadlines_;
  std::unordered_map<std::string, std::set<Client>> getters_;
  std::map<std::string, GatherGroup> gatherers_;
  std::vector<Answer> answers_;
};

}  // namespace tutti
