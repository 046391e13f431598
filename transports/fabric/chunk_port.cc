#include "transports/fabric/chunk_port.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti::fabric {

ChunkPort::ChunkPort(ChunkWire& wire, PortUser& user, std::uint64_t key, std::span<const std::byte> wire_address,
                     std::size_t chunk_bytes)
    : PullPort(user, key), wire_(wire), chunk_bytes_(chunk_bytes) {
  ByteWriter<std::vector<std::byte>> out;
  out.put(key);
  out.put(wire_address);
  address_ = out.take();
  wire_.ports_[key] = this;
}

ChunkPort::~ChunkPort() {
  wire_.ports_.erase(key());
  std::erase(wire_.waiting_, this);
}

void ChunkPort::fail(const std::string& words) {
  if (is_closing_ || std::exchange(has_failed_, true)) return;
  wire_.failed_.emplace_back(this, words);
}

void ChunkPort::want_flush() {
  if (!std::exchange(is_waiting_, true)) wire_.waiting_.push_back(this);
}

void ChunkPort::said(std::uint64_t chunk_of) {
  if (is_closing_) return;
  if (chunk_of != 0) chunk_said(chunk_of);
  want_flush();
}

void ChunkPort::close() {
  if (std::exchange(is_closing_, true)) return;
  std::erase_if(wire_.failed_, [this](const auto& each) { return each.first == this; });
  abandon();
  sending_.clear();
  order_.clear();
  taking_.clear();
  let_go();
}

// ---- Sending in pieces

bool ChunkPort::send_body(std::uint64_t number, const std::byte* body, std::size_t bytes, std::uint64_t cookie) {
  sending_[number] = {body, bytes, 0, 0, cookie};
  order_.push_back(number);
  static_cast<void>(flush_bodies());
  return true;
}

// Pieces of one body after the other: what was asked for first is there first.
bool ChunkPort::flush_bodies() {
  while (!order_.empty()) {
    const std::uint64_t number = order_.front();
    Sending& its = sending_.at(number);
    const std::size_t bytes = std::min(chunk_bytes_, its.bytes - its.next);
    if (under_way_ == kUnderWayMax) return false;
    const std::byte* const from = its.body + its.next;
    its.next += bytes;
    ++its.under_way;
    ++under_way_;
    const bool is_last = its.next == its.bytes;
    if (is_last) order_.pop_front();
    const auto first = chunk_preamble(number, its.next - bytes);
    if (say_in_place(first, from, bytes, number)) {
      note_chunk_said();
      continue;
    }
    its.next -= bytes;
    --its.under_way;
    --under_way_;
    if (is_last) order_.push_front(number);
    return false;
  }
  return true;
}

void ChunkPort::chunk_said(std::uint64_t number) {
  --under_way_;
  const auto found = sending_.find(number);
  if (found == sending_.end()) return;
  Sending& its = found->second;
  if (--its.under_way > 0 || its.next < its.bytes) return;
  const std::uint64_t cookie = its.cookie;
  sending_.erase(found);
  user().on_sent(cookie);
}

bool ChunkPort::take_body(std::uint64_t number, std::byte* target, std::size_t bytes, std::uint64_t token) {
  taking_[number] = {target, bytes, 0, token};
  return true;
}

void ChunkPort::on_chunk(std::uint64_t number, std::uint64_t offset, std::span<const std::byte> bytes) {
  const auto found = taking_.find(number);
  if (found == taking_.end() || bytes.empty() || bytes.size() > found->second.bytes - found->second.come ||
      offset > found->second.bytes - bytes.size())
    return fail(format("{} bytes came of large message {}, which were not asked for", bytes.size(), number));
  Taking& its = found->second;
  std::memcpy(its.target + offset, bytes.data(), bytes.size());
  its.come += bytes.size();
  if (its.come < its.bytes) return;
  const std::uint64_t token = its.token;
  taking_.erase(found);
  user().on_fetched(token);
}

// ---- Wire

Result<std::unique_ptr<Port>> ChunkWire::open(PortUser& user) {
  std::array<std::byte, sizeof(std::uint64_t)> random{};
  TUTTI_RETURN_IF_ERROR(secure_random(random));
  return std::unique_ptr<Port>(make_port(user, load_little_endian<std::uint64_t>(random.data())));
}

ChunkPort* ChunkWire::find(std::uint64_t key) {
  const auto found = ports_.find(key);
  return found == ports_.end() || found->second->is_closing_ ? nullptr : found->second;
}

ChunkPort* ChunkWire::addressee(std::span<const std::byte> first) {
  return first.size() < sizeof(std::uint64_t) ? nullptr : find(load_little_endian<std::uint64_t>(first.data()));
}

std::size_t ChunkWire::progress() {
  const std::size_t moved = move();
  batch_.swap(waiting_);
  for (ChunkPort* const port : batch_) {
    port->is_waiting_ = false;
    if (!port->is_closing_ && !port->has_failed_) static_cast<void>(port->flush());
  }
  batch_.clear();
  const auto failed = std::exchange(failed_, {});
  for (const auto& [port, words] : failed) port->user().on_failed(words);
  return moved + failed.size();
}

}  // namespace tutti::fabric
