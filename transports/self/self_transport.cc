#include "transports/self/self_transport.h"

#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "transports/self/self_link.h"

namespace tutti {

namespace {

constexpr std::uint64_t kMagic = 0x666c657369747574ull;  // "tutiself"

}  // namespace

SelfTransport::SelfTransport(const ProcessId& self, const SelfOptions& options) : self_(self), options_(options) {
  capabilities_.name = "self";
  capabilities_.frame_bytes_max = std::size_t{1} << 30;
  capabilities_.copied_bytes_max = options.copied_bytes_max;
  capabilities_.bytes_per_second = 1e12;  // a pointer is handed over
  capabilities_.latency = Nanoseconds(100);
  const std::array<std::uint64_t, 3> words{kMagic, self.high, self.low};
  static_assert(sizeof words == sizeof address_);
  std::memcpy(address_.data(), words.data(), sizeof words);
}

SelfTransport::~SelfTransport() = default;

bool SelfTransport::reaches(std::span<const std::byte> address) const {
  return std::ranges::equal(address, address_);
}

Result<Link*> SelfTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                     Instant) {
  if (peer != self_ || !reaches(address)) {
    return Status(Code::invalid,
                  format("self: process {} is not this process ({}), and nobody else is reached this way. "
                         "No link was made",
                         to_string(peer), to_string(self_)));
  }
  for (const auto& link : links_) {
    if (link->lane_ == lane && !link->closed_) return static_cast<Link*>(link.get());
  }
  links_.push_back(std::make_unique<SelfLink>(*this, lane));
  Event event;
  event.kind = EventKind::connected;
  event.link = links_.back().get();
  events_.push_back(event);
  return event.link;
}

void SelfTransport::forget(Link* link) {
  std::erase_if(links_, [&](const auto& ours) { return ours.get() == link; });
}

std::size_t SelfTransport::poll(std::span<Event> out, Instant) {
  std::size_t count = 0;
  for (; count < out.size() && !events_.empty(); ++count) {
    out[count] = events_.front();
    events_.pop_front();
    static_cast<SelfLink*>(out[count].link)->note_reported(out[count]);
  }
  return count;
}

}  // namespace tutti
