#include "perf/tutti-recorder/json.h"

#include <algorithm>

#include "src/diagnosis/recorder_report.h"

namespace tutti {

namespace {

using nlohmann::json;

json to_json(const RecorderSnapshot& snapshot, const PeerRecord& peer) {
  return {{"rank", peer.rank},
          {"lane", peer.lane},
          {"direction", peer.direction == Direction::send ? "send" : "receive"},
          {"transport", snapshot.transports[peer.transport].name},
          {"pending", peer.pending},
          {"result", peer.pending ? json() : json(name(peer.result))},
          {"posted_ns", peer.posted_ns},
          {"first_byte_ns", peer.first_byte_ns},
          {"last_byte_ns", peer.last_byte_ns},
          {"bytes", peer.bytes},
          {"bytes_done", peer.bytes_done}};
}

json to_json(const RecorderSnapshot& snapshot, const OperationRecord& operation) {
  json peers = json::array();
  for (const PeerRecord& peer : operation.peers) peers.push_back(to_json(snapshot, peer));
  static constexpr const char* kStates[] = {"unused", "posted", "running", "done"};
  return {{"index", operation.index},
          {"communicator", operation.communicator},
          {"number", operation.number},
          {"kind", name_of_kind(operation.kind)},
          {"type", name_of_type(operation.type)},
          {"op", name_of_op(operation.op)},
          {"state", kStates[static_cast<std::size_t>(operation.state)]},
          {"root", operation.root},
          {"count", operation.count},
          {"bytes", operation.bytes},
          {"algorithm", operation.algorithm},
          {"lanes", operation.lanes},
          {"posted_ns", operation.posted_ns},
          {"started_ns", operation.started_ns},
          {"first_byte_ns", operation.first_byte_ns},
          {"last_byte_ns", operation.last_byte_ns},
          {"done_ns", operation.done_ns},
          {"result", operation.is_pending() ? json() : json(name(operation.result))},
          {"culprit", operation.culprit},
          {"peers", std::move(peers)}};
}

json to_json(const RecorderSnapshot& snapshot, const LaneRecord& lane) {
  return {{"index", lane.index},
          {"at_ns", lane.at_ns},
          {"at_utc", utc_text(snapshot, lane.at_ns)},
          {"host", lane.host},
          {"pid", lane.pid},
          {"lane", lane.lane},
          {"change", lane.change == LaneChange::lost ? "lost" : "back"},
          {"transport", snapshot.transports[lane.transport].name},
          {"text", lane.text}};
}

json to_json(const CommunicatorRecord& communicator) {
  json members = json::array();
  for (const MemberRecord& member : communicator.members)
    members.push_back({{"host", member.host}, {"pid", member.pid}});
  return {{"serial", communicator.serial},       {"id", to_string(communicator.id)},
          {"name", communicator.name},           {"rank", communicator.rank},
          {"ranks", communicator.ranks},         {"members", std::move(members)},
          {"opened_ns", communicator.opened_ns}, {"closed_ns", communicator.closed_ns}};
}

}  // namespace

json to_json(const RecorderSnapshot& snapshot, std::size_t last) {
  json transports = json::array();
  for (const TransportRecord& transport : snapshot.transports) {
    if (transport.name.empty()) continue;
    transports.push_back({{"name", transport.name},
                          {"bytes_sent", transport.bytes_sent},
                          {"bytes_received", transport.bytes_received}});
  }
  json communicators = json::array();
  for (const CommunicatorRecord& communicator : snapshot.communicators)
    communicators.push_back(to_json(communicator));
  json lanes = json::array();
  for (std::size_t i = snapshot.lanes.size() - std::min(last, snapshot.lanes.size()); i < snapshot.lanes.size(); ++i)
    lanes.push_back(to_json(snapshot, snapshot.lanes[i]));
  json operations = json::array();
  const std::size_t skipped = snapshot.operations.size() - std::min(last, snapshot.operations.size());
  for (std::size_t i = skipped; i < snapshot.operations.size(); ++i) {
    operations.push_back(to_json(snapshot, snapshot.operations[i]));
  }
  return {{"pid", snapshot.pid},
          {"process", to_string(snapshot.process)},
          {"host", snapshot.host},
          {"program", snapshot.program},
          {"library", snapshot.library},
          {"alive", snapshot.alive},
          {"closed", snapshot.closed},
          {"started_utc", utc_text(snapshot, snapshot.started_ns)},
          {"started_ns", snapshot.started_ns},
          {"heartbeat_ns", snapshot.heartbeat_ns},
          {"operations_begun", snapshot.operations_begun},
          {"operations_done", snapshot.operations_done},
          {"operations_failed", snapshot.operations_failed},
          {"stragglers_reported", snapshot.stragglers_reported},
          {"lane_changes", snapshot.lane_changes},
          {"operations_dropped", snapshot.operations_dropped},
          {"entries_torn", snapshot.entries_torn},
          {"transports", std::move(transports)},
          {"communicators", std::move(communicators)},
          {"operations", std::move(operations)},
          {"lanes", std::move(lanes)}};
}

}  // namespace tutti
