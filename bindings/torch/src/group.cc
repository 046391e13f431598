#include "bindings/torch/src/group.h"

#include <algorithm>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>
#include <vector>

#include "bindings/torch/src/flight.h"
#include "bindings/torch/src/store.h"

namespace tutti::pytorch {

namespace {

struct Open {
  std::mutex mutex;
  std::vector<std::weak_ptr<Group>> groups;
};

Open& open_groups() {
  static Open* const open = new Open;  // never destroyed: it is used while the program ends
  return *open;
}

void remember(const std::shared_ptr<Group>& group) {
  Open& open = open_groups();
  const std::lock_guard lock(open.mutex);
  std::erase_if(open.groups, [](const std::weak_ptr<Group>& one) { return one.expired(); });
  open.groups.push_back(group);
}

// Names of process groups come again when all groups were destroyed, and the store may still have the keys of before.
// As every rank of a group takes part in each creation, the number of those before is that of ranks divided by size.
c10::intrusive_ptr<c10d::Store> fresh_part(const c10::intrusive_ptr<c10d::Store>& store, const std::string& attempt,
                                           int size) {
  const auto part = c10::make_intrusive<c10d::PrefixStore>("tutti/" + attempt, store);
  const std::int64_t before = part->add("ranks", 1) - 1;
  return c10::make_intrusive<c10d::PrefixStore>(std::to_string(before / size), part);
}

}  // namespace

std::shared_ptr<Group> Group::create(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                     const Options& options) {
  const NamedStore named(fresh_part(store, options.attempt, size));
  tutti_comm_options given = TUTTI_COMM_OPTIONS_INIT;
  given.name = options.name.c_str();
  given.settings = options.settings.empty() ? nullptr : options.settings.c_str();
  given.timeout_ns = std::chrono::nanoseconds(options.timeout).count();
  tutti_comm* comm = nullptr;
  const Failure failure =
      Failure::of(tutti_comm_create_from_store(&comm, size, rank, named.address().c_str(), &given));
  if (!failure.is_ok()) raise(failure, "tutti: the creation", options.name);
  auto group = std::make_shared<Group>(comm, rank, size, options);
  remember(group);
  return group;
}

Group::Group(tutti_comm* comm, int rank, int size, Options options)
    : rank_(rank),
      size_(size),
      options_(std::move(options)),
      timeout_(options_.timeout),
      comm_(comm),
      mailbox_(*this) {}

void Group::abort(const char* reason) {
  use([reason](tutti_comm* comm) { return tutti_comm_abort(comm, reason); });
}

void Group::shut_down(Milliseconds limit) {
  const Instant until = std::chrono::steady_clock::now() + limit;
  for (const auto& flight : flights()) {
    if (!use([](tutti_comm* comm) { return tutti_comm_error(comm, nullptr, 0); }).is_ok()) break;
    const auto left = std::chrono::ceil<Milliseconds>(until - std::chrono::steady_clock::now());
    if (left <= Milliseconds(0)) break;
    try {
      flight->wait(left);
    } catch (const std::exception&) {  // its own affair: whoever holds it hears of it
    }
  }
  close();
}

void Group::close() {
  std::unique_lock lock(in_use_, std::try_to_lock);
  if (!lock) {  // somebody waits in it
    abort("the process group was shut down by another thread of this process");
    lock.lock();
  }
  tutti_comm* const comm = std::exchange(comm_, nullptr);
  lock.unlock();
  if (comm == nullptr) return;
  tutti_comm_destroy(comm);
  mailbox_.close();
  for (const auto& flight : flights()) flight->poll();
}

Flights::iterator Group::add(c10::intrusive_ptr<Flight> flight) {
  const std::lock_guard lock(mutex_);
  return flights_.insert(flights_.end(), std::move(flight));
}

void Group::remove(Flights::iterator place) {
  const std::lock_guard lock(mutex_);
  flights_.erase(place);
}

std::vector<c10::intrusive_ptr<Flight>> Group::flights() {
  const std::lock_guard lock(mutex_);
  return {flights_.begin(), flights_.end()};
}

bool Group::has_flights() {
  const std::lock_guard lock(mutex_);
  return !flights_.empty();
}

void Group::look_after() {
  constexpr std::size_t kAtOnce = 2;  // more end than begin
  std::vector<c10::intrusive_ptr<Flight>> oldest;
  {
    const std::lock_guard lock(mutex_);
    while (oldest.size() < std::min(kAtOnce, flights_.size())) {
      oldest.push_back(flights_.front());
      flights_.splice(flights_.end(), flights_, flights_.begin());
    }
  }
  for (const auto& flight : oldest) flight->poll();
}

void shut_down_all(Milliseconds limit) {
  std::vector<std::weak_ptr<Group>> groups;
  {
    Open& open = open_groups();
    const std::lock_guard lock(open.mutex);
    groups.swap(open.groups);
  }
  const Instant until = std::chrono::steady_clock::now() + limit;
  for (const auto& one : groups) {
    const auto left = std::chrono::ceil<Milliseconds>(until - std::chrono::steady_clock::now());
    if (const auto group = one.lock()) group->shut_down(std::max(left, Milliseconds(0)));
  }
}

}  // namespace tutti::pytorch
