#include "src/api/member_view.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>

#include "src/base/format.h"
#include "src/engine/roll.h"

namespace tutti {

std::string encode_blobs(const Blobs& blobs) {
  std::vector<std::optional<std::string>> all(blobs.begin(), blobs.end());
  std::string bytes(4, '\0');
  const auto count = static_cast<std::uint32_t>(all.size());
  std::memcpy(bytes.data(), &count, 4);
  return bytes + encode_roll(all);
}

Result<Blobs> decode_blobs(std::string_view bytes) {
  constexpr std::uint32_t kBlobsMax = 1u << 16;
  std::uint32_t count = 0;
  if (bytes.size() >= 4) std::memcpy(&count, bytes.data(), 4);
  if (bytes.size() < 4 || count > kBlobsMax)
    return Status(Code::internal, format("{} bytes that should be a list of members are none", bytes.size()));
  auto all = decode_roll(bytes.substr(4), count);
  if (!all) return all.status();
  Blobs blobs;
  for (auto& blob : *all) blobs.push_back(blob.value_or(""));
  return blobs;
}

std::string text_of(const Invitation& invitation) {
  const std::vector<std::byte> bytes = invitation.encode();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<Invitation> invitation_of(std::string_view text) { return Invitation::decode(std::as_bytes(std::span(text))); }

std::string MemberView::encode() const {
  Blobs blobs = {format("{} {}", id, epoch)};
  for (const Seat& seat : seats) {
    blobs.push_back(format("{} {}", seat.slot, seat.joins ? 1 : 0));
    blobs.push_back(text_of(seat.member));
  }
  return encode_blobs(blobs);
}

Result<MemberView> MemberView::decode(std::string_view bytes) {
  const Result<Blobs> blobs = decode_blobs(bytes);
  if (!blobs) return blobs.status();
  MemberView view;
  unsigned long long id = 0;
  unsigned long long epoch = 0;
  if (blobs->size() % 2 == 0 || std::sscanf((*blobs)[0].c_str(), "%llu %llu", &id, &epoch) != 2)
    return Status(Code::internal, "a boarding pass has no communicator's number");
  view.id = id;
  view.epoch = epoch;
  for (std::size_t i = 1; i < blobs->size(); i += 2) {
    int slot = 0;
    int joins = 0;
    if (std::sscanf((*blobs)[i].c_str(), "%d %d", &slot, &joins) != 2 || slot < 0)
      return Status(Code::internal, "a boarding pass has a member without a slot");
    Result<Invitation> member = invitation_of((*blobs)[i + 1]);
    if (!member) return member.status();
    view.seats.push_back({*std::move(member), slot, joins != 0});
  }
  return view;
}

int MemberView::free_slot() const {
  int slot = 0;
  while (std::any_of(seats.begin(), seats.end(), [&](const Seat& seat) { return seat.slot == slot; })) ++slot;
  return slot;
}

std::size_t MemberView::stayed() const {
  return static_cast<std::size_t>(std::count_if(seats.begin(), seats.end(), [](const Seat& s) { return !s.joins; }));
}

int MemberView::rank_of(const ProcessId& process, std::uint64_t nonce) const {
  for (std::size_t i = 0; i < seats.size(); ++i) {
    if (seats[i].member.address.process == process && seats[i].member.nonce == nonce) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace tutti
