// Synchronizing a shared state, from operations that the communicator has anyway: summaries are gathered, the rule
// says whose content counts (src/state/rule.h), the hashes of its chunks are broadcast, who lacks which is gathered,
// and chunks go from rank to rank as planned (src/state/transfer_plan.h). A last gathering says that all have it.
//
// What has arrived is not remembered anywhere: the next attempt, with whatever ranks, finds it by its hash.
#include <algorithm>
#include <memory>
#include <optional>

#include "src/api/state.h"
#include "src/base/format.h"
#include "src/state/description.h"
#include "src/state/exchange.h"
#include "src/state/rule.h"
#include "src/state/state_chunks.h"
#include "src/state/transfer_plan.h"

namespace tutti {

namespace {

constexpr std::uint32_t kNone = ~0u;

// What a rank says when its transfers are over: the first chunk that came with other bytes than it should, if any.
struct Arrivals {
  std::uint32_t bad_chunk = kNone;
  std::uint32_t from = kNone;
};

class Synchronization {
 public:
  Synchronization(tutti_state& state, tutti_comm& comm, const tutti_state_options* options)
      : state_(state), comm_(comm), chunks_(state.tensors), strict_(options != nullptr && options->strict != 0) {
    const std::int64_t timeout_ns = options != nullptr ? options->timeout_ns : 0;
    part_limit_ = timeout_ns < 0 ? Nanoseconds(-1) : comm.settings.timeout;
    if (timeout_ns > 0) deadline_ = deadline_after(comm.runtime->now(), Nanoseconds(timeout_ns));
  }

  Status run() {
    TUTTI_RETURN_IF_ERROR(exchange_summaries());
    TUTTI_RETURN_IF_ERROR(choose_content());
    if (choice_.holders.size() == ranks()) return settle();
    TUTTI_RETURN_IF_ERROR(find_missing());
    TUTTI_RETURN_IF_ERROR(transfer());
    TUTTI_RETURN_IF_ERROR(confirm());
    return settle();
  }

  // By this rank; also after an error.
  tutti_state_report report() const { return report_; }

 private:
  const Communicator& communicator() const { return *comm_.communicator; }
  std::uint32_t self() const { return static_cast<std::uint32_t>(communicator().rank()); }
  std::uint32_t ranks() const { return static_cast<std::uint32_t>(communicator().size()); }
  std::string describe(std::uint32_t rank) const { return communicator().describe(static_cast<Rank>(rank)); }
  Status invalid_because(const std::string& text, std::uint32_t culprit = kNone) const {
    return {Code::invalid, format("state {} on {}: {}", state_.name, communicator().name(), text),
            culprit == kNone ? Status::kNobody : static_cast<int>(culprit)};
  }

  // No part waits beyond the deadline of the whole.
  Nanoseconds limit() const {
    if (deadline_ == kNever) return part_limit_;
    return std::max(deadline_ - comm_.runtime->now(), Nanoseconds(1));
  }

  // Every rank's `bytes` bytes, one after the other.
  Result<std::vector<std::byte>> gather(std::span<const std::byte> mine) {
    std::vector<std::byte> all(mine.size() * ranks());
    if (all.empty()) return all;
    OperationRequest request;
    request.kind = CallKind::all_gather;
    request.input = mine.data();
    request.output = all.data();
    request.count = mine.size();
    request.timeout = limit();
    TUTTI_RETURN_IF_ERROR(run_operation(comm_, request));
    return all;
  }

  // As many bytes of each rank as `counts` says, one after the other.
  Result<std::vector<std::byte>> gather_unlike(std::span<const std::byte> mine, std::vector<std::uint64_t> counts) {
    OperationRequest request;
    request.kind = CallKind::all_gather_v;
    request.input = mine.data();
    request.count = counts[self()];
    std::uint64_t total = 0;
    for (const std::uint64_t count : counts) {
      request.output_table.offsets.push_back(total);
      total += count;
    }
    std::vector<std::byte> all(total);
    request.output_table.counts = std::move(counts);
    request.output = all.data();
    request.timeout = limit();
    TUTTI_RETURN_IF_ERROR(run_operation(comm_, request));
    return all;
  }

