// Connections: connected endpoints (FI_EP_MSG), one for each port. Unlike an endpoint of all, such a one can be
// closed while messages are under way, which ends all access to their memory; and one that is lost is not made again
// behind its user's back.
//
//   a   the one with the greater key                 b   listens, as all do
//     |  connection request: b's key  -------------->  |  of a port of its own, which takes it
//     |  <------------------------------------ accepted  |
//
// A request without the key of a port that still waits for one is rejected.
#pragma once

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "transports/ofi/api.h"

namespace tutti::ofi {

class OfiPort;
class OfiWire;

class Connections {
 public:
  // What the domain has: endpoints get its completion queue and take places from `receiver`.
  struct Parts {
    fid_fabric* fabric = nullptr;
    fid_domain* domain = nullptr;
    fid_cq* queue = nullptr;
    fid_ep* receiver = nullptr;
  };
  Connections(const Api& api, const fi_info& info, const Parts& parts) : api_(api), info_(info), parts_(parts) {}
  Status start();  // before anything else

  const std::vector<std::byte>& address() const { return address_; }
  fid_eq* events() { return events_; }
  int descriptor() const { return descriptor_; }  // -1: none
  // Whether some port waits for its peer, so that events are to be looked for often.
  bool is_expecting() const { return expecting_ > 0; }
  void expect() { ++expecting_; }
  void expect_no_more() { --expecting_; }

  Status connect(OfiPort& port, const std::byte* address, std::uint64_t peer_key);
  // Ends all access to memory of the endpoint's. What the provider has said instead; empty: it has ended.
  std::string close(fid_ep* endpoint);
  // Tells the ports of `wire` (may be null) what has happened. How much that was.
  std::size_t progress(OfiWire* wire);

 private:
  Result<fid_ep*> make(fi_info& info);
  void on_request(const fi_eq_cm_entry& entry, std::size_t bytes, OfiWire* wire);
  bool on_error();
  Status check(int error, std::string_view what) const { return ofi::check(api_, info_, error, what); }

  const Api& api_;
  const fi_info& info_;
  const Parts parts_;
  fid_eq* events_ = nullptr;
  fid_pep* listener_ = nullptr;
  int descriptor_ = -1;
  std::size_t expecting_ = 0;
  std::vector<std::byte> address_;
  std::vector<std::byte> event_;                    // room for one, with what came with it
  std::unordered_map<const fid*, OfiPort*> ports_;  // by endpoint
};

}  // namespace tutti::ofi
