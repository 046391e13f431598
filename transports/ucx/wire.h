// UcxWire and its ports, over a Worker; a Port is an endpoint to another worker, with error handling, so that
// whatever is under way on it can be withdrawn.
//
// Everything goes by eager active messages. UCX's rendezvous would save a copy on RDMA hardware, but UCX 1.13 ends
// the process (a failed assertion in its rendezvous, or in what withdraws one) when a link is closed in the middle of
// it.
//
// UCX pairs the n-th endpoint that a process makes for another one with the n-th of the other. Where one has made
// fewer, because a link had ended before it connected, it gets an endpoint whose other side is gone: what UCX sends
// in parts is lost, and in the end it is reset. So hellos are sent to the other side's endpoint; who has heard one
// and gets no answer to its own makes another endpoint, and so catches up. The first is kept until the port is
// closed, since it may have been a slow one, whose end would end the peer's.
#pragma once

#include <memory>
#include <vector>

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
  friend class UcxWire;
  Status reach();
  bool awaits_answer() const { return has_heard() && !is_ready(); }
  void seek_answer(Instant now);
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override;
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override;
  void let_go() override;

  UcxWire& wire_;
  std::vector<std::byte> peer_address_;
  Endpoint* endpoint_ = nullptr;
  std::vector<Endpoint*> former_;
  Instant answer_until_ = kNever;
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
  std::size_t move() override;

  std::unique_ptr<Worker> worker_;
  std::vector<UcxPort*> greeting_;  // ports that have connected and are not ready
};

}  // namespace tutti::ucx