  Status exchange_summaries() {
    const std::string description = StateDescription(state_.name, state_.tensors).encode();
    StateSummary mine;
    mine.revision = state_.revision;
    mine.is_whole = state_.is_whole;
    mine.is_strict = strict_;
    mine.host = comm_.runtime->with_engine([](Engine& engine, Instant) { return engine.address().host; });
    mine.description_bytes = description.size();
    mine.description = digest_of(std::as_bytes(std::span(description)));
    const Result<std::vector<std::byte>> all = gather(mine.encode());
    if (!all) return all.status();
    for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
      const Result<StateSummary> summary =
          StateSummary::decode(std::span(*all).subspan(rank * StateSummary::kBytes, StateSummary::kBytes));
      if (!summary) return invalid_because(describe(rank) + " " + summary.status().text(), rank);
      summaries_.push_back(*summary);
    }
    for (std::uint32_t rank = 1; rank < ranks(); ++rank) {
      if (summaries_[rank].description != summaries_[0].description) return name_mismatch(rank, description);
      if (summaries_[rank].is_strict != summaries_[0].is_strict)
        return invalid_because(
            format("{} wants strict mode, {} does not; they must want the same",
                   describe(summaries_[0].is_strict ? 0 : rank), describe(summaries_[0].is_strict ? rank : 0)),
            rank);
    }
    return {};
  }

  Status name_mismatch(std::uint32_t other, const std::string& mine) {
    std::vector<std::uint64_t> counts(ranks(), 0);
    counts[0] = summaries_[0].description_bytes;
    counts[other] = summaries_[other].description_bytes;
    const Result<std::vector<std::byte>> both = gather_unlike(std::as_bytes(std::span(mine)), counts);
    if (!both) return both.status();
    const std::string_view bytes(reinterpret_cast<const char*>(both->data()), both->size());
    const Result<StateDescription> first = StateDescription::decode(bytes.substr(0, counts[0]));
    const Result<StateDescription> second = StateDescription::decode(bytes.substr(counts[0]));
    if (!first || !second) return (first ? second : first).status();
    return invalid_because(format("{}; no tensor was changed. All ranks need the same names, types and counts",
                                  difference(*first, describe(0), *second, describe(other))),
                           other);
  }

  bool is_candidate(std::uint32_t rank) const {
    return std::binary_search(candidates_.ranks.begin(), candidates_.ranks.end(), rank);
  }
  // Has never had anything that could be of use.
  bool is_fresh(std::uint32_t rank) const {
    return !is_candidate(rank) && summaries_[rank].is_whole && summaries_[rank].revision == 0;
  }

  Status choose_content() {
    std::vector<Claim> claims;
    for (const StateSummary& summary : summaries_) claims.push_back({summary.revision, summary.is_whole});
    Result<Candidates> candidates = newest(claims);
    if (!candidates) return invalid_because(candidates.status().text());
    candidates_ = *std::move(candidates);
    if (ranks() > 1 && !is_fresh(self())) digests_ = chunks_.digests();
    if (candidates_.ranks.size() == 1) {
      choice_.holders = candidates_.ranks;
      return {};
    }
    const Digest mine = digest_of(std::as_bytes(std::span(digests_)));
    const Result<std::vector<std::byte>> all = gather(std::as_bytes(std::span(&mine, 1)));
    if (!all) return all.status();
    std::vector<Digest> contents(candidates_.ranks.size());
    for (std::size_t i = 0; i < contents.size(); ++i)
      std::memcpy(&contents[i], all->data() + candidates_.ranks[i] * sizeof(Digest), sizeof(Digest));
    choice_ = choose(candidates_, contents);
    return strict_ && !choice_.drifted.empty() ? name_drift() : Status();
  }

  // Of each rank that has drifted, the tensors that differ from those of the first holder.
  Status name_drift() {
    std::vector<Digest> mine;
    for (const auto& [name, tensor] : state_.tensors.all()) {
      const Piece whole{tensor.memory, tensor.bytes()};
      mine.push_back(digest_of(std::span(&whole, 1)));
    }
    const std::uint32_t holder = choice_.holders[0];
    std::vector<std::uint64_t> counts(ranks(), 0);
    counts[holder] = mine.size() * sizeof(Digest);
    for (const std::uint32_t rank : choice_.drifted) counts[rank] = counts[holder];
    const Result<std::vector<std::byte>> tables = gather_unlike(std::as_bytes(std::span(mine)), counts);
    if (!tables) return tables.status();
    const auto digest_at = [&](std::uint32_t rank, std::size_t tensor) {
      std::uint64_t offset = 0;
      for (std::uint32_t before = 0; before < rank; ++before) offset += counts[before];
      Digest digest;
      std::memcpy(&digest, tables->data() + offset + tensor * sizeof(Digest), sizeof(Digest));
      return digest;
    };
    std::string who;
    for (const std::uint32_t rank : choice_.drifted) {
      std::string first = "something that was written meanwhile";
      std::size_t differing = 0;
      std::size_t index = 0;
      for (const auto& [name, tensor] : state_.tensors.all()) {
        if (digest_at(rank, index) != digest_at(holder, index) && differing++ == 0) first = "tensor " + name;
        ++index;
      }
      const std::string others = differing > 1 ? format(" and {} more", differing - 1) : "";
      who += format("{}{} in {}{}", who.empty() ? "" : ", ", describe(rank), first, others);
    }
    return invalid_because(
        format(
            "at revision {} these differ from {}, whose content {} of {} ranks have: {}. In strict mode that is an "
            "error and no tensor was changed; without it they are given that content",
            candidates_.revision, describe(holder), choice_.holders.size(), candidates_.ranks.size(), who),
        choice_.drifted[0]);
  }

