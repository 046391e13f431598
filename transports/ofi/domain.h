// Domain: what all ports of a wire share of libfabric: fabric, domain, completion queue, the places for what comes,
// and the messages under way. Ports reach their peers by the one endpoint of all (reliable datagrams, FI_EP_RDM), or
// each by one of its own (FI_EP_MSG, see connections.h).
//
// Nothing here but a port's own endpoint is ever closed: providers of libfabric 1.17 read and write what they have
// freed when an endpoint of all is closed while messages are under way (seen with tcp;ofi_rxm and shm), and a link
// may end at any time. So a domain that is not needed any more is kept for the next one who asks, and libfabric is
// given memory of the caller's only by ports with an endpoint of their own, whose closing ends all access.
#pragma once

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transports/fabric/pull_port.h"
#include "transports/ofi/api.h"
#include "transports/ofi/connections.h"

namespace tutti::ofi {

class OfiPort;
class OfiWire;

constexpr std::size_t kSmallBytesMax = 16 << 10;  // of a body that is sent with its head

// A message under way, or a place for one.
struct Op {
  fi_context2 context;      // libfabric's; first, so that a completion leads here
  OfiPort* port = nullptr;  // null: of nobody any more, or a place
  std::uint64_t chunk_of = 0;
  bool is_place = false;
  std::unique_ptr<std::byte[]> memory;  // of a place message_bytes_max(), else copied_bytes_max()
};

// How a port reaches its peer.
struct Way {
  fid_ep* endpoint = nullptr;
  fi_addr_t peer = FI_ADDR_UNSPEC;
};

class Domain {
 public:
  // One of that name that nobody uses, or a new one.
  static Result<std::unique_ptr<Domain>> take(const Api& api, Info info);
  static void give(std::unique_ptr<Domain> domain);
  pid_t maker() const { return pid_; }

  const Api& api() const { return api_; }
  const fi_info& info() const { return *info_; }
  std::size_t message_bytes_max() const { return message_bytes_max_; }
  // What a message has at most outside the memory that it is sent from in place; all of it where nothing is.
  std::size_t copied_bytes_max() const { return copied_bytes_max_; }
  std::size_t injected_bytes_max() const { return injected_bytes_max_; }
  int descriptor() const { return descriptor_; }
  const std::vector<std::byte>& address() const { return connections_ ? connections_->address() : address_; }
  // Null where all ports have one endpoint.
  Connections* connections() { return connections_.get(); }
  void set_wire(OfiWire* wire) { wire_ = wire; }  // null: messages are dropped
  std::size_t progress();
  bool prepare_wait();

  // Where all ports have one endpoint.
  Result<Way> find(const std::byte* address);
  Op* take_op();
  void give_op(Op* op);
  // The first `copied` bytes of the op's memory, and `bytes` at `body`. An error (positive), or 0; the op is the
  // domain's again where it is not 0.
  int send(Op* op, const Way& way, std::size_t copied, const std::byte* body, std::size_t bytes);
  // The first `bytes` of the op's memory, at most injected_bytes_max(), without a completion: that saves a small
  // message two calls of the kernel's over tcp. An error (positive), or 0; the op is the domain's again.
  int inject(Op* op, const Way& way, std::size_t bytes);
  void forget(const OfiPort& port);

 private:
  Domain(const Api& api, Info info);
  bool is(const fi_info& info) const;
  Status start();
  Status start_endpoint();
  Status name_region();
  Status start_connections();
  Status check(int error, std::string_view what) const { return ofi::check(api_, *info_, error, what); }
  Op* take(std::vector<Op*>& from, std::size_t bytes);
  void make_places();
  void finished(Op* op, std::size_t bytes);
  bool read_error();
  bool has_news();

  const Api& api_;
  const pid_t pid_;
  Info info_;
  const std::size_t places_max_;
  const std::size_t message_bytes_max_;
  const std::size_t copied_bytes_max_;
  const std::size_t injected_bytes_max_;
  OfiWire* wire_ = nullptr;
  fid_fabric* fabric_ = nullptr;
  fid_domain* domain_ = nullptr;
  fid_cq* queue_ = nullptr;
  fid_av* addresses_ = nullptr;
  fid_ep* receiver_ = nullptr;  // has the places: the endpoint of all, or a receive context that all endpoints share
  std::unique_ptr<Connections> connections_;
  int queue_descriptor_ = -1;
  int descriptor_ = -1;
  std::vector<std::byte> address_;
  std::string region_;  // the name of its shared memory, where it has some
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<Op*> free_;
  std::vector<Op*> free_places_;
  std::size_t places_ = 0;               // that libfabric has
  std::optional<fi_cq_msg_entry> news_;  // read from the queue before its time
  std::uint32_t until_events_ = 0;       // looks at the completion queue, before one at the events of connections
};

}  // namespace tutti::ofi
