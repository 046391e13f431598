#include "perf/tutti-perf/trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "src/base/format.h"
#include "src/diagnosis/recorder_report.h"

namespace tutti_perf {

namespace {

using nlohmann::json;
using tutti::Direction;
using tutti::LaneRecord;
using tutti::OperationRecord;
using tutti::PeerRecord;
using tutti::RecorderSnapshot;

constexpr int kOperationsRow = 0;
// Rows of peers: what comes before what goes, by rank and lane.
int row_of(const PeerRecord& peer) {
  return 1 + ((peer.direction == Direction::send ? 1 : 0) << 24) + (peer.rank << 4) + (peer.lane & 15);
}

bool is_shown(const OperationRecord& operation) {
  return !operation.is_pending() && operation.done_ns >= operation.posted_ns && operation.posted_ns > 0;
}

// Of one rank; times in microseconds of UTC, as the format wants them.
class Events {
 public:
  Events(const RecorderSnapshot& snapshot, int rank) : snapshot_(snapshot), rank_(rank) {
    name(kOperationsRow, "process_name", fmt::format("rank {} ({} pid {})", rank, snapshot.host, snapshot.pid));
    name(kOperationsRow, "thread_name", "operations");
  }

  void add(const OperationRecord& operation) {
    const std::string title =
        fmt::format("{} {}", tutti::name_of_kind(operation.kind), tutti::format_bytes(operation.bytes));
    json whole = slice(kOperationsRow, title, operation.posted_ns, operation.done_ns);
    whole["args"] = {{"number", operation.number},
                     {"kind", tutti::name_of_kind(operation.kind)},
                     {"type", tutti::name_of_type(operation.type)},
                     {"count", operation.count},
                     {"bytes", operation.bytes},
                     {"algorithm", operation.algorithm},
                     {"lanes", operation.lanes},
                     {"result", tutti::name(operation.result)}};
    json waits = json::array();
    for (const PeerRecord& peer : operation.peers) {
      const std::int64_t waited = add(operation, peer);
      waits.push_back({{"rank", peer.rank},
                       {"direction", peer.direction == Direction::send ? "send" : "receive"},
                       {"lane", peer.lane},
                       {"waited_us", microseconds(waited)}});
    }
    whole["args"]["waits"] = std::move(waits);
    events_.push_back(std::move(whole));
  }

  // A lane that was lost or is back: a mark across all rows of the rank.
  void add(const LaneRecord& lane) {
    events_.push_back({{"ph", "i"},
                       {"s", "p"},
                       {"pid", rank_},
                       {"tid", kOperationsRow},
                       {"name", tutti::lane_text(snapshot_, lane)},
                       {"ts", utc(lane.at_ns)},
                       {"args", {{"text", lane.text}}}});
  }

  json take() { return std::move(events_); }

 private:
  static double microseconds(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e3; }

  double utc(std::int64_t at_ns) const {
    return microseconds(snapshot_.started_utc_ns + (at_ns - snapshot_.started_ns));
  }

  void name(int row, const char* what, const std::string& text) {
    events_.push_back({{"ph", "M"}, {"pid", rank_}, {"tid", row}, {"name", what}, {"args", {{"name", text}}}});
  }

  json slice(int row, const std::string& title, std::int64_t from_ns, std::int64_t to_ns) const {
    return {{"ph", "X"},     {"pid", rank_},       {"tid", row},
            {"name", title}, {"ts", utc(from_ns)}, {"dur", microseconds(std::max<std::int64_t>(to_ns - from_ns, 0))}};
  }

  // How long this rank waited for the first byte.
  std::int64_t add(const OperationRecord& operation, const PeerRecord& peer) {
    const bool sends = peer.direction == Direction::send;
    const int row = row_of(peer);
    const std::string& transport = snapshot_.transports[peer.transport].name;
    if (!rows_.contains(row)) {
      rows_[row] = true;
      name(row, "thread_name",
           fmt::format("{} rank {}{}", sends ? "to" : "from", peer.rank,
                       peer.lane > 0 ? fmt::format(" lane {}", peer.lane) : ""));
    }
    const std::int64_t ready = std::clamp(peer.posted_ns, operation.posted_ns, operation.done_ns);
    // On a board nothing moves byte by byte: the peer's part is there when the operation is done.
    const std::int64_t first = peer.first_byte_ns > 0 ? peer.first_byte_ns : operation.done_ns;
    const std::int64_t last = peer.last_byte_ns > 0 ? peer.last_byte_ns : operation.done_ns;
    events_.push_back(slice(
        row, sends ? fmt::format("waits to send to rank {}", peer.rank) : fmt::format("waits for rank {}", peer.rank),
        ready, first));
    json moves = slice(
        row,
        fmt::format("{} {}", tutti::format_bytes(peer.first_byte_ns > 0 ? peer.bytes_done : peer.bytes), transport),
        first, last);
    moves["args"] = {{"bytes", peer.bytes}, {"bytes_done", peer.bytes_done}, {"transport", transport}};
    events_.push_back(std::move(moves));
    add_arrow(operation, peer, sends ? first : last);
    return std::max<std::int64_t>(first - ready, 0);
  }

