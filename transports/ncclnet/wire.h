// NcclnetWire and its ports: a port is a connection of the plug-in's to the peer and one from it, of its own. So what
// comes in is the peer's, or of a stranger who was faster at the plug-in's door, and does not know the key.
//
// There is nothing to sleep on: plug-ins have no descriptor. transports/fabric looks at such a wire every 50 us to 1
// ms while the process sleeps.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/log.h"
#include "transports/fabric/chunk_port.h"
#include "transports/ncclnet/connection.h"

namespace tutti::ncclnet {

class NcclnetWire;

class NcclnetPort final : public fabric::ChunkPort {
 public:
  NcclnetPort(NcclnetWire& wire, fabric::PortUser& user, std::uint64_t key);
  ~NcclnetPort() override;

  Status listen();  // before anything else
  std::span<const std::byte> address() const override { return address_; }
  Status connect(std::span<const std::byte> peer_address) override;
  void close() override;
  bool is_closed() const override { return is_closing_; }

  // For the wire.
  std::size_t progress();
  bool has_news();  // whether progress() has a message to report
  void report(const std::string& failure) { user().on_failed(failure); }
  void tear_down();

 private:
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override;
  void fail(const std::string& words) override;
  bool send(std::span<const std::byte> first, std::span<const std::byte> body, std::uint64_t chunk_of);
  bool may_move() const { return !is_closing_ && !has_failed_; }
  std::size_t come_together();
  std::size_t finish_sends();
  std::size_t take_messages();

  NcclnetWire& wire_;
  std::vector<std::byte> address_;
  Sender sender_;
  Receiver receiver_;
  bool is_closing_ = false;
  bool has_failed_ = false;
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
  std::vector<NcclnetPort*> ports_;
  std::vector<NcclnetPort*> closing_;  // to be torn down, not from within one of their own calls
  std::vector<std::pair<NcclnetPort*, std::string>> failed_;
};

}  // namespace tutti::ncclnet
