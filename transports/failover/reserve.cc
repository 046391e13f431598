#include "transports/failover/reserve.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::size_t kAddressBytesMax = 4096;
constexpr std::uint16_t kMagic = 0x5652;
constexpr Nanoseconds kPause = std::chrono::milliseconds(1);
constexpr Nanoseconds kAttention = std::chrono::milliseconds(100);  // after something has come by the second

struct Addresses {
  std::span<const std::byte> first;
  std::span<const std::byte> second;
};

std::optional<Addresses> split(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint16_t>() != kMagic) return std::nullopt;
  Addresses addresses;
  addresses.first = in.take(in.get<std::uint16_t>());
  addresses.second = in.take(in.left());
  return in.is_at_end() ? std::optional(addresses) : std::nullopt;
}

Capabilities common(const Capabilities& first, const Capabilities& second) {
  Capabilities both = first;
  both.frame_bytes_max = std::min(first.frame_bytes_max, second.frame_bytes_max);
  both.copied_bytes_max = std::min(first.copied_bytes_max, second.copied_bytes_max);
  both.held_frames_max = std::min(first.held_frames_max, second.held_frames_max);
  both.lanes_max = std::min(first.lanes_max, kReserveLane);
  both.has_segment = false;
  return both;
}

class ReservedTransport final : public Transport {
 public:
  ReservedTransport(std::unique_ptr<Transport> first, std::unique_ptr<Transport> second,
                    std::vector<std::byte> address, int epoll)
      : first_(std::move(first)),
        second_(std::move(second)),
        capabilities_(common(first_->capabilities(), second_->capabilities())),
        address_(std::move(address)),
        epoll_(epoll) {
    for (const int descriptor : {first_->wait_descriptor(), second_->wait_descriptor()}) {
      epoll_event event{};
      event.events = EPOLLIN;
      if (descriptor >= 0) epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
    }
  }
  ~ReservedTransport() override {
    first_.reset();
    second_.reset();
    close(epoll_);
  }

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return address_; }
  bool reaches(std::span<const std::byte> address) const override {
    const auto parts = split(address);
    return parts && first_->reaches(parts->first) && second_->reaches(parts->second);
  }

  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override {
    const auto parts = split(address);
    if (!parts || !second_->reaches(parts->second))
      return Status(Code::invalid, format("{} bytes are no address of a process", address.size()));
    due_ = {};
    return lane == kReserveLane ? second_->connect(peer, parts->second, lane, deadline)
                                : first_->connect(peer, parts->first, lane, deadline);
  }

  void forget(Link* link) override { (link->lane() == kReserveLane ? second_ : first_)->forget(link); }

  std::size_t poll(std::span<Event> out, Instant now) override {
    std::size_t count = first_->poll(out, now);
    if (count == out.size() || (now < due_ && now >= attentive_until_)) return count;
    const std::size_t others = second_->poll(out.subspan(count), now);
    if (others > 0) attentive_until_ = now + kAttention;
    due_ = now + kPause;
    return count + others;
  }

  int wait_descriptor() const override { return epoll_; }
  bool prepare_wait() override {
    if (!first_->prepare_wait()) return false;
    if (second_->prepare_wait()) return true;
    first_->finish_wait();
    due_ = {};
    return false;
  }
  void finish_wait() override {
    first_->finish_wait();
    second_->finish_wait();
    due_ = {};
  }

 private:
  std::unique_ptr<Transport> first_;
  std::unique_ptr<Transport> second_;
  const Capabilities capabilities_;
  const std::vector<std::byte> address_;
  const int epoll_;
  Instant due_{};
  Instant attentive_until_{};
};

}  // namespace

Result<std::unique_ptr<Transport>> make_reserved_transport(std::unique_ptr<Transport> first,
                                                           std::unique_ptr<Transport> second) {
  const auto its_first = first->address();
  const auto its_second = second->address();
  std::vector<std::byte> address(2 * sizeof(std::uint16_t) + its_first.size() + its_second.size());
  store_little_endian(address.data(), kMagic);
  store_little_endian(address.data() + 2, static_cast<std::uint16_t>(its_first.size()));
  std::copy(its_first.begin(), its_first.end(), address.begin() + 4);
  std::copy(its_second.rbegin(), its_second.rend(), address.rbegin());
  if (address.size() > kAddressBytesMax) {
    return Status(Code::unsupported,
                  format("the addresses of {} and {} together have {} bytes; {} are possible",
                         first->capabilities().name, second->capabilities().name, address.size(), kAddressBytesMax));
  }
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return Status::from_errno(errno, "a descriptor to wait on");
  return std::unique_ptr<Transport>(
      std::make_unique<ReservedTransport>(std::move(first), std::move(second), std::move(address), epoll));
}

}  // namespace tutti
