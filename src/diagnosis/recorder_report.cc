#include "src/diagnosis/recorder_report.h"

#include <algorithm>
#include <ctime>

#include "src/base/format.h"

namespace tutti {

namespace {

std::string duration_text(std::int64_t earlier, std::int64_t later) {
  return format_duration(std::chrono::nanoseconds(elapsed_ns(earlier, later)));
}

std::string communicator_name(const RecorderSnapshot& snapshot, std::uint32_t serial) {
  const CommunicatorRecord* communicator = snapshot.communicator(serial);
  if (!communicator || communicator->name.empty()) return format("communicator {}", serial);
  return communicator->name;
}

// "rank 5 (node07, pid 4711)"
std::string rank_text(const RecorderSnapshot& snapshot, std::uint32_t serial, std::int32_t rank) {
  const CommunicatorRecord* communicator = snapshot.communicator(serial);
  if (!communicator || rank < 0 || static_cast<std::size_t>(rank) >= communicator->members.size()) {
    return format("rank {}", rank);
  }
  const MemberRecord& member = communicator->members[static_cast<std::size_t>(rank)];
  return format("rank {} ({}, pid {})", rank, member.host, member.pid);
}

bool is_reduction(std::uint8_t kind) {
  const auto value = static_cast<OperationKind>(kind);
  return value == OperationKind::all_reduce || value == OperationKind::reduce ||
         value == OperationKind::reduce_scatter;
}

bool has_root(std::uint8_t kind) {
  const auto value = static_cast<OperationKind>(kind);
  return value == OperationKind::reduce || value == OperationKind::broadcast || value == OperationKind::gather ||
         value == OperationKind::scatter;
}

bool has_peer(std::uint8_t kind) {
  const auto value = static_cast<OperationKind>(kind);
  return value == OperationKind::send || value == OperationKind::receive;
}

bool moves_elements(std::uint8_t kind) {
  const auto value = static_cast<OperationKind>(kind);
  return value != OperationKind::barrier && value != OperationKind::split && value != OperationKind::finalize &&
         value != OperationKind::agree;
}

// "all_reduce 4182 on dp0 (1000000 float32 sum, 3.8 MiB)"
std::string operation_text(const RecorderSnapshot& snapshot, const OperationRecord& operation) {
  std::string text = format("{} {} on {}", name_of_kind(operation.kind), operation.number,
                            communicator_name(snapshot, operation.communicator));
  if (!moves_elements(operation.kind)) return text;
  text += format(" ({} {}", operation.count, name_of_type(operation.type));
  if (is_reduction(operation.kind)) text += format(" {}", name_of_op(operation.op));
  text += ", " + format_bytes(operation.bytes);
  if (has_root(operation.kind)) text += format(", root {}", operation.root);
  if (has_peer(operation.kind)) text += format(", peer {}", operation.root);
  return text + ")";
}

std::string result_text(const OperationRecord& operation) {
  if (operation.is_pending()) return operation.state == OperationState::running ? "running" : "posted";
  if (operation.result == Code::ok || operation.culprit < 0) return std::string(name(operation.result));
  return format("{}, rank {}", name(operation.result), operation.culprit);
}

std::string wait_text(const RecorderSnapshot& snapshot, const OperationRecord& operation, const PeerRecord& peer,
                      std::int64_t now_ns) {
  const std::string who = rank_text(snapshot, operation.communicator, peer.rank);
  const std::string& transport = snapshot.transports[peer.transport].name;
  const std::string way = format("lane {}{}{}", peer.lane, transport.empty() ? "" : " by ", transport);
  if (peer.direction == Direction::receive) {
    if (peer.bytes_done == 0) return format("  waits for {}: nothing has come from it yet ({})\n", who, way);
    return format("  waits for {}: {} of {} have come, the last {} ago ({})\n", who, format_bytes(peer.bytes_done),
                  format_bytes(peer.bytes), duration_text(peer.last_byte_ns, now_ns), way);
  }
  if (peer.bytes_done == 0) return format("  sends to {}: it has taken nothing yet ({})\n", who, way);
  return format("  sends to {}: it has taken {} of {}, the last {} ago ({})\n", who, format_bytes(peer.bytes_done),
                format_bytes(peer.bytes), duration_text(peer.last_byte_ns, now_ns), way);
}

// Pads the columns to the widest cell of each; the first row is the heading. The last column is not padded.
std::string align(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i + 1 < row.size() ? format("{:<{}}  ", row[i], widths[i]) : row[i];
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

}  // namespace

std::int64_t elapsed_ns(std::int64_t earlier, std::int64_t later) {
  std::int64_t result = 0;
  return __builtin_sub_overflow(later, earlier, &result) || result < 0 ? 0 : result;
}

std::optional<LastArrival> last_arrival(const OperationRecord& operation) {
  const PeerRecord* last = nullptr;
  for (const PeerRecord& peer : operation.peers) {
    if (peer.direction != Direction::receive || peer.first_byte_ns == 0) continue;
    if (!last || peer.first_byte_ns > last->first_byte_ns) last = &peer;
  }
  if (!last) return std::nullopt;
  return LastArrival{last->rank, elapsed_ns(operation.posted_ns, last->first_byte_ns)};
}

std::int64_t reference_ns(const RecorderSnapshot& snapshot, std::int64_t monotonic_now_ns) {
  return snapshot.alive ? std::max(snapshot.heartbeat_ns, monotonic_now_ns) : snapshot.heartbeat_ns;
}

std::string utc_text(const RecorderSnapshot& snapshot, std::int64_t at_ns) {
  std::int64_t since_start = 0;
  std::int64_t utc_ns = 0;
  if (__builtin_sub_overflow(at_ns, snapshot.started_ns, &since_start) ||
      __builtin_add_overflow(snapshot.started_utc_ns, since_start, &utc_ns) || utc_ns < 0) {
    return "an impossible time";
  }
  const std::time_t seconds = utc_ns / 1'000'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return format("{}.{:03}Z", text, utc_ns / 1'000'000 % 1000);
}

std::string describe_process(const RecorderSnapshot& snapshot, std::int64_t now_ns) {
  std::string text = format("process {} on {} ({}, Tutti {}), recorded since {}\n", snapshot.pid, snapshot.host,
                            snapshot.program, snapshot.library, utc_text(snapshot, snapshot.started_ns));
  if (snapshot.closed) {
    text += format("ended in order at {} or later\n", utc_text(snapshot, snapshot.heartbeat_ns));
  } else if (snapshot.alive) {
    text += format("alive; last sign of life {} ago\n", duration_text(snapshot.heartbeat_ns, now_ns));
  } else {
    text +=
        format("dead, without an orderly end; last sign of life at {}\n", utc_text(snapshot, snapshot.heartbeat_ns));
  }
  text += format("{} operations: {} done, of which {} went wrong; {} begun and not done\n", snapshot.operations_begun,
                 snapshot.operations_done, snapshot.operations_failed,
                 snapshot.operations_begun - std::min(snapshot.operations_begun, snapshot.operations_done));
  if (snapshot.operations_dropped > 0) {
    text +=
        format("{} pending operations are missing below: there were too many at once\n", snapshot.operations_dropped);
  }
  for (const TransportRecord& transport : snapshot.transports) {
    if (transport.name.empty()) continue;
    text += format("{}: {} sent, {} received\n", transport.name, format_bytes(transport.bytes_sent),
                   format_bytes(transport.bytes_received));
  }
  for (const CommunicatorRecord& communicator : snapshot.communicators) {
    text += format("{}: this is rank {} of {}{}\n", communicator_name(snapshot, communicator.serial),
                   communicator.rank, communicator.ranks, communicator.closed_ns != 0 ? ", closed" : "");
  }
  return text;
}

std::string describe_operations(const RecorderSnapshot& snapshot, std::size_t last, std::int64_t now_ns) {
  std::vector<std::vector<std::string>> rows = {{"when", "communicator", "number", "operation", "elements", "size",
                                                 "algorithm", "began after", "took", "came last", "result"}};
  const std::size_t count = std::min(last, snapshot.operations.size());
  for (auto it = snapshot.operations.end() - static_cast<std::ptrdiff_t>(count); it != snapshot.operations.end();
       ++it) {
    const OperationRecord& operation = *it;
    std::string elements;
    if (moves_elements(operation.kind)) {
      elements = format("{} {}", operation.count, name_of_type(operation.type));
      if (is_reduction(operation.kind)) elements += format(" {}", name_of_op(operation.op));
    }
    const auto arrival = last_arrival(operation);
    rows.push_back({utc_text(snapshot, operation.posted_ns), communicator_name(snapshot, operation.communicator),
                    format("{}", operation.number), name_of_kind(operation.kind), elements,
                    moves_elements(operation.kind) ? format_bytes(operation.bytes) : "-",
                    operation.algorithm.empty() ? "-" : operation.algorithm,
                    operation.started_ns == 0 ? "-" : duration_text(operation.posted_ns, operation.started_ns),
                    duration_text(operation.posted_ns, operation.is_pending() ? now_ns : operation.done_ns),
                    arrival ? format("rank {} after {}", arrival->rank,
                                     format_duration(std::chrono::nanoseconds(arrival->after_ns)))
                            : "-",
                    result_text(operation)});
  }
  return align(rows);
}

std::string lane_text(const RecorderSnapshot& snapshot, const LaneRecord& lane) {
  const std::string& transport = snapshot.transports[lane.transport].name;
  return format("lane {}{}{} to {}{} is {}", lane.lane, transport.empty() ? "" : " by ", transport, lane.host,
                lane.pid == 0 ? "" : format(" pid {}", lane.pid), lane.change == LaneChange::lost ? "lost" : "back");
}

std::string describe_lanes(const RecorderSnapshot& snapshot, std::size_t last) {
  std::string text;
  const std::size_t count = std::min(last, snapshot.lanes.size());
  for (auto it = snapshot.lanes.end() - static_cast<std::ptrdiff_t>(count); it != snapshot.lanes.end(); ++it)
    text += format("{}  {}: {}\n", utc_text(snapshot, it->at_ns), lane_text(snapshot, *it), it->text);
  return text;
}

std::string describe_pending(const RecorderSnapshot& snapshot, std::int64_t now_ns) {
  std::string text;
  for (const OperationRecord& operation : snapshot.operations) {
    if (!operation.is_pending()) continue;
    text += format("{} has been pending for {}{}{}\n", operation_text(snapshot, operation),
                   duration_text(operation.posted_ns, now_ns),
                   operation.state == OperationState::posted ? ", not started yet" : "",
                   operation.culprit < 0 ? "" : format("; rank {} is late", operation.culprit));
    bool waits = false;
    for (const PeerRecord& peer : operation.peers) {
      if (!peer.pending || (peer.bytes > 0 && peer.bytes_done >= peer.bytes)) continue;
      waits = true;
      text += wait_text(snapshot, operation, peer, now_ns);
    }
    if (!waits && operation.state == OperationState::running) {
      text += operation.peers.empty() ? "  nothing is on record about whom it waits for\n"
                                      : "  every peer has given and taken all that is on record\n";
    }
  }
  return text;
}

}  // namespace tutti
