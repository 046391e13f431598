#include "transports/tcp/setup.h"

#include <algorithm>
#include <cerrno>

#include "src/base/format.h"

namespace tutti::tcp {

Setup::Setup(Descriptor descriptor, Endpoint remote, Handshake handshake, Tls tls)
    : descriptor_(std::move(descriptor)),
      remote_(remote),
      handshake_(std::move(handshake)),
      tls_(std::move(tls)),
      phase_(tls_ != nullptr ? Phase::securing : Phase::proving) {}

Setup::Setup(Descriptor descriptor, Endpoint remote, Handshake handshake, Greeting hello, Tls tls)
    : descriptor_(std::move(descriptor)),
      remote_(remote),
      handshake_(std::move(handshake)),
      tls_(std::move(tls)),
      hello_(std::move(hello)),
      phase_(Phase::connecting) {}

Setup::Step Setup::advance() {
  if (phase_ == Phase::connecting) {
    if (const Step step = check_connection(); step == Step::failed || phase_ == Phase::connecting) return step;
  }
  if (phase_ == Phase::securing) {
    if (const Step step = secure(); step == Step::failed || phase_ == Phase::securing) return step;
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
  phase_ = tls_ != nullptr ? Phase::securing : Phase::proving;
  return Step::waiting;
}

// The proof that follows holds for this TLS session alone.
Setup::Step Setup::secure() {
  const TlsChannel::Step step = tls_->handshake(descriptor_.get());
  if (step == TlsChannel::Step::waiting) return Step::waiting;
  if (step == TlsChannel::Step::failed) return fail(tls_->status(), tls_->status().code() != Code::peer_lost);
  const auto binding = tls_->binding();
  const Status bound = binding ? handshake_.bind(*binding) : binding.status();
  if (!bound) return fail(bound, false);
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
  while (!output_.empty() || conduit().has_unsent()) {
    const ssize_t written = send_to(conduit(), output_.data(), output_.size());
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (written < 0) {
      if (fail_in_tls()) return false;
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
  const ssize_t got = receive_from(conduit(), to, count);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::nullopt;
  if (fail_in_tls()) return 0;
  if (got == 0) {
    fail(Status(Code::peer_lost, format("the connection was closed while we waited for {}", awaited())), false);
  } else {
    fail_with_errno(errno);
  }
  return 0;
}

// Whether the peer has refused us by TLS; it may have done so before it took what we could not send any more.
bool Setup::fail_in_tls() {
  if (tls_ == nullptr) return false;
  const int error = errno;
  std::byte none;
  if (!tls_->failed()) static_cast<void>(receive_from(conduit(), &none, 1));
  errno = error;
  if (!tls_->failed()) return false;
  fail(tls_->status(), tls_->status().code() != Code::peer_lost);
  return true;
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
    case Phase::securing:
      return "the TLS handshake";
    case Phase::proving:
      return "the proof of the secret";
    case Phase::greeting:
    case Phase::failed:
      return "the greeting";
  }
  return "the connection";
}

}  // namespace tutti::tcp
