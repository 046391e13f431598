#include "transports/sim/sim_network.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "src/base/format.h"
#include "transports/sim/sim_link.h"
#include "transports/sim/sim_transport.h"

namespace tutti {

namespace {

constexpr std::size_t kSegmentAlignment = 64;

}  // namespace

SimNetwork::SimNetwork(std::uint64_t seed, const SimOptions& options)
    : options_(options), random_(seed), key_(seed * 0x9e3779b97f4a7c15ull + 0x7475747469ull), trace_hash_(seed) {}

SimNetwork::~SimNetwork() = default;

std::unique_ptr<SimTransport> SimNetwork::attach(const ProcessId& id) {
  if (indexes_.contains(id)) throw std::logic_error("SimNetwork::attach: a process id is never used twice");
  const auto index = static_cast<std::uint32_t>(processes_.size());
  Process process;
  process.id = id;
  if (options_.segment_bytes > 0) {
    process.segment = std::make_unique<std::byte[]>(options_.segment_bytes + kSegmentAlignment);
    void* start = process.segment.get();
    std::size_t space = options_.segment_bytes + kSegmentAlignment;
    process.segment_start =
        static_cast<std::byte*>(std::align(kSegmentAlignment, options_.segment_bytes, start, space));
  }
  processes_.push_back(std::move(process));
  indexes_.emplace(id, index);
  auto transport = std::make_unique<SimTransport>(*this, index);
  processes_[index].transport = transport.get();
  return transport;
}

std::uint32_t SimNetwork::index_of(const ProcessId& id) const {
  const auto found = indexes_.find(id);
  return found == indexes_.end() ? kNoProcess : found->second;
}

std::uint32_t SimNetwork::known(const ProcessId& id) const {
  const std::uint32_t index = index_of(id);
  if (index == kNoProcess) throw std::logic_error("SimNetwork: no process " + to_string(id) + " was ever attached");
  return index;
}

std::string SimNetwork::label(std::uint32_t process) const {
  return format("sim process {} ({})", process, to_string(processes_[process].id).substr(0, 8));
}

Nanoseconds SimNetwork::between(Nanoseconds low, Nanoseconds high) {
  const auto width = static_cast<std::uint64_t>((high - low).count()) + 1;
  return low + Nanoseconds(static_cast<std::int64_t>(random_.below(width)));
}

SimPath SimNetwork::path(std::uint32_t from, std::uint32_t to) {
  const auto set = paths_.find({from, to});
  if (set != paths_.end()) return set->second;
  const double spread = options_.bytes_per_second_max - options_.bytes_per_second_min;
  const Nanoseconds latency = between(options_.latency_min, options_.latency_max);
  return {latency, options_.bytes_per_second_min + random_.unit() * spread};
}

void SimNetwork::set_path(const ProcessId& from, const ProcessId& to, const SimPath& path) {
  const std::uint32_t a = known(from);
  const std::uint32_t b = known(to);
  paths_[{a, b}] = path;
  for (Slot& slot : slots_) {
    if (slot.link != nullptr && slot.link->owner_ == a && slot.link->peer_ == b) slot.link->path_ = path;
  }
}

void SimNetwork::set_lane_path(const ProcessId& from, const ProcessId& to, std::uint32_t lane, const SimPath& path) {
  const std::uint32_t a = known(from);
  const std::uint32_t b = known(to);
  for (Slot& slot : slots_) {
    SimLink* const link = slot.link.get();
    if (link != nullptr && link->owner_ == a && link->peer_ == b && link->lane_ == lane) link->path_ = path;
  }
}

// --- links

SimLink* SimNetwork::find(Handle handle) const {
  if (handle.slot >= slots_.size() || slots_[handle.slot].generation != handle.generation) return nullptr;
  return slots_[handle.slot].link.get();
}

SimLink& SimNetwork::make_link(std::uint32_t owner, std::uint32_t peer, std::uint32_t lane,
                               const ProcessId& peer_id) {
  auto slot = static_cast<std::uint32_t>(slots_.size());
  if (free_slots_.empty()) {
    slots_.emplace_back();
    slots_.back().generation = 1;  // so that a Handle{} finds nothing
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  const Handle handle{slot, slots_[slot].generation};
  slots_[slot].link = std::make_unique<SimLink>(*this, handle, owner, peer, lane, peer_id);
  SimLink& link = *slots_[slot].link;
  auto& list = processes_[owner].transport->links_;
  link.place_ = list.size();
  list.push_back(&link);
  return link;
}

void SimNetwork::destroy_link(SimLink& link) {
  SimTransport& transport = link.transport();
  transport.drop_current(link);
  auto& list = transport.links_;
  list[link.place_] = list.back();
  list[link.place_]->place_ = link.place_;
  list.pop_back();
  const std::uint32_t slot = link.self_.slot;
  ++slots_[slot].generation;
  slots_[slot].link.reset();
  free_slots_.push_back(slot);
}

void SimNetwork::end_links(std::uint32_t owner, End end) {
  const bool is_crash = end == End::peer_crashed;
  const Nanoseconds notice =
      is_crash ? between(options_.crash_notice_min, options_.crash_notice_max) : Nanoseconds(0);
  for (SimLink* const link : processes_[owner].transport->links_) {
    link->say_farewell(end, now_ + notice + link->path_.latency);
    link->state_ = SimLink::State::closed;
    if (link->status_.is_ok()) {
      link->status_ = Status(Code::peer_lost, format("{}: its own process is no more", link->describe()));
    }
    link->closing_noted_ = true;
  }
}

// --- faults

void SimNetwork::crash(const ProcessId& process) {
  const std::uint32_t index = known(process);
  Process& victim = processes_[index];
  if (victim.crashed || victim.transport == nullptr) return;
  victim.crashed = true;
  end_links(index, End::peer_crashed);
  victim.transport->notes_.clear();
  victim.transport->current_.clear();
}

void SimNetwork::partition(const ProcessId& from, const ProcessId& to) { blocked_.insert({known(from), known(to)}); }

void SimNetwork::partition_both_ways(const ProcessId& a, const ProcessId& b) {
  partition(a, b);
  partition(b, a);
}

void SimNetwork::heal(const ProcessId& from, const ProcessId& to) {
  const std::pair pair{known(from), known(to)};
  if (blocked_.erase(pair) == 0) return;
  std::vector<Happening> still_waiting;
  for (const Happening& happening : waiting_) {
    if (std::pair{happening.from, happening.to} == pair) {
      schedule(happening.kind, now_ + options_.latency_max, happening.link, happening.token, happening.from,
               happening.to);
    } else {
      still_waiting.push_back(happening);
    }
  }
  waiting_ = std::move(still_waiting);
}

void SimNetwork::heal_all() {
  const auto blocked = blocked_;
  for (const auto& [from, to] : blocked) heal(processes_[from].id, processes_[to].id);
}

void SimNetwork::refuse_connects(const ProcessId& process, bool refuse) {
  processes_[known(process)].refuses = refuse;
}

void SimNetwork::cut(const ProcessId& a, const ProcessId& b) {
  const std::uint32_t left = known(a);
  const std::uint32_t right = known(b);
  for (const Slot& slot : slots_) {
    SimLink* const link = slot.link.get();
    const bool is_between = link != nullptr && std::minmax(link->owner_, link->peer_) == std::minmax(left, right);
    if (is_between && link->state_ != SimLink::State::closed)
      link->say_farewell(End::cut, now_ + link->path_.latency);
  }
}

void SimNetwork::cut_lane(const ProcessId& a, const ProcessId& b, std::uint32_t lane, Nanoseconds later) {
  const std::uint32_t left = known(a);
  const std::uint32_t right = known(b);
  for (const Slot& slot : slots_) {
    SimLink* const link = slot.link.get();
    if (link == nullptr || link->lane_ != lane || link->state_ == SimLink::State::closed) continue;
    if (std::minmax(link->owner_, link->peer_) != std::minmax(left, right)) continue;
    link->lose_flight(link->arrived_ + random_.below(link->incoming_.size() - link->arrived_ + 1));
    const Nanoseconds delay = random_.chance(0.5) ? between(Nanoseconds(0), later) : Nanoseconds(0);
    link->say_farewell(End::cut, now_ + link->path_.latency + delay);
  }
}

void SimNetwork::sever(const ProcessId& a, const ProcessId& b, Nanoseconds later) {
  partition_both_ways(a, b);
  const std::uint32_t left = known(a);
  const std::uint32_t right = known(b);
  for (const Slot& slot : slots_) {
    SimLink* const link = slot.link.get();
    if (link == nullptr || link->state_ != SimLink::State::open) continue;
    if (std::minmax(link->owner_, link->peer_) != std::minmax(left, right)) continue;
    link->lose_source(End::severed);
    link->lose_flight(link->arrived_);
    schedule(Kind::farewell, now_ + between(Nanoseconds(0), later), link->self_,
             static_cast<std::uint64_t>(End::severed), link->owner_, link->owner_);
  }
}

// --- the clock

void SimNetwork::schedule(Kind kind, Instant at, Handle link, std::uint64_t token, std::uint32_t from,
                          std::uint32_t to) {
  heap_.push_back({at, next_order_++, token, link, from, to, kind});
  std::push_heap(heap_.begin(), heap_.end());
}

// Deadlines of connects that are long decided must not make the clock jump.
bool SimNetwork::drop_stale_deadlines() {
  while (!heap_.empty() && heap_.front().kind == Kind::deadline) {
    const SimLink* const link = find(heap_.front().link);
    if (link != nullptr && link->state_ == SimLink::State::connecting && !link->closing_noted_) break;
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
  }
  return !heap_.empty();
}

Instant SimNetwork::next_time() { return drop_stale_deadlines() ? heap_.front().at : kNever; }

bool SimNetwork::advance() {
  const Instant next = next_time();
  if (next == kNever) return false;
  advance_to(next);
  return true;
}

void SimNetwork::advance_to(Instant when) {
  while (drop_stale_deadlines() && heap_.front().at <= when) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Happening happening = heap_.back();
    heap_.pop_back();
    now_ = std::max(now_, happening.at);
    if (!blocked_.empty() && blocked_.contains({happening.from, happening.to})) {
      waiting_.push_back(happening);
    } else {
      happen(happening);
    }
  }
  now_ = std::max(now_, when);
}

void SimNetwork::happen(const Happening& happening) {
  SimLink* const link = find(happening.link);
  ++happened_;
  trace(static_cast<std::uint64_t>(now_.time_since_epoch().count()),
        static_cast<std::uint64_t>(happening.kind) << 32 | happening.link.slot);
  if (link == nullptr || processes_[link->owner_].crashed) return;
  const bool is_connecting = link->state_ == SimLink::State::connecting && !link->closing_noted_;
  switch (happening.kind) {
    case Kind::request:
      if (is_connecting && !link->paired_) on_request(*link);
      break;
    case Kind::accept:
      if (is_connecting) link->open();
      break;
    case Kind::refuse:
      if (is_connecting) link->end_by(static_cast<End>(happening.token));
      break;
    case Kind::deadline:
      if (is_connecting) {
        link->close(
            Status(Code::timeout, format("{}: connecting had no answer by its deadline. Check that the peer runs "
                                         "and that the network between the two is whole",
                                         link->describe())));
      }
      break;
    case Kind::departed:
      link->depart(happening.token);
      break;
    case Kind::arrival:
      link->arrive();
      break;
    case Kind::farewell:
      link->hear_farewell(static_cast<End>(happening.token));
      break;
    case Kind::sent:
      link->end_send(happening.token);
      break;
    case Kind::fetched:
      link->fetched(happening.token);
      break;
  }
}

// A connect reaches its target.
void SimNetwork::on_request(SimLink& asking) {
  Process& target = processes_[asking.peer_];
  const Instant answer = now_ + asking.path_.latency + jitter();
  if (target.transport == nullptr || target.crashed || target.refuses) {
    const End end = target.refuses ? End::refused : End::nobody_there;
    schedule(Kind::refuse, answer, asking.self_, static_cast<std::uint64_t>(end), asking.peer_, asking.owner_);
    return;
  }
  SimLink* ours = target.transport->current(asking.owner_, asking.lane_);
  const bool crosses = ours != nullptr && ours->state_ == SimLink::State::connecting && !ours->paired_;
  if (!crosses) {
    // What is there belongs to an earlier link of theirs, whose farewell this request has overtaken.
    if (ours != nullptr) ours->end_by(End::replaced);
    ours = &make_link(asking.peer_, asking.owner_, asking.lane_, processes_[asking.owner_].id);
    target.transport->set_current(*ours);
  }
  ours->pair_with(asking);
  ours->open();
  asking.last_arrival_ = answer;
  schedule(Kind::accept, answer, asking.self_, 0, asking.peer_, asking.owner_);
}

}  // namespace tutti
