// How connections become links: accepting, dialing, and what to make of each greeting. See transport.h for the rule.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "src/base/format.h"
#include "transports/tcp/transport.h"

namespace tutti::tcp {

namespace {

constexpr int kAcceptsPerPoll = 64;
constexpr Nanoseconds kAcceptPause = std::chrono::milliseconds(250);
constexpr Nanoseconds kSetupAgeMin = std::chrono::milliseconds(250);  // a younger one is not put out for a newcomer
constexpr Nanoseconds kConnectLimit = std::chrono::seconds(2);

std::string_view explain(Greeting::Reason reason) {
  switch (reason) {
    case Greeting::Reason::none:
      return "it gave no reason";
    case Greeting::Reason::other_process:
      return "another process listens there now";
    case Greeting::Reason::frame_limit:
      return "it has another limit on the size of a frame";
    case Greeting::Reason::lane:
      return "it has no such lane";
    case Greeting::Reason::not_now:
      return "it makes the connection itself";
  }
  return "it gave no reason";
}

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
                Handshake(Handshake::Role::server, options_.key, *nonce, to_string(accepted.remote)));
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

void TcpTransport::advance(std::uint64_t serial, Instant now) {
  const auto found = setups_.find(serial);
  if (found == setups_.end()) return;
  Setup& setup = found->second;
  const bool was_connected = setup.is_connected();
  switch (setup.advance()) {
    case Setup::Step::waiting:
      if (!was_connected && setup.is_connected()) {
        setup.deadline = deadline_after(now, options_.handshake_limit);
        plan_timer(setup.deadline);
      }
      return;
    case Setup::Step::greeted:
      return on_heard(serial, setup, now);
    case Setup::Step::failed:
      return drop(serial, setup.status().text(), setup.is_definitive(), now);
  }
}

void TcpTransport::on_heard(std::uint64_t serial, Setup& setup, Instant now) {
  const bool for_us = setup.heard().to == options_.process;
  if (setup.is_dialer()) return on_reply(serial, setup, now);
  if (setup.heard().kind == Greeting::Kind::hello) return on_hello(serial, setup, now);
  if (setup.heard().kind == Greeting::Kind::go && for_us && setup.heard().from < options_.process) {
    return adopt(serial, setup, {setup.heard().from, setup.heard().lane}, setup.heard().generation);
  }
  drop(serial, "its greeting is out of place", true, now);
}

Greeting TcpTransport::make_greeting(Greeting::Kind kind, const LaneKey& key) const {
  Greeting greeting;
  greeting.kind = kind;
  greeting.from = options_.process;
  greeting.to = key.first;
  greeting.lane = key.second;
  greeting.pid = address_.pid;
  greeting.host_name = address_.host_name;
  greeting.frame_bytes_max = options_.frame_bytes_max;
  const auto known = lanes_.find(key);
  greeting.generation = known == lanes_.end() ? 0 : known->second.generation;
  return greeting;
}

Greeting::Reason TcpTransport::judge(const Greeting& hello) const {
  if (hello.to != options_.process || hello.from == options_.process) return Greeting::Reason::other_process;
  if (hello.frame_bytes_max != options_.frame_bytes_max) return Greeting::Reason::frame_limit;
  if (hello.lane >= kLanesLimit) return Greeting::Reason::lane;
  return Greeting::Reason::none;
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

// This process has the smaller id: whether the peer's dial becomes the link.
bool TcpTransport::decides_for(const Setup& setup, const Lane& lane) const {
  if (lane.link == nullptr || lane.link->is_closed()) return true;
  if (lane.link->is_open()) return setup.heard().generation >= lane.generation;
  if (!lane.dial || !lane.dial->is_trying()) return true;
  const auto own = setups_.find(lane.dial->setup());
  return own == setups_.end() || !own->second.is_connected();
}

void TcpTransport::on_reply(std::uint64_t serial, Setup& setup, Instant now) {
  const Greeting& reply = setup.heard();
  const LaneKey key{setup.target(), setup.lane()};
  if (reply.from != setup.target() && reply.kind != Greeting::Kind::refuse) {
    return drop(serial, format("process {} answered in its place", to_string(reply.from)), true, now);
  }
  Lane& lane = lanes_[key];
  const bool is_ours = lane.dial && lane.dial->setup() == serial && lane.link->is_connecting();
  switch (reply.kind) {
    case Greeting::Kind::refuse:
      if (reply.reason != Greeting::Reason::not_now) {
        return drop(serial, format("refused: {}", explain(reply.reason)), true, now);
      }
      if (is_ours) {
        lane.dial->yield_to_peer(now);
        plan_timer(lane.dial->next_try());
      }
      setups_.erase(serial);
      return;
    case Greeting::Kind::offer: {
      if (!is_ours || reply.from < options_.process) {  // another connection has become the link
        setups_.erase(serial);
        return;
      }
      Greeting go = make_greeting(Greeting::Kind::go, key);
      ++go.generation;
      if (!setup.say(go)) return drop(serial, setup.status().text(), false, now);
      return adopt(serial, setup, key, go.generation);
    }
    case Greeting::Kind::go:
      if (is_ours) return adopt(serial, setup, key, reply.generation);
      lane.generation = reply.generation;  // nobody here wants it any more; the peer sees it end
      setups_.erase(serial);
      return;
    case Greeting::Kind::hello:
      return drop(serial, "its greeting is out of place", true, now);
  }
}

// Both sides agree: this connection is the lane's link, and whatever was before is not.
void TcpTransport::adopt(std::uint64_t serial, Setup& setup, const LaneKey& key, std::uint64_t generation) {
  const std::string name = format("{} (pid {})", setup.heard().host_name, setup.heard().pid);
  Lane& lane = lanes_[key];
  lane.generation = generation;
  if (lane.link != nullptr && lane.link->is_open()) {
    lane.link->lose(Code::peer_lost, format("{} has lost it and made a new one", name));
  }
  if (lane.link == nullptr || lane.link->is_closed()) lane.link = &add_link(key.first, key.second, name);
  if (lane.dial && lane.dial->is_trying() && lane.dial->setup() != serial) {
    // A try that has not reached the peer yet ends here; one that has runs on until the peer refuses it, so that the
    // peer need not take it for a stranger's.
    const auto own = setups_.find(lane.dial->setup());
    if (own != setups_.end() && !own->second.is_connected()) setups_.erase(own);
  }
  lane.dial.reset();
  if (!setup.is_dialer()) --accepted_;
  watch(setup.descriptor(), Watched::link, lane.link->serial(), false);
  lane.link->open(setup.take_descriptor(), setup.remote(), options_);
  options_.log.write(LogLevel::debug, "tcp", "{} is open", lane.link->describe());
  setups_.erase(serial);
  if (options_.silence_limit.count() > 0) plan_timer(Instant::min());
}

// Ends a set-up that came to nothing: a dial of ours goes on to the next route; of a stranger people are told.
void TcpTransport::drop(std::uint64_t serial, const std::string& cause, bool definitive, Instant now) {
  const auto found = setups_.find(serial);
  const Setup setup = std::move(found->second);
  setups_.erase(found);
  if (!setup.is_dialer()) {
    --accepted_;
    const std::string sentence = format("connection from {} refused: {}", to_string(setup.remote()), cause);
    if (setup.is_authenticated() || (setup.said_nothing() && setup.status().code() == Code::peer_lost)) {
      options_.log.write(LogLevel::debug, "tcp", "{}", sentence);
    } else {
      strangers_.report(sentence, now);
    }
    return;
  }
  const LaneKey key{setup.target(), setup.lane()};
  Lane& lane = lanes_[key];
  if (!lane.dial || lane.dial->setup() != serial || lane.link->is_closed()) return;
  lane.dial->fail_try(cause, definitive, now);
  if (lane.dial->is_hopeless()) return give_up(key, lane, now);
  plan_timer(lane.dial->next_try());
}

void TcpTransport::give_up(const LaneKey&, Lane& lane, Instant now) {
  std::string ongoing;
  if (lane.dial->is_trying()) {
    if (const auto own = setups_.find(lane.dial->setup()); own != setups_.end()) {
      ongoing = own->second.awaited();
      setups_.erase(own);
    }
  }
  const Status why = lane.dial->explain(ongoing, now);
  lane.dial.reset();
  lane.link->close(why);
}

// Where `refused` is given, lack of a resource is told there and not counted as a try.
void TcpTransport::begin_try(const LaneKey& key, Lane& lane, Instant now, Status* refused) {
  Dial& dial = *lane.dial;
  const Route& route = dial.route();
  Descriptor descriptor = open_socket(route.destination.ip.is_v6);
  const int error = descriptor ? 0 : errno;
  const auto nonce = new_nonce();
  if (!descriptor || !nonce) {
    const Status why = nonce ? Status(Code::system, format("no socket: {}", describe_errno(error))) : nonce.status();
    if (refused != nullptr && error != EAFNOSUPPORT) {
      *refused = why.prefixed(format("tcp: no connection to {}", to_string(route.destination)));
      return;
    }
    dial.begin_try(0);
    return dial.fail_try(why.text(), false, now);
  }
  tune(descriptor.get(), {options_.buffer_bytes, options_.silence_limit});
  const int outcome = start_connect(descriptor.get(), route.source, route.destination);
  if (outcome != 0 && outcome != EINPROGRESS) {
    dial.begin_try(0);
    dial.fail_try(describe_errno(outcome), false, now);
    return plan_timer(dial.next_try());
  }
  const std::uint64_t serial = next_serial_++;
  Setup setup(std::move(descriptor), route.destination,
              Handshake(Handshake::Role::client, options_.key, *nonce, to_string(route.destination)),
              make_greeting(Greeting::Kind::hello, key));
  setup.began = now;
  setup.deadline = deadline_after(now, kConnectLimit);
  plan_timer(std::min(setup.deadline, dial.deadline()));
  watch(setup.descriptor(), Watched::setup, serial, true);
  setups_.emplace(serial, std::move(setup));
  dial.begin_try(serial);
}

void TcpTransport::run_dial_timers(Instant now) {
  std::erase_if(dialing_, [&](const LaneKey& key) {
    Lane& lane = lanes_[key];
    if (!lane.dial) return true;
    if (lane.link->is_closed()) {  // by the caller
      setups_.erase(lane.dial->setup());
      lane.dial.reset();
      return true;
    }
    if (now >= lane.dial->deadline()) {
      give_up(key, lane, now);
      return true;
    }
    if (!lane.dial->is_trying() && now >= lane.dial->next_try()) begin_try(key, lane, now, nullptr);
    plan_timer(lane.dial->is_trying() ? lane.dial->deadline()
                                      : std::min(lane.dial->deadline(), lane.dial->next_try()));
    return false;
  });
}

void TcpTransport::run_setup_timers(Instant now) {
  std::vector<std::uint64_t> late;
  for (const auto& [serial, setup] : setups_) {
    if (now >= setup.deadline) {
      late.push_back(serial);
    } else {
      plan_timer(setup.deadline);
    }
  }
  for (const std::uint64_t serial : late) {
    const auto& setup = setups_.at(serial);
    drop(serial, format("{} has not come within {}", setup.awaited(), format_duration(now - setup.began)), false,
         now);
  }
}

}  // namespace tutti::tcp
