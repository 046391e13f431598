#include "tests/process/chaos_member.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace tutti_test {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kElements = 40'000;
// Sizes that go through the board, at once, and in pieces for which the receiver gives credit.
constexpr std::size_t kCounts[] = {3'000, 100, kElements};
constexpr auto kLookEvery = std::chrono::milliseconds(30);

}  // namespace

ChaosMember::ChaosMember(Place place, Orders& orders, Hooks hooks)
    : place_(std::move(place)), orders_(orders), hooks_(std::move(hooks)), model_(kElements) {}

int ChaosMember::run() {
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = place_.settings.c_str();
  options.timeout_ns = place_.timeout_ns;
  const bool founds = place_.rank >= 0;
  const tutti_status made =
      founds ? tutti_comm_create_from_store(&comm_, place_.founders, place_.rank, place_.store.c_str(), &options)
             : tutti_comm_join(&comm_, place_.store.c_str(), &options);
  if (made != TUTTI_OK) return orders_.stop != 0 ? kTooLate : fail(founds ? "create" : "join");
  tutti_state_create(&state_, "model");
  tutti_state_add(state_, "model", model_.data(), model_.size(), TUTTI_INT64);
  step_ = founds ? 0 : -1;
  int ending = live();
  while (ending < 0) {
    const tutti_status refreshed = tutti_comm_refresh(comm_, nullptr);
    if (refreshed == TUTTI_PEER_LOST) {
      ending = kLeftBehind;
    } else {
      ending = refreshed == TUTTI_OK ? live() : fail("refresh");
    }
  }
  tutti_state_destroy(state_);
  tutti_comm_destroy(comm_);
  comm_ = nullptr;
  return ending;
}

// Until the end (how it ended), or until the members have to be refreshed (negative).
int ChaosMember::live() {
  if (!take_over()) return broken_ ? kFailed : -1;
  auto looked = Clock::now();
  std::vector<std::int64_t> data;
  while (true) {
    if (orders_.leave != 0) return leave();
    data.assign(kCounts[step_ % 3], 1);
    data[0] = orders_.stop;
    if (tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_INT64, TUTTI_SUM, comm_, nullptr, nullptr) !=
        TUTTI_OK)
      return std::all_of(data.begin() + 1, data.end(), [](std::int64_t value) { return value == 1; })
                 ? -1
                 : fail("an input was spoilt");
    if (!std::all_of(data.begin() + 1, data.end(), [this](std::int64_t value) { return value == view_.size; }))
      return fail("a sum is not that of the members");
    ++step_;
    for (std::size_t e = 1; e < data.size(); ++e) {
      const auto added = static_cast<std::uint64_t>(data[e] * step_) + e;
      model_[e] = static_cast<std::int64_t>(static_cast<std::uint64_t>(model_[e]) * 31 + added);
    }
    hooks_.on_step(step_);
    if (data[0] > 0) return kDone;
    if (view_.rank != 0 || Clock::now() - looked < kLookEvery) continue;
    looked = Clock::now();
    int waiting = 0;
    if (tutti_comm_waiting(comm_, &waiting) == TUTTI_OK && waiting > 0) return -1;
  }
}

// Whoever is new gets step and model from the first that has them; all others must be at the same step.
bool ChaosMember::take_over() {
  if (tutti_comm_size(comm_, &view_.size) != TUTTI_OK || tutti_comm_rank(comm_, &view_.rank) != TUTTI_OK ||
      tutti_comm_epoch(comm_, &view_.epoch) != TUTTI_OK) {
    broken_ = fail("size, rank or epoch") != 0;
    return false;
  }
  std::vector<std::int64_t> steps(static_cast<std::size_t>(view_.size));
  if (tutti_all_gather(&step_, steps.data(), 1, TUTTI_INT64, comm_, nullptr, nullptr) != TUTTI_OK) return false;
  const auto newest = std::max_element(steps.begin(), steps.end());
  for (const std::int64_t step : steps) {
    if (step != *newest && step != -1) broken_ = fail("survivors are at unlike steps") != 0;
  }
  if (broken_) return false;
  tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
  options.strict = 1;
  tutti_state_set_revision(state_, static_cast<std::uint64_t>(step_ + 1));
  const tutti_status synchronized = tutti_state_synchronize(state_, comm_, &options, nullptr);
  if (synchronized == TUTTI_INVALID) broken_ = fail("survivors have unlike models") != 0;
  if (synchronized != TUTTI_OK) return false;
  step_ = *newest;
  view_.step = step_;
  view_.hash = hash();
  hooks_.on_view(view_);
  return true;
}

int ChaosMember::leave() {
  if (tutti_comm_leave(comm_, 0) != TUTTI_OK) return fail("leave");
  comm_ = nullptr;
  return kLeft;
}

std::uint64_t ChaosMember::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const std::int64_t value : model_) hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3ull;
  return hash;
}

int ChaosMember::fail(const std::string& what) {
  hooks_.on_failure("step " + std::to_string(step_) + ": " + what + "; last error: " + tutti_last_error());
  return kFailed;
}

}  // namespace tutti_test
