// How a link comes to be: what both ends tell each other over the control link, and what they make of it.
#include <algorithm>
#include <array>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"
#include "transports/verbs/link.h"

namespace tutti::verbs {

void VerbsLink::say(const Message& message) {
  auto bytes = encode(message);
  if (unsaid_.empty() && control_->send(Header{}, bytes.data(), bytes.size(), 0) != SendState::again) return;
  unsaid_.push_back(std::move(bytes));
  common_.add(*this);
}

void VerbsLink::on_control_connected() {
  if (state_ != State::greeting || control_open_) return;
  control_open_ = true;
  say(common_.hello);
}

void VerbsLink::refuse(const std::string& why) {
  if (state_ == State::closed) return;
  finish(Status(Code::peer_lost, format("{} is closed: {}", describe(), why)));
}

void VerbsLink::on_control_bytes(std::span<const std::byte> bytes) {
  if (state_ == State::closed) return;
  const auto message = parse_message(bytes);
  if (!message) return refuse(format("{} bytes on its control connection make no sense", bytes.size()));
  if (const auto* const farewell = std::get_if<Farewell>(&*message)) {
    if (!farewell_) farewell_ = *farewell;  // the end of the control link follows
    return;
  }
  if (const auto* const hello = std::get_if<Hello>(&*message); hello != nullptr && heard_ == Heard::nothing) {
    heard_ = Heard::hello;
    return on_hello(*hello);
  }
  if (const auto* const offer = std::get_if<Offer>(&*message); offer != nullptr && heard_ == Heard::hello) {
    heard_ = Heard::offer;
    return on_offer(*offer);
  }
  if (std::holds_alternative<Ready>(*message) && heard_ == Heard::offer) {
    heard_ = Heard::ready;
    return open_if_ready();
  }
  refuse("the peer says things out of their order on its control connection");
}

void VerbsLink::on_hello(const Hello& hello) {
  peer_name_ = format("{} (pid {})", hello.host_name, hello.pid);
  if (hello.frame_bytes_max != common_.hello.frame_bytes_max) {
    return refuse(format("frames have at most {} there and {} here", format_bytes(hello.frame_bytes_max),
                         format_bytes(common_.hello.frame_bytes_max)));
  }
  const auto pair = is_first() ? pair_ports(common_.hello.ports, hello.ports, lane_)
                               : pair_ports(hello.ports, common_.hello.ports, lane_);
  if (!pair) return refuse("no port here and no port there are of one kind");
  port_ = is_first() ? pair->first : pair->second;
  peer_port_ = hello.ports[is_first() ? pair->second : pair->first];
  const VerbsOptions& options = common_.options;
  queue_pair_ = std::make_unique<QueuePair>(
      *common_.rails[port_], serial_,
      QueuePairOptions{options.traffic_class, options.service_level, options.silence_limit});
  if (const Status made = queue_pair_->create(); !made) {
    return finish(made.prefixed(format("{} is closed", describe())));
  }
  Offer offer = queue_pair_->offer();
  if (common_.connector) {
    std::array<std::byte, sizeof offer.key> chance{};
    if (const Status drawn = secure_random(chance); !drawn) return finish(drawn);
    offer.key = load_little_endian<std::uint64_t>(chance.data());
    offer.listener = common_.connector->listener(port_);
    if (!is_first()) common_.connector->expect(serial_, offer.key);
  }
  say(offer);
}

void VerbsLink::on_offer(const Offer& offer) {
  peer_offer_ = offer;
  if ((offer.listener != 0) != (common_.connector != nullptr)) {
    const char* const ways[] = {"control", "rdma_cm"};
    return refuse(format("TUTTI_VERBS_CONNECT is {} there and {} here; set it alike in all processes",
                         ways[offer.listener != 0], ways[common_.connector != nullptr]));
  }
  if (!common_.connector) return connect_queue_pair();
  if (is_managed_) return connect_queue_pair();  // the request came first
  if (!is_first()) return;
  const Status asked =
      common_.connector->ask(serial_, port_, {peer_port_.gid, offer.listener, offer.key}, queue_pair_->number());
  if (!asked) finish(asked.prefixed(format("{} is closed", describe())));
}

void VerbsLink::on_managed(const Connector::Event& event) {
  if (state_ != State::greeting || said_ready_) return;
  if (event.kind == Connector::Event::Kind::failed) return refuse(event.why);
  is_managed_ = true;
  if (heard_ != Heard::hello) connect_queue_pair();
}

void VerbsLink::connect_queue_pair() {
  QueuePair::Manager manager;
  if (common_.connector) {
    manager = [this](ibv_qp_attr& attributes, int& mask) {
      return common_.connector->attributes(serial_, attributes, mask);
    };
  }
  Status connected = queue_pair_->connect(peer_offer_, peer_port_, manager);
  if (connected && common_.connector) connected = common_.connector->confirm(serial_, queue_pair_->number());
  if (!connected) return finish(connected.prefixed(format("{} is closed", describe())));
  const unsigned own_mtu = mtu_bytes(queue_pair_->rail().port().mtu);
  const unsigned peer_mtu = mtu_bytes(static_cast<ibv_mtu>(peer_offer_.mtu));
  if (own_mtu != peer_mtu) {
    common_.options.log.write(LogLevel::info, "verbs", "{}: the MTUs differ, {} here and {} there; {} is used",
                              describe(), own_mtu, peer_mtu, queue_pair_->path_mtu_bytes());
  }
  say(Ready{});
  said_ready_ = true;
  open_if_ready();
}

void VerbsLink::open_if_ready() {
  if (!said_ready_ || heard_ != Heard::ready || state_ != State::greeting) return;
  state_ = State::open;
  owes_connected_ = true;
  common_.add(*this);
  common_.options.log.write(LogLevel::debug, "verbs", "{} is open, MTU {}", describe(),
                            queue_pair_->path_mtu_bytes());
}

std::string VerbsLink::awaited() const {
  if (!control_open_) return "there is no control connection yet";
  switch (heard_) {
    case Heard::nothing:
      return "the peer has not said which ports it has";
    case Heard::hello:
      return "the peer has not offered a queue pair";
    case Heard::offer:
      return said_ready_ || !common_.connector ? "the peer has not connected its queue pair"
                                               : "rdma_cm has not brought the two queue pairs together";
    case Heard::ready:
      break;
  }
  return "this side was not connected";
}

}  // namespace tutti::verbs
