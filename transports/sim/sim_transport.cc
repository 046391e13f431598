#include "transports/sim/sim_transport.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "src/base/format.h"

namespace tutti {

namespace {

// Address: magic, network, process id, check word.
constexpr std::uint64_t kMagic = 0x6d69736974747574ull;  // "tuttisim"

struct SimAddress {
  std::uint64_t magic = kMagic;
  std::uint64_t network = 0;
  std::uint64_t id_high = 0;
  std::uint64_t id_low = 0;
  std::uint64_t check = 0;

  std::uint64_t expected_check() const {
    std::uint64_t hash = magic;
    for (const std::uint64_t word : {network, id_high, id_low}) hash = (hash ^ word) * 0x9e3779b97f4a7c15ull + 1;
    return hash;
  }
};
static_assert(sizeof(SimAddress) == 40);

}  // namespace

SimTransport::SimTransport(SimNetwork& network, std::uint32_t process) : network_(network), process_(process) {
  const SimOptions& options = network.options_;
  capabilities_.name = "sim";
  capabilities_.frame_bytes_max = options.frame_bytes_max;
  capabilities_.copied_bytes_max = options.copied_bytes_max;
  capabilities_.lanes_max = options.lanes_max;
  capabilities_.held_frames_max = static_cast<std::uint32_t>(std::min<std::size_t>(options.queue_frames / 4, 16));
  capabilities_.has_segment = options.segment_bytes > 0;
  capabilities_.bytes_per_second = (options.bytes_per_second_min + options.bytes_per_second_max) / 2;
  capabilities_.latency = (options.latency_min + options.latency_max + options.jitter_max) / 2;
  const ProcessId& id = network.processes_[process].id;
  SimAddress address{kMagic, network.key_, id.high, id.low, 0};
  address.check = address.expected_check();
  static_assert(sizeof address_ == sizeof address);
  std::memcpy(address_.data(), &address, sizeof address);
}

SimTransport::~SimTransport() {
  network_.end_links(process_, SimNetwork::End::peer_ended);
  notes_.clear();
  while (!links_.empty()) network_.destroy_link(*links_.back());
  for (auto& [memory, buffer] : lent_) network_.buffers_.give_back(std::move(buffer));
  network_.processes_[process_].transport = nullptr;
}

bool SimTransport::reaches(std::span<const std::byte> address) const {
  SimAddress parsed;
  if (address.size() != sizeof parsed) return false;
  std::memcpy(&parsed, address.data(), sizeof parsed);
  if (parsed.magic != kMagic || parsed.network != network_.key_ || parsed.check != parsed.expected_check())
    return false;
  const ProcessId id{{parsed.id_high, parsed.id_low}};
  return network_.index_of(id) != SimNetwork::kNoProcess;
}

SimLink* SimTransport::current(std::uint32_t peer, std::uint32_t lane) const {
  const auto found = current_.find(key(peer, lane));
  return found == current_.end() ? nullptr : found->second;
}

void SimTransport::set_current(SimLink& link) { current_[key(link.peer_, link.lane_)] = &link; }

void SimTransport::drop_current(const SimLink& link) {
  const auto found = current_.find(key(link.peer_, link.lane_));
  if (found != current_.end() && found->second == &link) current_.erase(found);
}

Result<Link*> SimTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                    Instant deadline) {
  if (!reaches(address)) {
    return Status(Code::invalid, format("{}: the {} bytes given as the address of process {} are no address in this "
                                        "simulated network. No link was made",
                                        network_.label(process_), address.size(), to_string(peer)));
  }
  SimAddress parsed;
  std::memcpy(&parsed, address.data(), sizeof parsed);
  const ProcessId there{{parsed.id_high, parsed.id_low}};
  const std::uint32_t index = network_.index_of(there);
  if (index == process_) {
    return Status(Code::invalid, format("{}: this is its own address, and the simulated network links only different "
                                        "processes. No link was made",
                                        network_.label(process_)));
  }
  if (SimLink* const existing = there == peer ? current(index, lane) : nullptr) return static_cast<Link*>(existing);

  SimLink& link = network_.make_link(process_, index, lane, peer);
  const Instant arrival = network_.now_ + link.path_.latency + network_.jitter();
  if (deadline != kNever) {
    network_.schedule(SimNetwork::Kind::deadline, std::max(deadline, network_.now_), link.self_, 0, process_,
                      process_);
  }
  if (there != peer) {
    const auto end = static_cast<std::uint64_t>(SimNetwork::End::wrong_process);
    network_.schedule(SimNetwork::Kind::refuse, arrival + link.path_.latency, link.self_, end, index, process_);
  } else {
    set_current(link);
    network_.schedule(SimNetwork::Kind::request, arrival, link.self_, 0, process_, index);
  }
  return static_cast<Link*>(&link);
}

void SimTransport::forget(Link* link) {
  auto* const ours = static_cast<SimLink*>(link);
  if (ours->state_ != SimLink::State::closed) throw std::logic_error("SimTransport::forget: the link is not closed");
  network_.destroy_link(*ours);
}

std::size_t SimTransport::poll(std::span<Event> out, Instant) {
  if (network_.processes_[process_].crashed) return 0;
  std::size_t count = 0;
  ++polls_;
  while (count < out.size() && !notes_.empty()) {
    const Note note = notes_.front();
    // Whoever is told of a payload to be fetched gets the chance to fetch it before the link is closed.
    if (note.kind == EventKind::closed && note.link->poll_without_data_ == polls_) break;
    notes_.pop_front();
    Event event;
    event.kind = note.kind;
    event.link = note.link;
    event.token = note.token;
    if (note.kind == EventKind::delivery && !note.link->report(event)) continue;
    if (note.kind == EventKind::closed) {
      note.link->state_ = SimLink::State::closed;
      note.link->status_ = note.link->pending_status_;
      note.link->in_our_memory_ = 0;
    }
    network_.trace(static_cast<std::uint64_t>(note.kind) << 32 | note.link->self_.slot,
                   event.bytes ^ event.header.words[1]);
    out[count++] = event;
  }
  return count;
}

void SimTransport::retract_closed(const SimLink& link) {
  std::erase_if(notes_, [&](const Note& note) { return note.link == &link && note.kind == EventKind::closed; });
}

std::byte* SimTransport::borrow(const std::byte*, std::size_t bytes) {
  const SimOptions& options = network_.options_;
  if (lent_.size() >= options.lent_buffers || bytes <= options.copied_bytes_max) return nullptr;
  SimBuffer buffer = network_.buffers_.take(bytes);
  std::byte* const memory = buffer.data.get();
  lent_.emplace(memory, std::move(buffer));
  return memory;
}

void SimTransport::give_back(std::byte* borrowed) {
  const auto found = lent_.find(borrowed);
  if (found == lent_.end()) throw std::logic_error("SimTransport::give_back: not borrowed, or given back before");
  network_.buffers_.give_back(std::move(found->second));
  lent_.erase(found);
}

std::byte* SimTransport::segment() { return network_.processes_[process_].segment_start; }

std::size_t SimTransport::segment_bytes() const { return network_.options_.segment_bytes; }

}  // namespace tutti
