// UcxWire and its ports, over a Worker; a Port is an endpoint to another worker, with error handling, so that
// whatever is under way on it can be withdrawn.
//
// Everything goes by eager active messages. UCX's rendezvous would save a copy on RDMA hardware, but UCX 1.13 ends
// the process (a failed assertion in its rendezvous, or in what withdraws one) when a link is closed in the middle of
// it.
#pragma once

#include <memory>

#include "transports/fabric/chunk_port.h"
#include "transports/ucx/worker.h"

namespace tutti::ucx {

class UcxPort final : public fabric::ChunkPort {
 public:
  UcxPort(UcxWire& wire, fabric::PortUser& user, std::uint64_t key);
  ~UcxPort() override;

  Status connect(std::span<const std::byte> peer_address) override;
  bool is_closed() const override;
  void on_error(ucs_status_t status);  // of the worker's

 private:
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override;
  void let_go() override;

  UcxWire& wire_;
  Endpoint* endpoint_ = nullptr;
};

class UcxWire final : public fabric::ChunkWire {
 public:
  explicit UcxWire(std::unique_ptr<Worker> worker);
  ~UcxWire() override;

  int wait_descriptor() const override { return worker_->descriptor(); }
  bool prepare_wait() override;

  // For the worker.
  void on_message(std::span<const std::byte> first, std::span<const std::byte> body);

 private:
  friend class UcxPort;

  std::unique_ptr<fabric::ChunkPort> make_port(fabric::PortUser& user, std::uint64_t key) override;
  std::size_t move() override { return worker_->progress(); }

  std::unique_ptr<Worker> worker_;
};

}  // namespace tutti::ucx
