#include "transports/tcp/setup.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "src/base/format.h"

namespace tutti::tcp {

Setup::Setup(Descriptor descriptor, Endpoint remote, Handshake handshake)
    : descriptor_(std::move(descriptor)), remote_(remote), handshake_(std::move(handshake)), phase_(Phase::proving) {}

Setup::Setup(Descriptor descriptor, Endpoint remote, Handshake handshake, Greeting hello)
    : descriptor_(std::move(descriptor)),
      remote_(remote),
      handshake_(std::move(handshake)),
      hello_(std::move(hello)),
      phase_(Phase::connecting) {}

Setup::Step Setup::advance() {
  if (phase_ == Phase::connecting) {
    if (const Step step = check_connection(); step == Step::failed || phase_ == Phase::connecting) return step;
  }
  if (phase_ == Phase::proving) {
    if (const Step step = prove(); step == Step::failed || phase_ == Phase::proving) return step;
  }
  if (phase_ == Phase::greeting) return hear();
  return Step::failed;
}

Setup::Step Setup::check_connection() {
  const std::optional<int> outcome = connect_outcome(descriptor_.get());
  if (!outcome) return Step::waiting;
  if (*outcome != 0) return fail_with_errno(*outcome);
  phase_ = Phase::proving;
  return Step::waiting;
}

Setup::Step Setup::prove() {
  std::array<std::byte, 128> chunk;
  for (;;) {
    const auto more = handshake_.take_output();
    output_.insert(output_.end(), more.begin(), more.end());
    if (!flush()) return Step::failed;
    if (handshake_.failed()) return fail(handshake_.status(), true);
    if (handshake_.done()) break;
    const auto got = read(chunk.data(), std::min(chunk.size(), handshake_.wanted()));
    if (!got) return Step::waiting;
    if (*got == 0) return Step::failed;
    has_heard_ = true;
    handshake_.feed(std::span(chunk).first(*got));
  }
  phase_ = Phase::greeting;
  if (hello_ && !say(*hello_)) return Step::failed;
  return Step::waiting;
}

Setup::Step Setup::hear() {
  if (!flush()) return Step::failed;
  while (input_.size() < kGreetingBytes) {
    std::array<std::byte, kGreetingBytes> chunk;
    const auto got = read(chunk.data(), kGreetingBytes - input_.size());
    if (!got) return Step::waiting;
    if (*got == 0) return Step::failed;
    input_.insert(input_.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(*got));
  }
  auto greeting = parse_greeting(input_, to_string(remote_));
  input_.clear();
  if (!greeting) return fail(greeting.status(), true);
  heard_ = *std::move(greeting);
  return Step::greeted;
}

bool Setup::say(const Greeting& greeting) {
  const auto bytes = encode(greeting);
  output_.insert(output_.end(), bytes.begin(), bytes.end());
  // All messages of a set-up together are smaller than the smallest send buffer, so this writes all or never will.
  return flush();
}

bool Setup::flush() {
  while (!output_.empty()) {
    const ssize_t written = send(descriptor_.get(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (written < 0) {
      // A refusal could not be delivered: why we refused matters more.
      fail(handshake_.failed() ? handshake_.status() : Status(Code::peer_lost, describe_errno(errno)),
           handshake_.failed());
      return false;
    }
    output_.erase(output_.begin(), output_.begin() + written);
  }
  return true;
}

std::optional<std::size_t> Setup::read(std::byte* to, std::size_t count) {
  ssize_t got = -1;
  do {
    got = recv(descriptor_.get(), to, count, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
  if (got == 0) {
    fail(Status(Code::peer_lost, format("the connection was closed while we waited for {}", awaited())), false);
  } else {
    fail_with_errno(errno);
  }
  return 0;
}

Setup::Step Setup::fail(Status status, bool definitive) {
  status_ = std::move(status);
  definitive_ = definitive;
  phase_ = Phase::failed;
  return Step::failed;
}

Setup::Step Setup::fail_with_errno(int error) { return fail(Status(Code::peer_lost, describe_errno(error)), false); }

std::string_view Setup::awaited() const {
  switch (phase_) {
    case Phase::connecting:
      return "the connection";
    case Phase::proving:
      return "the proof of the secret";
    case Phase::greeting:
    case Phase::failed:
      return "the greeting";
  }
  return "the connection";
}

}  // namespace tutti::tcp
