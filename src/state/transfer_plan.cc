#include "src/state/transfer_plan.h"

#include <algorithm>
#include <tuple>

namespace tutti {

namespace {

class TransferPlanner {
 public:
  TransferPlanner(const TransferQuery& query, const std::function<void(const Transfer&)>& give)
      : query_(query),
        give_(give),
        ranks_(query.hosts.size()),
        rank_bytes_(ranks_),
        entered_bytes_(ranks_),
        pair_bytes_(ranks_ * ranks_) {
    const std::uint32_t hosts = 1 + *std::max_element(query.hosts.begin(), query.hosts.end());
    host_bytes_.resize(hosts);
    lacking_.resize(hosts);
    holders_.resize(hosts);
    for (const std::uint32_t holder : query.holders) holders_[host_of(holder)].push_back(holder);
    holding_hosts_ = static_cast<std::size_t>(
        std::count_if(holders_.begin(), holders_.end(), [](const auto& ranks) { return !ranks.empty(); }));
  }

  void plan(std::uint32_t chunk) {
    chunk_ = chunk;
    for (auto& ranks : lacking_) ranks.clear();
    for (std::uint32_t rank = 0; rank < ranks_; ++rank) {
      if (!query_.is_missing[rank].empty() && query_.is_missing[rank][chunk]) lacking_[host_of(rank)].push_back(rank);
    }
    std::vector<std::uint32_t> entries;  // one of each host that nobody of holds it
    for (std::uint32_t host = 0; host < lacking_.size(); ++host) {
      if (lacking_[host].empty()) continue;
      if (holders_[host].empty()) {
        entries.push_back(least(lacking_[host], [&](std::uint32_t rank) { return entered_bytes_[rank]; }));
        continue;
      }
      for (const std::uint32_t rank : lacking_[host]) send(best_source(holders_[host], rank), rank);
    }
    bring_to(entries);
    for (const std::uint32_t entry : entries) {
      for (const std::uint32_t rank : lacking_[host_of(entry)]) {
        if (rank != entry) send(entry, rank);
      }
    }
  }

 private:
  std::uint32_t host_of(std::uint32_t rank) const { return query_.hosts[rank]; }

  template <typename Key>
  static std::uint32_t least(const std::vector<std::uint32_t>& ranks, const Key& key) {
    return *std::min_element(ranks.begin(), ranks.end(),
                             [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  }

  std::uint32_t best_source(const std::vector<std::uint32_t>& sources, std::uint32_t to) const {
    return least(sources, [&](std::uint32_t rank) {
      return std::tuple(host_bytes_[host_of(rank)], rank_bytes_[rank], pair_bytes_[rank * ranks_ + to]);
    });
  }

  // From host to host.
  void bring_to(const std::vector<std::uint32_t>& entries) {
    for (const std::uint32_t entry : entries) entered_bytes_[entry] += query_.chunk_bytes[chunk_];
    if (entries.size() <= holding_hosts_) {
      for (const std::uint32_t entry : entries) send(best_source(query_.holders, entry), entry);
      return;
    }
    const std::uint32_t first = least(entries, [&](std::uint32_t rank) { return host_bytes_[host_of(rank)]; });
    send(best_source(query_.holders, first), first);
    for (const std::uint32_t entry : entries) {
      if (entry != first) send(first, entry);
    }
  }

  void send(std::uint32_t from, std::uint32_t to) {
    const std::uint64_t bytes = query_.chunk_bytes[chunk_];
    rank_bytes_[from] += bytes;
    pair_bytes_[from * ranks_ + to] += bytes;
    if (host_of(from) != host_of(to)) host_bytes_[host_of(from)] += bytes;
    give_({chunk_, from, to});
  }

  const TransferQuery& query_;
  const std::function<void(const Transfer&)>& give_;
  const std::size_t ranks_;
  std::uint32_t chunk_ = 0;
  std::vector<std::uint64_t> rank_bytes_;     // sent so far
  std::vector<std::uint64_t> host_bytes_;     // sent to other hosts
  std::vector<std::uint64_t> entered_bytes_;  // received by a rank for its host
  std::vector<std::uint64_t> pair_bytes_;
  std::vector<std::vector<std::uint32_t>> holders_;  // by host
  std::vector<std::vector<std::uint32_t>> lacking_;  // this chunk, by host
  std::size_t holding_hosts_ = 0;
};

}  // namespace

void plan_transfers(const TransferQuery& query, const std::function<void(const Transfer&)>& give) {
  TransferPlanner planner(query, give);
  for (std::uint32_t chunk = 0; chunk < query.chunk_bytes.size(); ++chunk) planner.plan(chunk);
}

}  // namespace tutti
