#include "tests/simulation/scenario.h"

#include <algorithm>
#include <utility>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::uint64_t kBoardBytes = 512;

// How many boards the process could still have.
std::size_t room_for_boards(Process& process) {
  return process.runtime->with_engine([](Engine& engine, Instant) {
    std::vector<std::uint64_t> parts;
    for (std::uint64_t part = 0; (part = engine.reserve_board(kBoardBytes)) != kNoBoard;) parts.push_back(part);
    for (const std::uint64_t part : parts) engine.cancel_board(part, kBoardBytes);
    return parts.size();
  });
}

std::size_t random_size(Random& random) {
  const double which = random.unit();
  if (which < 0.9) return 2 + random.below(6);
  if (which < 0.997) return 8 + random.below(9);
  return 17 + random.below(48);
}

}  // namespace

WorldOptions Scenario::world_options(std::uint64_t seed, bool tells) {
  Random random(seed ^ 0x3017d);
  WorldOptions options;
  const int kHosts[] = {1, 1, 1, 2, 3, 64};
  options.hosts = kHosts[random.below(std::size(kHosts))];
  options.network.pending_probability = 0.5;
  options.network.rendezvous_probability = 0.5;
  options.network.latency_max = std::chrono::microseconds(random.chance(0.7) ? 50 : 500);
  options.tells = tells;
  return options;
}

