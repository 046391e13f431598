// Connections that this process opens: trying the routes, and what to make of the answer. transport.h has the rule.
#include <algorithm>
#include <cerrno>

#include "src/base/format.h"
#include "transports/tcp/transport.h"

namespace tutti::tcp {

namespace {

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
              Handshake(Handshake::Role::client, lane.key, *nonce, to_string(route.destination)),
              make_greeting(Greeting::Kind::hello, key),
              make_tls(TlsChannel::Role::client, lane.key, route.destination));
  setup.began = now;
  setup.deadline = deadline_after(now, kConnectLimit);
  plan_timer(std::min(setup.deadline, dial.deadline()));
  watch(setup.descriptor(), Watched::setup, serial, true);
  setups_.emplace(serial, std::move(setup));
  dial.begin_try(serial);
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

void TcpTransport::give_up(Lane& lane, Instant now) {
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
      give_up(lane, now);
      return true;
    }
    if (!lane.dial->is_trying() && now >= lane.dial->next_try()) begin_try(key, lane, now, nullptr);
    plan_timer(lane.dial->is_trying() ? lane.dial->deadline()
                                      : std::min(lane.dial->deadline(), lane.dial->next_try()));
    return false;
  });
}

}  // namespace tutti::tcp
