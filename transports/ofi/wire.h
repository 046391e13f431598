// OfiWire and its ports, over a Domain: a port is a way to another one, and a key.
//
// Over an endpoint of all, bodies are copied before they are sent. Over one of the port's own they are sent from
// where they are: when the port is closed, so is its endpoint, which lets go of them.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "transports/fabric/chunk_port.h"
#include "transports/ofi/domain.h"

namespace tutti::ofi {

class OfiPort final : public fabric::ChunkPort {
 public:
  OfiPort(OfiWire& wire, fabric::PortUser& user, std::uint64_t key);
  ~OfiPort() override;

  Status connect(std::span<const std::byte> peer_address) override;
  bool is_closed() const override { return is_closing(); }
  std::string unreleased() const override { return unreleased_; }

  // For the domain, and its connections.
  void on_done(std::uint64_t chunk_of);
  void take_endpoint(fid_ep* endpoint) { way_.endpoint = endpoint; }
  void on_connected();

 private:
  friend class OfiWire;
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override;
  void let_go() override;
  bool send(std::span<const std::byte> first, const std::byte* body, std::size_t bytes, std::size_t copied,
            std::uint64_t chunk_of);
  void greet_if_met();

  OfiWire& wire_;
  Way way_;
  std::optional<std::uint64_t> peer_key_;
  bool is_connected_;  // true from the start where no connection is needed
  std::size_t under_way_ = 0;
  std::string unreleased_;
};

class OfiWire final : public fabric::ChunkWire {
 public:
  explicit OfiWire(std::unique_ptr<Domain> domain);
  ~OfiWire() override;

  int wait_descriptor() const override { return domain_->descriptor(); }
  bool prepare_wait() override;

  // For the domain, and its connections.
  void on_message(std::span<const std::byte> bytes);
  OfiPort* awaits(std::uint64_t key);  // the port with this key, where it needs a connection and has none; or null

 private:
  friend class OfiPort;

  std::unique_ptr<fabric::ChunkPort> make_port(fabric::PortUser& user, std::uint64_t key) override;
  std::size_t move() override { return domain_->progress(); }

  std::unique_ptr<Domain> domain_;
};

}  // namespace tutti::ofi
