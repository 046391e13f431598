// OfiWire and its ports, over an Endpoint that all ports share: a port is the address of another one, and a key.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transports/fabric/chunk_port.h"
#include "transports/ofi/endpoint.h"

namespace tutti::ofi {

class OfiPort final : public fabric::ChunkPort {
 public:
  OfiPort(OfiWire& wire, fabric::PortUser& user, std::uint64_t key);
  ~OfiPort() override;

  std::span<const std::byte> address() const override { return address_; }
  Status connect(std::span<const std::byte> peer_address) override;
  void close() override;
  bool is_closed() const override { return is_closing_; }

  // For the endpoint.
  void on_error(const std::string& words) { fail(words); }
  void on_done(std::uint64_t chunk_of);

 private:
  friend class OfiWire;
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override;
  void fail(const std::string& words) override;
  bool send(std::span<const std::byte> first, const std::byte* body, std::size_t bytes, std::uint64_t chunk_of);

  OfiWire& wire_;
  fi_addr_t peer_ = FI_ADDR_UNSPEC;
  std::vector<std::byte> address_;
  std::size_t under_way_ = 0;
  bool is_closing_ = false;
  bool has_failed_ = false;
};

class OfiWire final : public fabric::Wire {
 public:
  explicit OfiWire(std::unique_ptr<Endpoint> endpoint);
  ~OfiWire() override;

  const fabric::WireLimits& limits() const override { return limits_; }
  void set_user(fabric::WireUser& user) override { user_ = &user; }
  Result<std::unique_ptr<fabric::Port>> open(fabric::PortUser& user) override;
  void give_back(const fabric::Message& message) override { fabric::PullPort::give_back(message); }
  std::size_t progress() override;
  int wait_descriptor() const override { return endpoint_->descriptor(); }
  bool prepare_wait() override;

  // For the endpoint.
  void on_message(std::span<const std::byte> bytes);

 private:
  friend class OfiPort;

  std::unique_ptr<Endpoint> endpoint_;
  fabric::WireLimits limits_;
  fabric::WireUser* user_ = nullptr;
  std::unordered_map<std::uint64_t, OfiPort*> ports_;  // by key
  std::vector<std::pair<OfiPort*, std::string>> failed_;
};

}  // namespace tutti::ofi
