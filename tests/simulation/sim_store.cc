#include "tests/simulation/sim_store.h"

#include <utility>

#include "src/base/format.h"

namespace tutti {

class SimStoreClient final : public Store {
 public:
  SimStoreClient(SimStore& store, Process& process) : store_(store), process_(process) {}

  Status set(std::string_view key, std::string_view value, Instant deadline) override {
    const auto store = [key = std::string(key), value = std::string(value)](StoreTable& table) {
      const Status done = table.set(key, value);
      return std::optional(done ? Result<bool>(true) : Result<bool>(done));
    };
    return flat(call<Result<bool>>(store, deadline)).status();
  }

  Result<std::string> get(std::string_view key, Instant deadline) override {
    return call<std::string>(
        [key = std::string(key)](StoreTable& table) -> std::optional<std::string> {
          const std::string* const value = table.find(key);
          return value != nullptr ? std::optional(*value) : std::nullopt;
        },
        deadline);
  }

  Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                std::string_view desired, Instant deadline) override {
    const std::optional<std::string> before = expected ? std::optional<std::string>(*expected) : std::nullopt;
    return flat(call<Result<Swap>>(
        [key = std::string(key), before, desired = std::string(desired)](StoreTable& table)
            -> std::optional<Result<Swap>> { return table.compare_and_swap(key, before, desired); },
        deadline));
  }

  Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) override {
    return flat(call<Result<std::int64_t>>(
        [key = std::string(key), delta](StoreTable& table) -> std::optional<Result<std::int64_t>> {
          return table.add(key, delta);
        },
        deadline));
  }

  Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) override {
    using Entries = std::vector<std::pair<std::string, std::string>>;
    Result<Entries> found = call<Entries>(
        [prefix = std::string(prefix), count](StoreTable& table) -> std::optional<Entries> {
          return table.count(prefix) >= count ? std::optional(table.entries(prefix)) : std::nullopt;
        },
        deadline);
    return found ? Gathered{{}, *std::move(found)} : Gathered{found.status(), {}};
  }

  Result<std::int64_t> remove(std::string_view prefix, Instant deadline) override {
    return call<std::int64_t>([prefix = std::string(prefix)](
                                  StoreTable& table) -> std::optional<std::int64_t> { return table.remove(prefix); },
                              deadline);
  }

  std::string address() const override { return "sim:"; }

 private:
  template <typename Value>
  static Result<Value> flat(Result<Result<Value>> nested) {
    return nested ? *std::move(nested) : Result<Value>(nested.status());
  }

  template <typename Answer, typename Serve>
  Result<Answer> call(Serve serve, Instant deadline) {
    const auto answer = std::make_shared<std::optional<Answer>>();
    const auto made = std::make_shared<SimStore::Call>();
    made->serve = [answer, serve = std::move(serve)](StoreTable& table) {
      *answer = serve(table);
      return answer->has_value();
    };
    store_.submit(process_, made);
    store_.world_.wait(
        process_, [&] { return made->has_answer || made->is_broken; }, deadline);
    if (made->has_answer) return **answer;
    if (made->is_broken)
      return Status(Code::peer_lost, "the simulated store closed the connection (ECONNRESET, 104)");
    return Status(Code::timeout, "the simulated store did not answer in time");
  }

  SimStore& store_;
  Process& process_;
};

std::unique_ptr<Store> SimStore::client(Process& process) { return std::make_unique<SimStoreClient>(*this, process); }

void SimStore::submit(const Process& process, const std::shared_ptr<Call>& call) {
  if (separate_.contains(process.number) || world_.random().chance(loss_)) {
    ++lost_;
    return;  // into the void: its deadline ends it
  }
  world_.at(world_.now() + way() + world_.some_time(disk_max_), [this, call, life = life_] { take(call, life); });
}

void SimStore::take(const std::shared_ptr<Call>& call, std::uint64_t life) {
  if (!up_ || life != life_) return break_off(call);
  if (!call->serve(table_)) {
    waiting_.push_back(call);
    return;
  }
  answer(call);
  serve_waiting();
}

void SimStore::answer(const std::shared_ptr<Call>& call) {
  if (world_.random().chance(loss_)) {
    ++lost_;
    if (world_.random().chance(0.5)) break_off(call);
    return;
  }
  world_.at(world_.now() + way() + world_.some_time(disk_max_), [call] { call->has_answer = !call->is_broken; });
}

void SimStore::break_off(const std::shared_ptr<Call>& call) {
  world_.at(world_.now() + way(), [call] { call->is_broken = !call->has_answer; });
}

void SimStore::serve_waiting() {
  const auto waiting = std::move(waiting_);
  waiting_.clear();
  for (const auto& call : waiting) {
    if (call->serve(table_)) {
      answer(call);
    } else {
      waiting_.push_back(call);
    }
  }
}

void SimStore::die() {
  world_.tell("the store dies");
  up_ = false;
  ++life_;
  table_ = StoreTable();
  for (const auto& call : std::exchange(waiting_, {})) break_off(call);
}

}  // namespace tutti
