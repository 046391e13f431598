#include "transports/tcp/receiver.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {
constexpr std::size_t kBufferBytes = 128u << 10;
constexpr std::size_t kWholeBytesMax = 16u << 10;  // a payload up to this waits until it is whole in the buffer
constexpr std::size_t kLookaheadBytes = 4u << 10;  // behind a large payload: the next header and small frames
constexpr std::size_t kLowWaterBytes = 32u << 10;
constexpr std::size_t kSipBytes = 16u << 10;
constexpr unsigned kSipsMax = 2;
static_assert(kLookaheadBytes < kWholeBytesMax + kFrameHeaderBytes &&
              kWholeBytesMax + kFrameHeaderBytes < kBufferBytes);
}  // namespace

Receiver::Receiver(std::size_t frame_bytes_max)
    : frame_bytes_max_(frame_bytes_max),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kBufferBytes)),
      appetite_(kBufferBytes) {}

void Receiver::receive(Conduit conduit) {
  if (ended_ || phase_ == Phase::announced) return;
  if (phase_ != Phase::frames) return receive_payload(conduit);
  make_room();
  const std::size_t missing = appetite_ > buffered() ? appetite_ - buffered() : kBufferBytes - buffered();
  const std::size_t room = std::min(missing, kBufferBytes - end_);
  const std::size_t got = read(conduit, buffer_.get() + end_, room, nullptr, 0);
  end_ += got;
  if (got == room) appetite_ = std::min(2 * appetite_, kBufferBytes);  // small frames have taken over
}

// The buffer is empty in these phases: what was in it has gone to the target.
void Receiver::receive_payload(Conduit conduit) {
  begin_ = end_ = 0;
  const std::size_t rest = large_bytes_ - large_filled_;
  if (phase_ == Phase::fetching) {
    const std::size_t got = read(conduit, target_ + large_filled_, rest, buffer_.get(), kLookaheadBytes);
    large_filled_ += std::min(got, rest);
    end_ = got > rest ? got - rest : 0;
  } else {
    const std::size_t got = read(conduit, buffer_.get(), std::min(rest, kBufferBytes), nullptr, 0);
    large_filled_ += got;
  }
  const std::size_t missing = large_bytes_ - large_filled_;
  if (drained_ && rest - missing < kSipBytes) ++sips_;
  if (missing == 0) {
    sips_ = 0;
    set_low_water(conduit, 1);
  } else if (sips_ >= kSipsMax || low_water_ > missing) {
    set_low_water(conduit, std::min(missing, kLowWaterBytes));
  }
}

// A slow link brings a payload in many small pieces: to be woken for each costs more than to receive it. Not with
// TLS, which may hold most of the last record already.
void Receiver::set_low_water(Conduit conduit, std::size_t bytes) {
  if (bytes == low_water_ || conduit.tls != nullptr) return;
  const int value = static_cast<int>(bytes);
  if (setsockopt(conduit.fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value) == 0) low_water_ = bytes;
}

std::size_t Receiver::read(Conduit conduit, std::byte* first, std::size_t first_bytes, std::byte* second,
                           std::size_t second_bytes) {
  iovec parts[2] = {{first, first_bytes}, {second, second_bytes}};
  const ssize_t got = receive_from(conduit, {parts, second_bytes == 0 ? 1u : 2u});
  if (got < 0) {
    drained_ = true;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    error_ = errno;
    ended_ = true;
    return 0;
  }
  const auto bytes = static_cast<std::size_t>(got);
  drained_ = bytes < first_bytes + second_bytes;
  ended_ = bytes == 0;
  return bytes;
}

void Receiver::make_room() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (begin_ > 0 && kBufferBytes - begin_ < kWholeBytesMax + kFrameHeaderBytes) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
    end_ -= begin_;
    begin_ = 0;
  }
}

bool Receiver::is_sound(const FrameHead& head) {
  if (head.bytes <= frame_bytes_max_) return true;
  fault_ = Status(Code::internal, format("frame {} claims {} bytes of payload, the limit is {} bytes", number_,
                                         head.bytes, frame_bytes_max_));
  return false;
}

bool Receiver::next(Event& event) {
  if (phase_ == Phase::announced || !fault_) return false;
  if (phase_ != Phase::frames) {
    if (large_filled_ < large_bytes_) return false;
    const bool was_fetched = phase_ == Phase::fetching;
    phase_ = Phase::frames;
    if (was_fetched) {
      event = Event{};
      event.kind = EventKind::fetched;
      event.token = large_token_;
      return true;
    }
  }
  if (buffered() < kFrameHeaderBytes) return false;
  const std::byte* const at = buffer_.get() + begin_;
  const auto head = decode_frame(at, number_);
  if (!head) {
    fault_ = Status(Code::internal, format("the bytes after frame {} are not the header of the next one", number_));
    return false;
  }
  if (!is_sound(*head)) return false;
  const bool is_whole = buffered() >= kFrameHeaderBytes + head->bytes;
  if (!is_whole && head->bytes <= kWholeBytesMax) {
    appetite_ = kBufferBytes;
    return false;
  }
  event = Event{};
  event.kind = EventKind::delivery;
  event.token = number_++;
  event.header = head->header;
  event.bytes = head->bytes;
  begin_ += kFrameHeaderBytes;
  if (is_whole) {
    event.transient = true;
    event.data = at + kFrameHeaderBytes;
    begin_ += head->bytes;
  } else {
    phase_ = Phase::announced;
    large_token_ = event.token;
    large_bytes_ = head->bytes;
    large_filled_ = 0;
  }
  return true;
}

FetchState Receiver::fetch(Conduit conduit, std::uint64_t token, std::byte* target) {
  if (phase_ != Phase::announced || token != large_token_) return FetchState::closed;
  const std::size_t here = std::min(buffered(), large_bytes_);
  std::memcpy(target, buffer_.get() + begin_, here);
  begin_ += here;
  large_filled_ = here;
  target_ = target;
  phase_ = Phase::fetching;
  appetite_ = kLookaheadBytes;
  if (large_filled_ < large_bytes_ && !ended_ && !is_drained()) {
    large_filled_ += read(conduit, target + large_filled_, large_bytes_ - large_filled_, nullptr, 0);
  }
  if (large_filled_ < large_bytes_) return FetchState::pending;
  phase_ = Phase::frames;
  return FetchState::done;
}

void Receiver::release(std::uint64_t token) {
  if (phase_ != Phase::announced || token != large_token_) return;
  const std::size_t here = std::min(buffered(), large_bytes_);
  begin_ += here;
  large_filled_ = here;
  phase_ = Phase::skipping;
}

}  // namespace tutti::tcp
