// A connection on its way to becoming a link: TCP itself, TLS where it is wanted, the proof of the key, the
// greetings. Reads exactly what each message needs and never into the frames behind, and holds less than 1 KiB of
// whoever is at the other end, beside what TLS needs (src/tls/channel.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/handshake.h"
#include "src/tls/conduit.h"
#include "transports/tcp/greeting.h"
#include "transports/tcp/socket.h"

namespace tutti::tcp {

class Setup {
 public:
  using Tls = std::unique_ptr<TlsChannel>;

  // An accepted connection; `handshake` is a server's, and so is `tls` where it is not null.
  Setup(Descriptor descriptor, Endpoint remote, Handshake handshake, Tls tls = nullptr);
  // One that was started; both are a client's. `hello` is said as soon as the handshake is done.
  Setup(Descriptor descriptor, Endpoint remote, Handshake handshake, Greeting hello, Tls tls = nullptr);

  enum class Step : std::uint8_t {
    waiting,  // for the peer
    greeted,  // heard() is what the peer said; answer with say(), or take the descriptor
    failed,   // status() says why
  };
  // Moves whatever can be moved.
  Step advance();

  // Sends a greeting; false where it cannot be sent (the peer is gone).
  bool say(const Greeting& greeting);

  const Greeting& heard() const { return heard_; }
  const Status& status() const { return status_; }
  // The peer refused us or we refused the peer; trying again the same way is of no use.
  bool is_definitive() const { return definitive_; }
  // The peer left without having said a word: a probe of some kind, nothing to tell people of.
  bool said_nothing() const { return !has_heard_ && (tls_ == nullptr || !tls_->has_heard()); }
  bool is_authenticated() const { return handshake_.done(); }
  bool is_connected() const { return phase_ != Phase::connecting; }
  bool is_dialer() const { return hello_.has_value(); }
  std::string_view awaited() const;  // what is not there yet, for messages

  int descriptor() const { return descriptor_.get(); }
  Descriptor take_descriptor() { return std::move(descriptor_); }
  Tls take_tls() { return std::move(tls_); }
  const Endpoint& remote() const { return remote_; }
  ProcessId target() const { return hello_ ? hello_->to : ProcessId{}; }
  std::uint32_t lane() const { return hello_ ? hello_->lane : 0; }

  Instant began{};            // the owner's: when it came to be
  Instant deadline = kNever;  // and when it is given up

 private:
  enum class Phase : std::uint8_t { connecting, securing, proving, greeting, failed };

  Step check_connection();
  Step secure();
  Step prove();
  Step hear();
  Step fail(Status status, bool definitive);
  Step fail_with_errno(int error);
  bool flush();
  bool fail_in_tls();
  Conduit conduit() const { return {descriptor_.get(), tls_.get()}; }
  // Reads up to `count` bytes: nothing while none are there, 0 at the end or an error (status_ is set).
  std::optional<std::size_t> read(std::byte* to, std::size_t count);

  Descriptor descriptor_;
  Endpoint remote_;
  Handshake handshake_;
  Tls tls_;
  std::optional<Greeting> hello_;
  Phase phase_;
  std::vector<std::byte> output_;
  std::vector<std::byte> input_;
  Greeting heard_;
  Status status_;
  bool definitive_ = false;
  bool has_heard_ = false;
};

}  // namespace tutti::tcp
