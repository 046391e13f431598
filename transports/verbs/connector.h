// Connector: connects queue pairs by a connection manager instead of what the two sides tell each other over their
// control link (rdma_cm, where TUTTI_VERBS_CONNECT asks for it). The queue pairs stay the links'; the manager agrees
// on the way between the two ports, and says with which attributes they are to be connected.
//
// Of a link one side asks and the other is asked: it expects a request with the key that it has told over the control
// link, at the listener of its port. When the request or its answer is there (`ready`), the link connects its queue
// pair with attributes() and confirms. Strangers are refused: they do not have the key. Links are named by their
// serials.
//
// No call blocks; what happens is told by take_event(), after descriptor() has become readable.
#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "src/base/log.h"
#include "src/base/status.h"
#include "transports/verbs/port.h"

namespace tutti::verbs {

class Connector {
 public:
  struct Event {
    enum class Kind : std::uint8_t { ready, failed };
    Kind kind = Kind::ready;
    std::uint64_t link = 0;
    std::string why;  // it has failed
  };
  struct Target {
    Gid gid;
    std::uint16_t listener = 0;
    std::uint64_t key = 0;
  };

  virtual ~Connector() = default;
  virtual int descriptor() const = 0;
  // Where requests to this port come in, never 0.
  virtual std::uint16_t listener(std::size_t port) const = 0;
  virtual void expect(std::uint64_t link, std::uint64_t key) = 0;
  virtual Status ask(std::uint64_t link, std::size_t port, const Target& target, std::uint32_t queue_pair) = 0;
  // Of the state in `attributes`. 0 or an errno. REQUIRES: the link is ready
  virtual int attributes(std::uint64_t link, ibv_qp_attr& attributes, int& mask) = 0;
  // The queue pair is connected. REQUIRES: the link is ready
  virtual Status confirm(std::uint64_t link, std::uint32_t queue_pair) = 0;
  // Ends what there is of the link's.
  virtual void forget(std::uint64_t link) = 0;
  virtual bool take_event(Event& event) = 0;
};

// By librdmacm, loaded at run time. `unsupported` where this build, or this machine, has none, or a port's GID is no
// IP address.
Result<std::unique_ptr<Connector>> make_rdma_cm(std::span<const Port* const> ports, const Log& log);

}  // namespace tutti::verbs