  // From the first byte at the sender to the last at the receiver; both ends find the same id.
  void add_arrow(const OperationRecord& operation, const PeerRecord& peer, std::int64_t at_ns) {
    if (peer.first_byte_ns == 0) return;
    const bool sends = peer.direction == Direction::send;
    events_.push_back({{"ph", sends ? "s" : "f"},
                       {"bp", "e"},
                       {"pid", rank_},
                       {"tid", row_of(peer)},
                       {"cat", "message"},
                       {"name", "message"},
                       {"ts", utc(at_ns)},
                       {"id", fmt::format("{}:{}:{}>{}:{}", operation.communicator, operation.number,
                                          sends ? rank_ : peer.rank, sends ? peer.rank : rank_, peer.lane)}});
  }

  const RecorderSnapshot& snapshot_;
  const int rank_;
  json events_ = json::array();
  std::map<int, bool> rows_;
};

Error own_snapshot(RecorderSnapshot& snapshot) {
  std::vector<char> path(4096);
  if (Error error = check_call("recorder path", tutti_recorder_path(path.data(), path.size(), nullptr))) return error;
  if (path[0] == '\0') {
    return Error(
        "--trace needs the flight recorder's file, and there is none: set TUTTI_RECORDER=on and see that "
        "TUTTI_RECORDER_DIRECTORY can be written.");
  }
  tutti::Result<RecorderSnapshot> read = tutti::read_recorder(path.data());
  if (!read) return Error(read.status().text());
  snapshot = std::move(*read);
  return Error();
}

// Every rank's text on rank 0, by rank.
Error gather_texts(Session& session, const std::string& own, std::vector<std::string>& texts) {
  std::vector<std::uint64_t> lengths;
  if (Error error = session.gather(std::uint64_t{own.size()}, lengths)) return error;
  const std::vector<std::size_t> counts(lengths.begin(), lengths.end());
  std::size_t total = 0;
  for (const std::size_t count : counts) total += count;
  std::vector<char> all(session.rank() == 0 ? total : 0);
  if (Error error = check_call("gather_v", tutti_gather_v(own.data(), own.size(), all.data(), counts.data(), nullptr,
                                                          TUTTI_UINT8, 0, session.comm(), nullptr, nullptr))) {
    return error;
  }
  std::size_t at = 0;
  for (const std::size_t count : counts) {
    if (session.rank() == 0) texts.emplace_back(all.data() + at, count);
    at += count;
  }
  return Error();
}

}  // namespace

json trace_events(const RecorderSnapshot& snapshot, int rank, std::size_t operations_max) {
  std::vector<const OperationRecord*> shown;
  for (const OperationRecord& operation : snapshot.operations) {
    const tutti::CommunicatorRecord* communicator = snapshot.communicator(operation.communicator);
    if (communicator != nullptr && communicator->rank == rank && is_shown(operation)) shown.push_back(&operation);
  }
  Events events(snapshot, rank);
  const std::size_t skipped = shown.size() - std::min(shown.size(), operations_max);
  for (std::size_t i = skipped; i < shown.size(); ++i) events.add(*shown[i]);
  const std::int64_t since_ns = skipped < shown.size() ? shown[skipped]->posted_ns : 0;
  for (const LaneRecord& lane : snapshot.lanes) {
    if (lane.at_ns >= since_ns) events.add(lane);
  }
  return events.take();
}

std::string trace_summary(const json& events) {
  std::map<int, const json*> chosen;  // by rank
  const auto weight = [](const json& event) {
    return std::pair(event["args"]["bytes"].get<std::uint64_t>(), event["args"]["number"].get<std::uint64_t>());
  };
  for (const json& event : events) {
    if (event["ph"] != "X" || event["tid"] != kOperationsRow) continue;
    const json*& slot = chosen[event["pid"].get<int>()];
    if (slot == nullptr || weight(*slot) < weight(event)) slot = &event;
  }
  std::string text;
  for (const auto& [rank, operation] : chosen) {
    const json& args = (*operation)["args"];
    text += fmt::format("# rank {}: {} number {} took {:.1f} us", rank, (*operation)["name"].get<std::string>(),
                        args["number"].get<std::uint64_t>(), (*operation)["dur"].get<double>());
    const json* longest = nullptr;
    for (const json& wait : args["waits"]) {
      if (longest == nullptr || (*longest)["waited_us"] < wait["waited_us"]) longest = &wait;
    }
    if (longest != nullptr) {
      text += fmt::format(", waited longest {} rank {}: {:.1f} us to the first byte",
                          (*longest)["direction"] == "send" ? "to send to" : "for", (*longest)["rank"].get<int>(),
                          (*longest)["waited_us"].get<double>());
    }
    text += "\n";
  }
  return text;
}

Error write_trace(Session& session, const std::string& path, std::string& summary) {
  RecorderSnapshot snapshot;
  // Reading goes on alone, but a rank that cannot must not leave the others waiting in the gather.
  const Error unread = own_snapshot(snapshot);
  std::string own;
  if (!unread) own = trace_events(snapshot, session.rank(), kTracedOperations).dump();
  std::vector<std::string> texts;
  if (Error error = gather_texts(session, own, texts)) return error;
  if (unread) return unread;
  if (session.rank() != 0) return Error();
  json events = json::array();
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank].empty())
      return Error(fmt::format("rank {} has no flight recorder, so there is no {}", rank, path));
    for (json& event : json::parse(texts[rank])) events.push_back(std::move(event));
  }
  summary = trace_summary(events);
  const std::string text = json{{"displayTimeUnit", "ns"}, {"traceEvents", std::move(events)}}.dump() + "\n";
  std::FILE* file = std::fopen(path.c_str(), "w");
  const bool written = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (!written || !closed)
    return Error(fmt::format("{} cannot be written: {} ({})", path, std::strerror(errno), errno));
  return Error();
}

}  // namespace tutti_perf
