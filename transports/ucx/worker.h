// Worker: UCX's context and worker, the endpoints on it and what is under way on them.
//
// A worker is never destroyed. UCX 1.13 ends the process (a fatal error of its own) when a worker is destroyed while
// it still answers somebody, which no caller of its interface can know, and where a connection is lost while it is
// being made. So a worker that is not needed any more is kept for the next one who asks, and an endpoint that may
// still be connecting lingers for a while before it is closed.
//
// Invariant: an Op is UCX's from the call that started it until its callback; its Endpoint lives as long.
#pragma once

#include <sys/types.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "transports/fabric/head.h"
#include "transports/fabric/pull_port.h"
#include "transports/ucx/api.h"

namespace tutti::ucx {

class Worker;
class UcxPort;
class UcxWire;

constexpr std::size_t kSmallBytesMax = 16 << 10;
constexpr std::size_t kPieceBytes = 60 << 10;  // of a body, where UCX's segments are those it has by itself

// UCX's side of a port, which may live longer than that.
struct Endpoint {
  enum class State : std::uint8_t { open, lingering, closing, closed };
  UcxPort* port = nullptr;  // null once it is closed
  ucp_ep_h handle = nullptr;
  std::size_t under_way = 0;
  State state = State::open;
  Instant linger_until{};
  bool has_failed = false;
  void* close_request = nullptr;
};

// Something under way in UCX, and the copies that it reads.
struct Op {
  Worker* worker = nullptr;
  Endpoint* endpoint = nullptr;
  std::uint64_t chunk_of = 0;  // the number of a large message; 0: of none
  std::array<std::byte, fabric::kPreambleBytes + fabric::kHeadBytes> first;
  std::unique_ptr<std::byte[]> body;  // kSmallBytesMax, where there was need of it
};

class Worker {
 public:
  // One that nobody uses, or a new one. `transports` as in UcxOptions.
  static Result<std::unique_ptr<Worker>> take(const Api& api, const std::string& transports);
  static void give(std::unique_ptr<Worker> worker);
  pid_t maker() const { return pid_; }

  const Api& api() const { return api_; }
  int descriptor() const { return descriptor_; }
  const std::vector<std::byte>& address() const { return address_; }
  // Of a body that is sent at once; both ends must have the same.
  std::size_t piece_bytes() const { return piece_bytes_; }
  void set_wire(UcxWire* wire) { wire_ = wire; }  // null: messages are dropped
  std::size_t progress();
  bool prepare_wait() { return api_.worker_arm(worker_) == UCS_OK; }

  Result<Endpoint*> connect(UcxPort& port, const std::byte* address);
  // Withdraws what is under way. The endpoint belongs to the worker from then on once its port is null.
  void close(Endpoint& endpoint, bool is_connected);
  Op* take_op(Endpoint& endpoint);
  // To the other side's `own` endpoint: what comes when that is gone is dropped, as what UCX sends in parts always
  // is.
  enum class To : std::uint8_t { process, own };
  void start(Op* op, std::size_t first_bytes, const std::byte* body, std::size_t bytes, To to = To::process);

 private:
  Worker(const Api& api, std::string transports);
  ucs_status_t configure(ucp_config_t* config);
  Status start();
  Status check(ucs_status_t status, std::string_view what) const;
  void force(Endpoint& endpoint);
  void finished(Op* op, ucs_status_t status);
  void tend_endpoints();
  static ucs_status_t on_message(void* self, const void* first, std::size_t first_bytes, void* data,
                                 std::size_t bytes, const ucp_am_recv_param_t* parameters);

  const Api& api_;
  const std::string transports_;
  const pid_t pid_;
  UcxWire* wire_ = nullptr;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int descriptor_ = -1;
  std::vector<std::byte> address_;
  std::size_t piece_bytes_ = kPieceBytes;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  bool has_leaving_ = false;  // some endpoint is not open any more
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<Op*> free_;
};

}  // namespace tutti::ucx
