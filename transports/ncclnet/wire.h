// NcclnetWire and its ports. A port has two connections of the plug-in's to the peer and two from it, all its own:
// one for messages, and one for bodies, which go from where they are to where they belong. A receiver asks its
// plug-in for a body before it asks the peer; so bodies come in the order in which they were asked for.
//
// What comes in is the peer's, or of a stranger who was faster at the plug-in's door, and does not know the key: each
// message begins with it, and the connection for bodies brings it before the port is ready.
//
// There is nothing to sleep on: plug-ins have no descriptor. transports/fabric looks at such a wire every 50 us to 1
// ms while the process sleeps.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/log.h"
#include "transports/fabric/pull_port.h"
#include "transports/ncclnet/connection.h"

namespace tutti::ncclnet {

class NcclnetWire;

constexpr std::size_t kLargeBytesMax = 4 << 20;

class NcclnetPort final : public fabric::PullPort {
 public:
  NcclnetPort(NcclnetWire& wire, fabric::PortUser& user, std::uint64_t key);
  ~NcclnetPort() override;

  Status listen();  // before anything else
  std::span<const std::byte> address() const override { return address_; }
  Status connect(std::span<const std::byte> peer_address) override;
  void close() override;
  bool is_ready() const override { return PullPort::is_ready() && are_bodies_the_peers_; }
  bool is_closed() const override { return is_torn_down_; }
  std::string unreleased() const override;

  // For the wire.
  std::size_t progress();
  bool has_news();  // whether progress() has a message to report
  bool has_bodies_under_way() const { return body_sender_.under_way() + body_receiver_.under_way() > 0; }
  void report(const std::string& failure) { user().on_failed(failure); }
  void tear_down();

 private:
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool send_body(std::uint64_t number, const std::byte* body, std::size_t bytes, std::uint64_t cookie) override;
  bool take_body(std::uint64_t number, std::byte* target, std::size_t bytes, std::uint64_t token) override;
  void fail(const std::string& words) override;
  bool may_move() const { return !is_closing_ && !has_failed_; }
  bool may_send() const { return may_move() && broken_.empty(); }
  // Whether it has moved; where it failed the port does.
  bool has_moved(Step step, const Connection& its);
  void look_at_failure();
  std::size_t come_together();
  std::size_t finish_sends();
  std::size_t take_messages();
  std::size_t take_bodies();
  void check_key(std::span<const std::byte> said);

  NcclnetWire& wire_;
  std::vector<std::byte> address_;
  Sender sender_;
  Receiver receiver_;
  Sender body_sender_;
  Receiver body_receiver_;
  bool has_shown_key_ = false;  // before all bodies
  bool are_bodies_the_peers_ = false;
  bool is_closing_ = false;
  bool is_torn_down_ = false;
  bool has_failed_ = false;
  std::string broken_;  // what the first connection that failed has said
  Instant broken_at_{};
};

class NcclnetWire final : public fabric::Wire {
 public:
  NcclnetWire(Plugin& plugin, Device device, Log log);

  const fabric::WireLimits& limits() const override { return limits_; }
  void set_user(fabric::WireUser& user) override { user_ = &user; }
  Result<std::unique_ptr<fabric::Port>> open(fabric::PortUser& user) override;
  void give_back(const fabric::Message& message) override { fabric::PullPort::give_back(message); }
  std::size_t progress() override;
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override;

 private:
  friend class NcclnetPort;

  Plugin& plugin_;
  const Device device_;
  const Log log_;
  fabric::WireLimits limits_;
  fabric::WireUser* user_ = nullptr;
  Instant moved_at_{};
  std::vector<NcclnetPort*> ports_;
  std::vector<NcclnetPort*> closing_;  // to be torn down, not from within one of their own calls
  std::vector<std::pair<NcclnetPort*, std::string>> failed_;
};

}  // namespace tutti::ncclnet