  bool is_holder(std::uint32_t rank) const {
    return std::binary_search(choice_.holders.begin(), choice_.holders.end(), rank);
  }

  Status find_missing() {
    wanted_ = digests_;
    wanted_.resize(chunks_.count());
    OperationRequest request;
    request.kind = CallKind::broadcast;
    request.output = reinterpret_cast<std::byte*>(wanted_.data());
    request.input = request.output;
    request.in_place = true;
    request.count = wanted_.size() * sizeof(Digest);
    request.root = static_cast<Rank>(choice_.holders[0]);
    request.timeout = limit();
    if (request.count > 0) TUTTI_RETURN_IF_ERROR(run_operation(comm_, request));
    std::vector<std::byte> mine((chunks_.count() + 7) / 8);
    for (std::uint32_t chunk = 0; chunk < chunks_.count(); ++chunk) {
      const bool lacks = !is_holder(self()) && (is_fresh(self()) || digests_[chunk] != wanted_[chunk]);
      if (lacks) mine[chunk / 8] |= std::byte{1} << (chunk % 8);
    }
    const Result<std::vector<std::byte>> all = gather(mine);
    if (!all) return all.status();
    is_missing_.resize(ranks());
    for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
      const std::span<const std::byte> bits = std::span(*all).subspan(rank * mine.size(), mine.size());
      if (is_holder(rank) || std::all_of(bits.begin(), bits.end(), [](std::byte b) { return b == std::byte{0}; }))
        continue;
      ++report_.receivers;
      is_missing_[rank].resize(chunks_.count());
      for (std::uint32_t chunk = 0; chunk < chunks_.count(); ++chunk)
        is_missing_[rank][chunk] = (bits[chunk / 8] >> (chunk % 8) & std::byte{1}) != std::byte{0};
    }
    return {};
  }

  Exchange plan() const {
    TransferQuery query{.chunk_bytes = chunks_.bytes(), .holders = choice_.holders, .is_missing = is_missing_};
    std::vector<Id128> hosts;
    for (const StateSummary& summary : summaries_) {
      const auto found = std::find(hosts.begin(), hosts.end(), summary.host);
      query.hosts.push_back(static_cast<std::uint32_t>(found - hosts.begin()));
      if (found == hosts.end()) hosts.push_back(summary.host);
    }
    Exchange exchange(self(), chunks_.count());
    plan_transfers(query, [&](const Transfer& transfer) {
      if (transfer.from == self() || transfer.to == self()) exchange.add(transfer);
    });
    return exchange;
  }

  // A transfer that was begun. StateChunks of several tensors go through memory of their own.
  struct UnderWay {
    Transfer transfer;
    std::unique_ptr<std::byte[]> memory;
  };

  Status begin(const Transfer& transfer, UnderWay& begun, tutti_request** request) {
    const std::span<const Piece> pieces = chunks_.pieces(transfer.chunk);
    const std::uint64_t bytes = chunks_.bytes(transfer.chunk);
    begun.transfer = transfer;
    if (pieces.size() > 1) begun.memory = std::make_unique_for_overwrite<std::byte[]>(bytes);
    std::byte* const memory = begun.memory ? begun.memory.get() : pieces[0].memory;
    const bool sends = transfer.from == self();
    if (sends && begun.memory) copy_out(pieces, memory);
    tutti_call call = TUTTI_CALL_INIT;
    call.timeout_ns = limit().count();
    const auto peer = static_cast<int>(sends ? transfer.to : transfer.from);
    const tutti_status status = sends ? tutti_send(memory, bytes, TUTTI_UINT8, peer, &comm_, &call, request)
                                      : tutti_receive(memory, bytes, TUTTI_UINT8, peer, &comm_, &call, request);
    return status == TUTTI_OK ? Status() : Status(static_cast<Code>(status), tutti_last_error());
  }

