// Endpoint: libfabric's domain, completion queue and one reliable datagram endpoint, with the messages under way on
// it.
//
// libfabric is given no memory but this class's own, and an endpoint is never closed: providers of libfabric 1.17
// read and write what they have freed when one is closed while messages are under way (seen with tcp;ofi_rxm and
// shm), and a link may end at any time. So an endpoint that is not needed any more is kept for the next one who asks.
#pragma once

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "transports/fabric/pull_port.h"
#include "transports/ofi/api.h"

namespace tutti::ofi {

class OfiPort;
class OfiWire;

// A message under way, or a place for one.
struct Op {
  fi_context2 context;      // libfabric's; first, so that a completion leads here
  OfiPort* port = nullptr;  // null: of nobody any more, or a place
  std::uint64_t chunk_of = 0;
  bool is_place = false;
  std::unique_ptr<std::byte[]> memory;  // message_bytes_max()
};

class Endpoint {
 public:
  // One that nobody uses, or a new one. `provider` as in OfiOptions.
  static Result<std::unique_ptr<Endpoint>> take(const Api& api, const std::string& provider);
  static void give(std::unique_ptr<Endpoint> endpoint);

  const Api& api() const { return api_; }
  const fi_info& info() const { return *info_; }
  std::size_t message_bytes_max() const { return message_bytes_max_; }
  int descriptor() const { return descriptor_; }
  const std::vector<std::byte>& address() const { return address_; }
  void set_wire(OfiWire* wire) { wire_ = wire; }  // null: messages are dropped
  std::size_t progress();
  bool prepare_wait();

  Result<fi_addr_t> add_peer(const std::byte* address);
  Op* take_op();
  void give_op(Op* op);
  // An error (positive), or 0. The op is the endpoint's again where it is not 0.
  int send(Op* op, std::size_t bytes, fi_addr_t peer);
  void forget(const OfiPort& port);

 private:
  Endpoint(const Api& api, std::string provider, Info info);
  Status start();
  Status check(int error, std::string_view what) const;
  void make_places();
  void finished(Op* op, std::size_t bytes);
  bool read_error();

  const Api& api_;
  const std::string provider_;
  const pid_t pid_;
  Info info_;
  const std::size_t message_bytes_max_;
  OfiWire* wire_ = nullptr;
  fid_fabric* fabric_ = nullptr;
  fid_domain* domain_ = nullptr;
  fid_cq* queue_ = nullptr;
  fid_av* addresses_ = nullptr;
  fid_ep* endpoint_ = nullptr;
  int descriptor_ = -1;
  std::vector<std::byte> address_;
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<Op*> free_;
  std::size_t places_ = 0;  // that libfabric has
};

}  // namespace tutti::ofi
