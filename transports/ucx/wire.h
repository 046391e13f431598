// UcxWire and its ports, over a Worker; a Port is an endpoint to another worker, with error handling, so that
// whatever is under way on it can be withdrawn.
//
// Everything goes by eager active messages. UCX's rendezvous would save a copy on RDMA hardware, but UCX 1.13 ends
// the process (a failed assertion in its rendezvous, or in what withdraws one) when a link is closed in the middle of
// it.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transports/fabric/chunk_port.h"
#include "transports/ucx/worker.h"

namespace tutti::ucx {

class UcxPort final : public fabric::ChunkPort {
 public:
  UcxPort(UcxWire& wire, fabric::PortUser& user, std::uint64_t key);
  ~UcxPort() override;

  std::span<const std::byte> address() const override { return address_; }
  Status connect(std::span<const std::byte> peer_address) override;
  void close() override;
  bool is_closed() const override;

  // For the worker: UCX has given an endpoint up; a message is done with, a piece of `chunk_of` if that is not 0.
  void on_error(ucs_status_t status);
  void on_done(std::uint64_t chunk_of);

 private:
  friend class UcxWire;
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override;
  void fail(const std::string& words) override;

  UcxWire& wire_;
  std::vector<std::byte> address_;
  Endpoint* endpoint_ = nullptr;
  bool is_closing_ = false;
  bool has_failed_ = false;
  bool is_waiting_ = false;  // in the wire's list
};

class UcxWire final : public fabric::Wire {
 public:
  explicit UcxWire(std::unique_ptr<Worker> worker);
  ~UcxWire() override;

  const fabric::WireLimits& limits() const override { return limits_; }
  void set_user(fabric::WireUser& user) override { user_ = &user; }
  Result<std::unique_ptr<fabric::Port>> open(fabric::PortUser& user) override;
  void give_back(const fabric::Message& message) override { fabric::PullPort::give_back(message); }
  std::size_t progress() override;
  int wait_descriptor() const override { return worker_->descriptor(); }
  bool prepare_wait() override;

  // For the worker.
  void on_message(std::span<const std::byte> first, std::span<const std::byte> body);

 private:
  friend class UcxPort;

  std::unique_ptr<Worker> worker_;
  fabric::WireLimits limits_;
  fabric::WireUser* user_ = nullptr;
  std::unordered_map<std::uint64_t, UcxPort*> ports_;  // by key
  std::vector<UcxPort*> waiting_;                      // ports that have room again and may have had none
  std::vector<UcxPort*> batch_;                        // of waiting_, being looked at
  std::vector<std::pair<UcxPort*, std::string>> failed_;
};

}  // namespace tutti::ucx