  void end(const UnderWay& ended) {
    const auto& [chunk, from, to] = ended.transfer;
    const std::span<const Piece> pieces = chunks_.pieces(chunk);
    if (to != self()) {
      report_.bytes_sent += chunks_.bytes(chunk);
      return;
    }
    if (ended.memory) copy_in(pieces, ended.memory.get());
    report_.bytes_received += chunks_.bytes(chunk);
    if (!has_sent_[from]) ++report_.senders;
    has_sent_[from] = true;
    if (digest_of(pieces) != wanted_[chunk] && arrivals_.bad_chunk == kNone) arrivals_ = {chunk, from};
  }

  Status transfer() {
    Exchange exchange = plan();
    has_sent_.resize(ranks());
    if (exchange.receives() > 0) {  // from here on it is neither what it was nor what it is to be
      state_.is_whole = false;
      state_.revision = 0;
    }
    std::vector<UnderWay> begun;
    std::vector<tutti_request*> requests;
    Status failure;
    while (true) {
      while (failure.is_ok()) {
        const std::optional<Transfer> transfer = exchange.next();
        if (!transfer) break;
        begun.emplace_back();
        requests.push_back(nullptr);
        failure = begin(*transfer, begun.back(), &requests.back());
      }
      int index = -1;
      const tutti_status status = tutti_request_wait_any(requests.size(), requests.data(), &index, -1);
      if (index < 0) return failure;
      const auto at = static_cast<std::size_t>(index);
      if (status != TUTTI_OK && failure.is_ok()) failure = Status(static_cast<Code>(status), tutti_last_error());
      if (status == TUTTI_OK) end(begun[at]);
      exchange.ended(begun[at].transfer);
      std::swap(begun[at], begun.back());
      std::swap(requests[at], requests.back());
      begun.pop_back();
      requests.pop_back();
    }
  }

  Status confirm() {
    const Result<std::vector<std::byte>> all = gather(std::as_bytes(std::span(&arrivals_, 1)));
    if (!all) return all.status();
    for (std::uint32_t rank = 0; rank < ranks(); ++rank) {
      Arrivals arrivals;
      std::memcpy(&arrivals, all->data() + rank * sizeof arrivals, sizeof arrivals);
      if (arrivals.bad_chunk == kNone) continue;
      if (arrivals.bad_chunk >= chunks_.count() || arrivals.from >= ranks())
        return {Code::internal, format("{} says that chunk {} of {} came from it", describe(rank), arrivals.bad_chunk,
                                       describe(arrivals.from))};
      return invalid_because(
          format("what {} sent to {} of tensor {} is not what it was when it was hashed. Tensors may not be written "
                 "during the call; synchronize again",
                 describe(arrivals.from), describe(rank), chunks_.tensor(arrivals.bad_chunk)),
          arrivals.from);
    }
    return {};
  }

  Status settle() {
    state_.revision = candidates_.revision;
    state_.is_whole = true;
    report_.revision = candidates_.revision;
    return {};
  }

  tutti_state& state_;
  tutti_comm& comm_;
  const StateChunks chunks_;
  const bool strict_;
  Nanoseconds part_limit_{-1};
  Instant deadline_ = kNever;

  std::vector<StateSummary> summaries_;  // by rank
  Candidates candidates_;
  std::vector<Digest> digests_;  // by chunk, of what is here; empty where nobody asks
  Choice choice_;
  std::vector<Digest> wanted_;                 // by chunk, of the content that counts
  std::vector<std::vector<bool>> is_missing_;  // by rank and chunk; empty: none
  std::vector<bool> has_sent_;                 // by rank: something to this one
  Arrivals arrivals_;
  tutti_state_report report_ = TUTTI_STATE_REPORT_INIT;
};

}  // namespace

Status synchronize(tutti_state& state, tutti_comm& comm, const tutti_state_options* options,
                   tutti_state_report* report) {
  Synchronization synchronization(state, comm, options);
  const Status status = synchronization.run();
  if (report != nullptr) *report = synchronization.report();
  return status;
}

}  // namespace tutti
