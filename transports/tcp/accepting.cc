// Connections that others opened: letting them in, and what to make of their greeting. transport.h has the rule.
#include <algorithm>
#include <cerrno>

#include "src/base/format.h"
#include "transports/tcp/transport.h"

namespace tutti::tcp {

namespace {

constexpr int kAcceptsPerPoll = 64;
constexpr Nanoseconds kAcceptPause = std::chrono::milliseconds(250);
constexpr Nanoseconds kSetupAgeMin = std::chrono::milliseconds(250);  // a younger one is not put out for a newcomer

}  // namespace

void TcpTransport::accept_all(Instant now) {
  for (int i = 0; i < kAcceptsPerPoll; ++i) {
    if (!make_place(now)) return;
    auto accepted = listener_.accept();
    if (!accepted.descriptor) {
      if (accepted.error == EAGAIN || accepted.error == EWOULDBLOCK) {
        accepting_ = false;
        return;
      }
      if (accepted.error == ECONNABORTED || accepted.error == EINTR || accepted.error == EPROTO) continue;
      accept_again_ = now + kAcceptPause;
      plan_timer(accept_again_);
      strangers_.report(format("connections wait to be accepted: {}. Trying again every {}",
                               describe_errno(accepted.error), format_duration(kAcceptPause)),
                        now);
      return;
    }
    const auto nonce = new_nonce();
    if (!nonce) return strangers_.report(nonce.status().text(), now);
    const std::uint64_t serial = next_serial_++;
    Setup setup(std::move(accepted.descriptor), accepted.remote,
                Handshake(Handshake::Role::server, options_.key, *nonce, to_string(accepted.remote)),
                make_tls(TlsChannel::Role::server, options_.key, accepted.remote));
    tune(setup.descriptor(), {options_.buffer_bytes, options_.silence_limit});
    setup.began = now;
    setup.deadline = deadline_after(now, options_.handshake_limit);
    plan_timer(setup.deadline);
    watch(setup.descriptor(), Watched::setup, serial, true);
    setups_.emplace(serial, std::move(setup));
    ++accepted_;
  }
}

// Whether one more connection may be accepted. At the limit the oldest stranger goes, unless it is young: then the
// newcomers wait in the kernel's backlog.
bool TcpTransport::make_place(Instant now) {
  if (accepted_ < options_.handshakes_max) return true;
  auto oldest = setups_.end();
  for (auto it = setups_.begin(); it != setups_.end(); ++it) {
    if (it->second.is_dialer()) continue;
    if (oldest == setups_.end() || it->second.began < oldest->second.began) oldest = it;
  }
  if (now - oldest->second.began < kSetupAgeMin) {
    accept_again_ = oldest->second.began + kSetupAgeMin;
    plan_timer(accept_again_);
    return false;
  }
  drop(oldest->first, format("it gave way to newer connections: {} were waiting for a proof", accepted_), false, now);
  return true;
}

void TcpTransport::on_hello(std::uint64_t serial, Setup& setup, Instant now) {
  const Greeting& hello = setup.heard();
  const LaneKey key{hello.from, hello.lane};
  if (const auto reason = judge(hello); reason != Greeting::Reason::none) {
    Greeting refusal = make_greeting(Greeting::Kind::refuse, key);
    refusal.reason = reason;
    setup.say(refusal);
    return drop(
        serial,
        format("it asked for process {} on lane {} with frames up to {} bytes; this is process {} with frames up "
               "to {}",
               to_string(hello.to), hello.lane, hello.frame_bytes_max, to_string(options_.process),
               options_.frame_bytes_max),
        true, now);
  }
  if (hello.from < options_.process) {
    if (!setup.say(make_greeting(Greeting::Kind::offer, key))) drop(serial, setup.status().text(), false, now);
    return;
  }
  Lane& lane = lanes_[key];
  if (!decides_for(setup, lane)) {
    Greeting refusal = make_greeting(Greeting::Kind::refuse, key);
    refusal.reason = Greeting::Reason::not_now;
    setup.say(refusal);
    setups_.erase(serial);
    --accepted_;
    return;
  }
  Greeting go = make_greeting(Greeting::Kind::go, key);
  ++go.generation;
  if (!setup.say(go)) return drop(serial, setup.status().text(), false, now);
  adopt(serial, setup, key, go.generation);
}

Greeting::Reason TcpTransport::judge(const Greeting& hello) const {
  if (hello.to != options_.process || hello.from == options_.process) return Greeting::Reason::other_process;
  if (hello.frame_bytes_max != options_.frame_bytes_max) return Greeting::Reason::frame_limit;
  if (hello.lane >= kLanesLimit) return Greeting::Reason::lane;
  return Greeting::Reason::none;
}

// This process has the smaller id: whether the peer's dial becomes the link.
bool TcpTransport::decides_for(const Setup& setup, const Lane& lane) const {
  if (lane.link == nullptr || lane.link->is_closed()) return true;
  if (lane.link->is_open()) return setup.heard().generation >= lane.generation;
  if (!lane.dial || !lane.dial->is_trying()) return true;
  const auto own = setups_.find(lane.dial->setup());
  return own == setups_.end() || !own->second.is_connected();
}

}  // namespace tutti::tcp
