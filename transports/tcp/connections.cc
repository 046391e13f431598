// How a connection becomes a link, whoever opened it: from readiness to the greeting, adoption, or its end.
#include <algorithm>

#include "src/base/format.h"
#include "transports/tcp/transport.h"

namespace tutti::tcp {

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

std::unique_ptr<TlsChannel> TcpTransport::make_tls(TlsChannel::Role role, const SecretKey& key,
                                                   const Endpoint& peer) const {
  if (options_.tls == nullptr) return nullptr;
  // Of the job and of the process: who can read the store may know the second, but not the first. (HMAC fails for
  // lack of memory alone; then the ends differ and refuse each other.)
  const auto mixed = hmac_sha256(options_.tls_key, key);
  return std::make_unique<TlsChannel>(options_.tls, role, mixed.is_ok() ? *mixed : options_.tls_key, to_string(peer));
}

// Both sides agree: this connection is the lane's link, and whatever was before is not.
void TcpTransport::adopt(std::uint64_t serial, Setup& setup, const LaneKey& key, std::uint64_t generation) {
  const std::string name = format("{} (pid {})", setup.heard().host_name, setup.heard().pid);
  Lane& lane = lanes_[key];
  lane.generation = generation;
  if (lane.link != nullptr && lane.link->is_open()) {
    lane.link->cut_off(format("{} has lost it and made a new one", name));
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
  lane.local = local_endpoint(setup.descriptor()).ip;
  lane.remote = setup.remote().ip;
  const Interface* const interface = interface_of(lane.local);
  const bool is_narrow = interface != nullptr && interface->speed_mbps > 0 && options_.lanes_max == 0 &&
                         interface->speed_mbps <= options_.narrow_mbps;
  lane.link->open(setup.take_descriptor(), setup.take_tls(), setup.remote(), options_,
                  interface == nullptr ? "" : interface->name,
                  is_narrow ? static_cast<std::uint32_t>(interface - address_.interfaces.data()) + 1 : 0);
  options_.log.write(LogLevel::debug, "tcp", "{} is open", lane.link->describe());
  setups_.erase(serial);
  if (options_.silence_limit.count() > 0) plan_timer(Instant::min());
}

const Interface* TcpTransport::interface_of(const IpAddress& ip) const {
  for (const Interface& each : address_.interfaces) {
    const auto has_it = [&](const InterfaceAddress& address) { return address.ip == ip; };
    if (std::any_of(each.addresses.begin(), each.addresses.end(), has_it)) return &each;
  }
  return nullptr;
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
  if (lane.dial->is_hopeless()) return give_up(lane, now);
  plan_timer(lane.dial->next_try());
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
