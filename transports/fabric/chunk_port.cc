#include "transports/fabric/chunk_port.h"

#include <algorithm>
#include <cstring>

#include "src/base/format.h"

namespace tutti::fabric {

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
    if (!has_room()) return false;
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

void ChunkPort::abandon_chunks() {
  abandon();
  sending_.clear();
  order_.clear();
  taking_.clear();
}

}  // namespace tutti::fabric
