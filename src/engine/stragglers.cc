#include "src/engine/stragglers.h"

namespace tutti {

namespace {

auto place_of(auto& known, Rank rank) {
  return std::lower_bound(known.begin(), known.end(), rank, [](const Straggler& a, Rank b) { return a.rank < b; });
}

}  // namespace

const Straggler* Stragglers::find(Rank rank) const {
  const auto place = place_of(known_, rank);
  return place != known_.end() && place->rank == rank ? &*place : nullptr;
}

bool Stragglers::learn(Straggler news, Nanoseconds pause) {
  const auto place = place_of(known_, news.rank);
  if (place == known_.end() || place->rank != news.rank) {
    if (known_.size() == kMost && place == known_.end()) return false;
    news.told = news.seen;
    known_.insert(place, news);
    if (known_.size() > kMost) known_.pop_back();
    return true;
  }
  if (news.seen <= place->seen) return false;
  const bool changed = place->how != news.how;
  if (!changed) news.since = std::min(news.since, place->since);
  news.told = place->told;
  *place = news;
  if (!changed && news.seen - news.told < pause) return false;
  place->told = news.seen;
  return true;
}

void Stragglers::has_called(Rank rank) {
  std::erase_if(known_, [&](const Straggler& each) { return each.rank == rank && each.how == Lateness::absent; });
}

void Stragglers::has_answered(Rank rank, Rank asking) {
  std::erase_if(known_, [&](const Straggler& each) {
    return each.rank == rank && each.how != Lateness::absent && each.seen_by == asking;
  });
}

void Stragglers::forget(Instant seen_before) {
  std::erase_if(known_, [&](const Straggler& each) { return each.seen < seen_before; });
}

}  // namespace tutti