Scenario::Scenario(std::uint64_t seed, Marks& marks, bool tells)
    : seed_(seed),
      marks_(marks),
      world_(seed, world_options(seed, tells)),
      store_(world_),
      observer_(marks),
      job_{world_, store_, observer_, marks} {
  Random& random = world_.random();
  job_.settings.elastic = random.chance(0.3) ? Elastic::step : Elastic::on;
  job_.settings.elastic_slots = random.chance(0.3);
  if (job_.settings.elastic == Elastic::step) observer_.goes_by_step();
  job_.settings.shm_board_bytes = kBoardBytes;
  job_.settings.segment_bytes = random.chance(0.5) ? 64 : 1024;
  job_.settings.eager_bytes = random.chance(0.5) ? 128 : 4096;
  job_.settings.connect_timeout = std::chrono::seconds(3);
  job_.settings.heartbeat_timeout = world_.options().silence_limit;
  job_.founders = random_size(random);
  job_.invitations.resize(job_.founders);
  job_.epochs = random.below(4);
  job_.epochs_max = job_.epochs + 8;
  job_.call_timeout = std::chrono::milliseconds(random.chance(0.5) ? 300 : 2'000);
  job_.refresh_timeout = std::chrono::milliseconds(random.chance(0.3) ? 400 : 4'000);
  job_.join_timeout = std::chrono::milliseconds(random.chance(0.3) ? 1 + random.below(5) : 1'500);
  temper_ = random.chance(0.12)                                 ? Temper::calm
            : world_.options().hosts == 1 && random.chance(0.6) ? Temper::gentle
                                                                : Temper::rough;
  if (temper_ == Temper::calm) job_.join_timeout = std::chrono::milliseconds(1'500);
  constexpr std::uint64_t kAmong = 16;  // by the seed's number: the courses of the others stay as they are
  if (seed % kAmong == 5 && temper_ != Temper::calm && job_.refresh_timeout > std::chrono::seconds(1))
    job_.dawdler = static_cast<int>(seed / kAmong % job_.founders);
  job_.dawdler_leaves = seed / kAmong % 3 == 0;
}

void Scenario::start_founders() {
  for (std::size_t i = 0; i < job_.founders; ++i) {
    Process& process = world_.start([this](Process& self) {
      Participant member(job_, self);
      members_[self.number] = &member;
      ends_[self.number] = member.found_and_work();
      members_.erase(self.number);
      end_sometimes(self);
    });
    boards_[process.number] = room_for_boards(process);
  }
}

void Scenario::start_joiner() {
  --joiners_to_come_;
  Process& process = world_.start([this](Process& self) {
    for (int lives = 0; lives < 2; ++lives) {  // who is left behind comes back as somebody new
      Participant member(job_, self);
      members_[self.number] = &member;
      ends_[self.number] = member.join_and_work();
      members_.erase(self.number);
      if (ends_[self.number] != Participant::End::left_behind) return end_sometimes(self);
    }
  });
  boards_[process.number] = room_for_boards(process);
}

// As programs do that have nothing more to do; not so soon after their links have closed that it counts as one death
// with them (Engine::has_died).
void Scenario::end_sometimes(Process& process) {
  const Participant::End end = ends_[process.number];
  if ((end != Participant::End::finished && end != Participant::End::left) || !world_.random().chance(0.3)) return;
  const Nanoseconds later = std::chrono::milliseconds(250) + world_.some_time(std::chrono::milliseconds(1));
  world_.at(world_.now() + later, [this, &process] { world_.crash(process); });
}

Process* Scenario::somebody() {
  std::vector<Process*> living;
  for (const auto& process : world_.processes()) {
    if (process->alive && !process->fiber->is_over()) living.push_back(process.get());
  }
  return living.empty() ? nullptr : living[world_.random().below(living.size())];
}

Participant* Scenario::member_of(const Process& process) {
  const auto found = members_.find(process.number);
  return found != members_.end() && process.alive ? found->second : nullptr;
}

void Scenario::some_time(std::function<void()> act) {
  Random& random = world_.random();
  if (random.chance(0.5)) return world_.at(world_.now() + world_.some_time(horizon()), std::move(act));
  Process& process = *world_.processes()[random.below(world_.processes().size())];
  process.at_wait.emplace(1 + random.below(40), [this, act = std::move(act)] {
    world_.at(world_.now() + world_.some_time(std::chrono::microseconds(200)), act);
  });
}

void Scenario::plan() {
  Random& random = world_.random();
  job_.busy_until = world_.now() + world_.some_time(horizon());
  joiners_to_come_ = random.chance(0.6) ? 1 + random.below(3) : 0;
  for (std::size_t i = joiners_to_come_; i > 0; --i)
    world_.at(world_.now() + world_.some_time(horizon()), [this] { start_joiner(); });
  if (temper_ == Temper::calm) return;
  for (std::uint64_t faults = 1 + random.below(4); faults > 0; --faults) plan_one();
}

void Scenario::plan_one() {
  Random& random = world_.random();
  const double which = random.unit();
  if (which < 0.45) {
    const bool restarts = random.chance(0.5);
    some_time([this, restarts] {
      Process* const victim = somebody();
      if (victim == nullptr) return;
      ++marks_.crashed;
      world_.crash(*victim);
      if (!restarts) return;
      ++joiners_to_come_;
      world_.at(world_.now() + world_.some_time(horizon()), [this] { start_joiner(); });
    });
  } else if (which < 0.52) {
    some_time([this] {
      Process* const who = somebody();
      if (Participant* const member = who != nullptr ? member_of(*who) : nullptr) member->revoke();
    });
  } else if (which < 0.58) {
    some_time([this] {
      Process* const who = somebody();
      if (Participant* const member = who != nullptr ? member_of(*who) : nullptr) member->wants_to_leave();
    });
  } else if (which < 0.75 || temper_ == Temper::gentle) {
    plan_store_trouble();
  } else if (which < 0.9) {
    plan_network_trouble();
  } else {
    plan_stop();
  }
}

void Scenario::plan_store_trouble() {
  Random& random = world_.random();
  const std::uint64_t which = random.below(4);
  const Nanoseconds lasts = random.chance(0.5) ? Nanoseconds(std::chrono::seconds(1)) : world_.some_time(horizon());
  some_time([this, which, lasts] {
    const Instant end = world_.now() + lasts;
    if (which == 0) {
      store_.set_disk(std::chrono::milliseconds(3));
      world_.at(end, [this] { store_.set_disk(Nanoseconds(0)); });
    } else if (which == 1) {
      store_.set_loss(0.3);
      world_.at(end, [this] { store_.set_loss(0); });
    } else if (which == 2) {
      store_.die();
      if (world_.random().chance(0.7)) world_.at(end, [this] { store_.come_back(); });
    } else if (Process* const who = somebody()) {
      store_.separate(*who);
      world_.at(end, [this, who] { store_.join(*who); });
    }
  });
}

void Scenario::plan_network_trouble() {
  Random& random = world_.random();
  const std::uint64_t which = random.below(4);
  const Nanoseconds lasts = random.chance(0.3) ? 3 * world_.options().silence_limit : world_.some_time(horizon());
  some_time([this, which, lasts] {
    Process* const one = somebody();
    Process* const other = somebody();
    if (one == nullptr || one == other) return;
    if (which == 0 && one->host == other->host) return;  // between two that live on one host no link is cut, nor ...
    SimNetwork& network = world_.network();
    world_.tell("trouble {} between {} and {}", which, one->number, other->number);
    if (which == 0) return network.cut(one->id, other->id);
    if (which == 1) return network.set_path(one->id, other->id, {std::chrono::milliseconds(20), 1e8});
    // ... blocked. A partition of some from the others, one way or both.
    const int above = one->number;
    const auto each_pair = [this, above](auto&& act) {
      for (const auto& a : world_.processes()) {
        for (const auto& b : world_.processes()) {
          if (a->number <= above && b->number > above && a->host != b->host) act(*a, *b);
        }
      }
    };
    const bool both = which == 2;
    each_pair([&](Process& a, Process& b) {
      network.partition(a.id, b.id);
      if (both) network.partition(b.id, a.id);
    });
    world_.at(world_.now() + lasts, [this] { world_.network().heal_all(); });
  });
}

void Scenario::plan_stop() {
  const bool is_long = world_.random().chance(0.5);
  const Nanoseconds lasts = is_long ? 3 * world_.options().silence_limit : world_.some_time(horizon());
  const bool one_dies_meanwhile = is_long && world_.random().chance(0.5);  // after the others have gone on without
  some_time([this, lasts, one_dies_meanwhile] {
    Process* const who = somebody();
    if (who == nullptr) return;
    world_.tell("{} is stopped", who->number);
    world_.stop(*who);
    world_.at(world_.now() + lasts, [this, who] {
      world_.tell("{} goes on", who->number);
      world_.resume(*who);
    });
    if (!one_dies_meanwhile) return;
    world_.at(world_.now() + world_.some_time(lasts), [this, who] {
      Process* const victim = somebody();
      if (victim == nullptr || victim == who) return;
      ++marks_.crashed;
      world_.crash(*victim);
    });
  });
}

bool Scenario::all_over() const {
  if (joiners_to_come_ > 0) return false;
  const auto& processes = const_cast<World&>(world_).processes();
  return std::all_of(processes.begin(), processes.end(),
                     [](const auto& process) { return !process->alive || process->fiber->is_over(); });
}

std::string Scenario::run() {
  world_.tell("{} founders on {} hosts, temper {}", job_.founders, world_.options().hosts, static_cast<int>(temper_));
  start_founders();
  world_.run([this] { return job_.founded >= job_.founders; }, std::chrono::seconds(1));
  plan();
  const bool ends =
      world_.run([this] { return all_over() || !observer_.wrong().empty(); }, std::chrono::seconds(120));
  if (!ends) observer_.say("not all have ended after two minutes");
  if (observer_.wrong().empty()) check_end();
  if (observer_.wrong().empty()) check_leaks();
  marks_.store_losses += store_.lost();
  return observer_.wrong();
}

// Who is admitted and does not come counts as a member that is silent: those who are left may be too few then. Nor is
// it told apart from itself when it comes again: by then it may be shut out for its silence by one, who is lost for
// it.
void Scenario::check_end() {
  if (temper_ == Temper::rough) return;
  const bool some_stayed_away = std::any_of(
      ends_.begin(), ends_.end(), [](const auto& entry) { return entry.second == Participant::End::turned_away; });
  for (const auto& process : world_.processes()) {
    const Participant::End end = ends_[process->number];
    const bool is_founder = process->number < static_cast<int>(job_.founders);
    const bool may_be = end == Participant::End::finished || end == Participant::End::left || !is_founder ||
                        (end == Participant::End::stopped && (some_stayed_away || job_.came_again > 0)) ||
                        (end == Participant::End::left_behind && job_.came_again > 0 && temper_ == Temper::gentle);
    if (process->alive && !may_be)
      observer_.say(format("process {} lives, and has not seen the end: {}", process->number, static_cast<int>(end)));
  }
  if (temper_ == Temper::calm && world_.warnings() > 0) observer_.say("a warning, though nothing was wrong");
}

// All communicators are destroyed: nothing of them is left. What came for a communicator that never was is kept for
// two minutes, as it might still be made.
void Scenario::check_leaks() {
  const auto holds = [this](Process& process) -> std::string {
    const std::size_t room = room_for_boards(process);
    if (room != boards_[process.number]) return format("room for {} of {} boards", room, boards_[process.number]);
    return process.runtime->with_engine([](Engine& engine, Instant) -> std::string {
      if (engine.has_operations()) return "an operation, or a council, that is not over";
      return engine.is_drained() ? "" : "frames that it has taken and not sent, or a communicator";
    });
  };
  for (const auto& process : world_.processes()) {
    const auto is_clean = [&] { return !process->alive || holds(*process).empty(); };
    if (world_.run(is_clean, std::chrono::minutes(3))) continue;
    observer_.say(format("process {} still holds something after all communicators are destroyed: {}",
                         process->number, holds(*process)));
  }
}

}  // namespace tutti
