#include "tests/simulation/world.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "algorithms/catalog.h"
#include "transports/self/self_transport.h"
#include "transports/sim/sim_transport.h"

namespace tutti {

namespace {

SimOptions network_options(const WorldOptions& options) {
  SimOptions network = options.network;
  network.segment_bytes = options.hosts == 1 ? 64 << 10 : 0;
  return network;
}

// A runtime whose waits are the fiber's.
class SimRuntime final : public Runtime {
 public:
  SimRuntime(World& world, Process& process, std::unique_ptr<Engine> engine, Log log)
      : Runtime(std::move(engine), std::move(log)), world_(world), process_(process) {}

  Instant now() const override { return world_.now(); }
  Status random(std::span<std::byte> out) override {
    for (std::byte& byte : out) byte = static_cast<std::byte>(world_.random().next());
    return {};
  }

 private:
  bool drive(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done, Instant until) override {
    if (done()) return true;
    lock.unlock();
    const bool is_done = world_.wait(process_, done, until);
    lock.lock();
    return is_done;
  }

  World& world_;
  Process& process_;
};

}  // namespace

World::World(std::uint64_t seed, const WorldOptions& options)
    : options_(options), random_(seed), network_(seed, network_options(options)), recorder_(Recorder::none()) {}

World::~World() {
  for (const auto& process : processes_) process->fiber.reset();
  for (const auto& process : processes_) process->runtime.reset();
}

std::shared_ptr<Runtime> World::make_runtime(Process& process) {
  EngineOptions engine;
  engine.process = process.id;
  engine.host.low = static_cast<std::uint64_t>(process.host) + 1;
  engine.pid = 100 + static_cast<std::uint32_t>(process.number);
  engine.host_name = "host" + std::to_string(process.host);
  engine.cores = 64;
  engine.silence_limit = options_.silence_limit;
  engine.connect_timeout = options_.silence_limit;
  engine.algorithms = all_algorithms();
  engine.has_ended = [this, host = process.host](const ProcessAddress& address) {
    const auto same = [&](const auto& each) { return each->id == address.process; };
    const auto found = std::find_if(processes_.begin(), processes_.end(), same);
    return found != processes_.end() && (*found)->host == host && !(*found)->alive;
  };
  const auto listen = [this, number = process.number](LogLevel, std::string_view, std::string_view text) {
    ++warnings_;
    tell("{} logs: {}", number, text);
  };
  engine.log = Log(LogLevel::warn, listen);
  const Log log = engine.log;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::make_unique<SelfTransport>(process.id));
  transports.push_back(network_.attach(process.id));
  process.network = transports.back().get();
  return std::make_shared<SimRuntime>(
      *this, process, std::make_unique<Engine>(std::move(engine), std::move(transports), *recorder_), log);
}

Process& World::start(std::function<void(Process&)> program) {
  processes_.push_back(std::make_unique<Process>());
  Process& process = *processes_.back();
  process.number = static_cast<int>(processes_.size()) - 1;
  process.host = process.number % options_.hosts;
  process.id.high = random_.next() | 1;
  process.id.low = static_cast<std::uint64_t>(process.number);
  process.runtime = make_runtime(process);
  process.is_afresh = true;
  process.fiber = std::make_unique<Fiber>([&process, program = std::move(program)] { program(process); });
  return process;
}

void World::crash(Process& process) {
  if (!process.alive) return;
  tell("{} crashes", process.number);
  process.alive = false;
  network_.crash(process.id);
}

void World::at(Instant when, std::function<void()> act) { events_.put(when, std::move(act)); }

bool World::wait(Process& process, const std::function<bool()>& done, Instant until) {
  const std::uint64_t number = ++process.waits;
  while (!process.at_wait.empty() && process.at_wait.begin()->first <= number) {
    at(now(), process.at_wait.begin()->second);
    process.at_wait.erase(process.at_wait.begin());
  }
  process.done = &done;
  process.until = until;
  process.fiber->suspend();
  process.done = nullptr;
  return done();
}

// As a process does whose transports have nothing for it. Boards tell of nothing: while there are operations on one
// host, they are looked at in every turn.
bool World::may_sleep(Process& process, bool has_operations) const {
  constexpr Nanoseconds kLongest = std::chrono::milliseconds(50);
  return (options_.hosts > 1 || !has_operations) && process.was_idle && process.network->prepare_wait() &&
         now() < process.last_turn + kLongest;
}

std::size_t World::turn(Process& process) {
  if (!process.alive || !process.running) return 0;
  std::size_t done = 0;
  process.runtime->with_engine([&](Engine& engine, Instant now) {
    const bool is_due = engine.has_operations() && now >= engine.next_timer();
    if (!is_due && may_sleep(process, engine.has_operations())) return;
    done = engine.progress(now);
    process.was_idle = done == 0;
    process.last_turn = now;
  });
  if (process.fiber->is_over()) return done;
  const bool goes_on = process.is_afresh || (*process.done)() || now() >= process.until;
  if (!goes_on) return done;
  process.is_afresh = false;
  process.was_idle = false;
  process.fiber->resume();
  return done + 1;
}

void World::step() {
  while (events_.next() <= now()) events_.take()();
  std::vector<std::size_t> order(processes_.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  std::size_t done = 0;
  for (const std::size_t index : order) done += turn(*processes_[index]);
  if (done > 0) return;
  Instant next = std::min(network_.next_time(), events_.next());
  for (const auto& process : processes_) {
    if (!process->alive || !process->running) continue;
    process->runtime->with_engine([&](Engine& engine, Instant) {
      if (engine.has_operations()) next = std::min(next, engine.next_timer());
    });
    if (!process->fiber->is_over()) next = std::min(next, process->until);
  }
  if (next == kNever) next = now() + std::chrono::milliseconds(1);
  network_.advance_to(std::max(next, now()));
}

bool World::run(const std::function<bool()>& done, Nanoseconds limit) {
  const Instant end = now() + limit;
  while (!done()) {
    if (now() >= end) return false;
    step();
  }
  return true;
}

void World::tell_line(const std::string& text) {
  const std::chrono::duration<double, std::micro> time = now().time_since_epoch();
  std::printf("%14.3f us  %s\n", time.count(), text.c_str());
}

}  // namespace tutti
