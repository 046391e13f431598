// What a store that does not answer costs the members of an elastic communicator: less time than a member may be
// silent, and no member. In virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "src/api/creation.h"
#include "tests/simulation/sim_store.h"
#include "tests/simulation/world.h"

namespace tutti {
namespace {

constexpr int kFounders = 2;

struct Outcome {
  tutti_status status = TUTTI_INTERNAL;
  Nanoseconds took{0};
  int members = 0;
};

// Two that have founded a communicator, and a third that asks to join.
class Three {
 public:
  using Call = std::function<tutti_status(tutti_comm*)>;

  // Both founders call it once the third has asked, of whom one may have no answer from the store any more; the third
  // calls `then` when it has been let in.
  void run(int without_store, const Call& call, const Call& then = {}) {
    for (int number = 0; number < kFounders; ++number) {
      world_.start([this, number, without_store, &call](Process& self) { found(self, number, without_store, call); });
    }
    world_.start([this, &then](Process& self) { ask(self, then); });
    const auto is_over = [](const auto& process) { return process->fiber->is_over(); };
    const auto are_over = [&] { return std::all_of(world_.processes().begin(), world_.processes().end(), is_over); };
    EXPECT_TRUE(world_.run(are_over, std::chrono::seconds(60))) << "hangs";
  }

  // Of both founders; and neither has waited longer than a member may be silent.
  void expect(tutti_status status, int members) const {
    for (const Outcome& founder : founders_) {
      EXPECT_EQ(founder.status, status);
      EXPECT_EQ(founder.members, members);
      EXPECT_LT(founder.took, world_.options().silence_limit);
    }
  }
  bool has_joined() const { return has_joined_; }

 private:
  std::unique_ptr<tutti_comm> blank(Process& self, Store& store) const {
    auto comm = std::make_unique<tutti_comm>();
    comm->runtime = self.runtime;
    comm->settings.elastic = Elastic::on;
    comm->settings.shm_board_bytes = 512;
    comm->settings.segment_bytes = 1024;
    comm->settings.eager_bytes = 4096;
    comm->settings.timeout = std::chrono::seconds(4);
    comm->settings.connect_timeout = std::chrono::seconds(3);
    comm->settings.heartbeat_timeout = world_.options().silence_limit;
    comm->store = &store;
    comm->group = "comm/sim/world";
    comm->launch.store = "sim:";
    return comm;
  }

  void found(Process& self, int number, int without_store, const Call& call) {
    const std::unique_ptr<Store> store = store_.client(self);
    std::unique_ptr<tutti_comm> comm = blank(self, *store);
    const Result<Invitation> mine = invite(*comm);
    ASSERT_TRUE(mine.is_ok());
    invitations_[static_cast<std::size_t>(number)] = *mine;
    ++met_;
    world_.wait(
        self, [this] { return met_ == kFounders; }, kNever);
    ASSERT_TRUE(install(*comm, invitations_[0].nonce, "world", number, invitations_).is_ok());
    pause(self, std::chrono::milliseconds(2));  // the third asks
    if (number == without_store) store_.separate(self);
    Outcome& outcome = founders_[static_cast<std::size_t>(number)];
    const Instant before = world_.now();
    outcome.status = call(comm.get());
    outcome.took = world_.now() - before;
    tutti_comm_size(comm.get(), &outcome.members);
    pause(self, std::chrono::seconds(5));  // the third has its answer, or none
    tutti_comm_destroy(comm.release());
  }

  void ask(Process& self, const Call& then) {
    const std::unique_ptr<Store> store = store_.client(self);
    std::unique_ptr<tutti_comm> comm = blank(self, *store);
    has_joined_ = join(*comm, "world", world_.now() + std::chrono::seconds(2)).is_ok();
    if (!has_joined_) return;
    if (then) {
      EXPECT_EQ(then(comm.get()), TUTTI_OK) << tutti_last_error();
    }
    tutti_comm_destroy(comm.release());
  }

  void pause(Process& self, Nanoseconds time) {
    world_.wait(
        self, [] { return false; }, world_.now() + time);
  }

  World world_{1, {}};
  SimStore store_{world_};
  std::vector<Invitation> invitations_ = std::vector<Invitation>(kFounders);
  int met_ = 0;
  std::vector<Outcome> founders_ = std::vector<Outcome>(kFounders);
  bool has_joined_ = false;
};

tutti_refresh_options four_seconds() {
  tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
  options.timeout_ns = 4'000'000'000;
  return options;
}

tutti_status refresh(tutti_comm* comm) {
  const tutti_refresh_options options = four_seconds();
  return tutti_comm_refresh(comm, &options);
}

TEST(SimulatedStore, AMemberWithoutItLetsTheOthersGoOnWithWhoJoins) {
  Three three;
  three.run(1, refresh);
  three.expect(TUTTI_OK, 3);
  EXPECT_TRUE(three.has_joined());
}

TEST(SimulatedStore, WhoSpeaksForThoseWhoWaitAndHasNoneLetsTheOthersGoOnWithoutThem) {
  Three three;
  three.run(0, refresh);
  three.expect(TUTTI_OK, 2);
  EXPECT_FALSE(three.has_joined());
}

// As when it does not answer those who have let somebody in, nor the one that was let in.
TEST(SimulatedStore, AMemberIsNotLetInOnceMoreWhenTheStoreHasKeptWhatItAskedWith) {
  Three three;
  const auto twice = [](tutti_comm* comm) {
    const Instant soon = comm->runtime->now() + std::chrono::seconds(1);
    const Store::Gathered asked = comm->store->gather(comm->group + "/waiting/", 1, soon);
    EXPECT_EQ(refresh(comm), TUTTI_OK) << tutti_last_error();
    for (const auto& [key, value] : asked.entries) EXPECT_TRUE(comm->store->set(key, value, soon).is_ok());
    return refresh(comm);
  };
  three.run(-1, twice, refresh);
  three.expect(TUTTI_OK, 3);
}

TEST(SimulatedStore, AGrowWithoutItChangesNothingAndEndsNothing) {
  Three three;
  three.run(0, [](tutti_comm* comm) {
    const tutti_refresh_options options = four_seconds();
    const tutti_status grown = tutti_comm_grow(comm, &options);
    EXPECT_EQ(tutti_comm_agree(comm, nullptr, nullptr), TUTTI_OK) << tutti_last_error();
    return grown;
  });
  three.expect(TUTTI_TIMEOUT, 2);
}

}  // namespace
}  // namespace tutti
