// Connector by librdmacm. Its own view of the devices is another one than ours, so the queue pairs are made by us and
// it is told their numbers only.
#include "transports/verbs/connector.h"

#ifdef TUTTI_HAS_RDMA_CM

#include <dlfcn.h>
#include <fcntl.h>
#include <net/if.h>
#include <rdma/rdma_cma.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "transports/verbs/library.h"

// Each CALL(name) is rdma_name of the library.
#define TUTTI_RDMA_CM_CALLS(CALL) \
  CALL(create_event_channel)      \
  CALL(destroy_event_channel)     \
  CALL(create_id)                 \
  CALL(destroy_id)                \
  CALL(bind_addr)                 \
  CALL(listen)                    \
  CALL(get_src_port)              \
  CALL(resolve_addr)              \
  CALL(resolve_route)             \
  CALL(connect)                   \
  CALL(accept)                    \
  CALL(reject)                    \
  CALL(establish)                 \
  CALL(init_qp_attr)              \
  CALL(get_cm_event)              \
  CALL(ack_cm_event)              \
  CALL(event_str)

namespace tutti::verbs {

namespace {

constexpr int kBacklog = 1024;
constexpr int kResolveMs = 10'000;  // the link's own deadline is what counts
constexpr std::uint8_t kRetries = 7;
constexpr std::uint8_t kRetriesWithoutEnd = 7;

struct Calls {
#define TUTTI_RDMA_CM_MEMBER(name) decltype(&::rdma_##name) name = nullptr;
  TUTTI_RDMA_CM_CALLS(TUTTI_RDMA_CM_MEMBER)
#undef TUTTI_RDMA_CM_MEMBER
};

Result<Calls> load() {
  Calls calls;
  const auto find = [&calls](void* handle) {
    const char* missing = nullptr;
#define TUTTI_RDMA_CM_FIND(call)                                                     \
  calls.call = reinterpret_cast<decltype(calls.call)>(dlsym(handle, "rdma_" #call)); \
  if (calls.call == nullptr) missing = "rdma_" #call;
    TUTTI_RDMA_CM_CALLS(TUTTI_RDMA_CM_FIND)
#undef TUTTI_RDMA_CM_FIND
    return missing;
  };
  const auto handle =
      load_functions({"librdmacm.so.1", "librdmacm", "librdmacm1", "librdmacm1 of rdma-core 23"}, find);
  if (!handle) return handle.status();
  return calls;
}

// A port's address, which is one wire's where it is link-local.
sockaddr_storage address_of(const Gid& gid, std::uint16_t port, const std::string& interface) {
  socklen_t bytes = 0;
  sockaddr_storage address = socket_address(gid, port, bytes);
  if (!gid.is_ipv4() && gid.is_link_local())
    reinterpret_cast<sockaddr_in6&>(address).sin6_scope_id = if_nametoindex(interface.c_str());
  return address;
}

class RdmaCm final : public Connector {
 public:
  RdmaCm(const Calls& calls, const Log& log) : calls_(calls), log_(log) {}
  ~RdmaCm() override {
    for (const auto& [link, connection] : connections_) calls_.destroy_id(connection.id);
    for (const Listener& each : listeners_) calls_.destroy_id(each.id);
    if (channel_ != nullptr) calls_.destroy_event_channel(channel_);
  }

  Status open(std::span<const Port* const> ports) {
    channel_ = calls_.create_event_channel();
    if (channel_ == nullptr) return Status::from_errno(errno, "verbs: no connection manager (is rdma_ucm loaded?)");
    fcntl(channel_->fd, F_SETFL, fcntl(channel_->fd, F_GETFL) | O_NONBLOCK);
    for (const Port* const port : ports) TUTTI_RETURN_IF_ERROR(listen_on(*port));
    return {};
  }

  int descriptor() const override { return channel_->fd; }
  std::uint16_t listener(std::size_t port) const override { return listeners_[port].number; }
  void expect(std::uint64_t link, std::uint64_t key) override { expected_[key] = link; }

  Status ask(std::uint64_t link, std::size_t port, const Target& target, std::uint32_t queue_pair) override {
    const Listener& from = listeners_[port];
    rdma_cm_id* id = nullptr;
    if (calls_.create_id(channel_, &id, name_of(link), RDMA_PS_TCP) != 0) return failed("a connection");
    connections_[link] = {id, target.key, queue_pair};
    sockaddr_storage source = address_of(from.gid, 0, from.interface);
    sockaddr_storage destination = address_of(target.gid, target.listener, from.interface);
    if (calls_.resolve_addr(id, reinterpret_cast<sockaddr*>(&source), reinterpret_cast<sockaddr*>(&destination),
                            kResolveMs) != 0)
      return failed("the address " + to_string(target.gid));
    return {};
  }

  int attributes(std::uint64_t link, ibv_qp_attr& attributes, int& mask) override {
    return calls_.init_qp_attr(connections_.at(link).id, &attributes, &mask) == 0 ? 0 : errno;
  }

  Status confirm(std::uint64_t link, std::uint32_t queue_pair) override {
    Connection& connection = connections_.at(link);
    if (!connection.is_asked) return calls_.establish(connection.id) == 0 ? Status() : failed("the answer");
    rdma_conn_param parameters = parameters_of(queue_pair);
    return calls_.accept(connection.id, &parameters) == 0 ? Status() : failed("the request");
  }

  void forget(std::uint64_t link) override {
    std::erase_if(expected_, [&](const auto& each) { return each.second == link; });
    const auto found = connections_.find(link);
    if (found == connections_.end()) return;
    calls_.destroy_id(found->second.id);
    connections_.erase(found);
  }

  bool take_event(Event& event) override {
    rdma_cm_event* raw = nullptr;
    while (calls_.get_cm_event(channel_, &raw) == 0) {
      const rdma_cm_event said = *raw;
      std::array<std::byte, sizeof(std::uint64_t)> key{};
      const bool has_key = said.param.conn.private_data_len >= key.size();
      if (said.event == RDMA_CM_EVENT_CONNECT_REQUEST && has_key)
        std::memcpy(key.data(), said.param.conn.private_data, key.size());
      calls_.ack_cm_event(raw);
      event = Event{};
      if (said.event == RDMA_CM_EVENT_CONNECT_REQUEST) {
        if (on_request(said.id, load_little_endian<std::uint64_t>(key.data()), event)) return true;
      } else if (on_event(said, event)) {
        return true;
      }
    }
    return false;
  }

 private:
  struct Listener {
    rdma_cm_id* id = nullptr;
    Gid gid;
    std::string interface;
    std::uint16_t number = 0;
  };
  struct Connection {
    rdma_cm_id* id = nullptr;
    std::uint64_t key = 0;
    std::uint32_t queue_pair = 0;
    bool is_asked = false;
  };

  // An id carries the serial of its link, and 0 where it has none.
  static void* name_of(std::uint64_t link) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(link)); }

  static Status failed(const std::string& what) {
    return Status::from_errno(errno, format("rdma_cm: {} is refused", what));
  }

  static rdma_conn_param parameters_of(std::uint32_t queue_pair) {
    rdma_conn_param parameters{};
    parameters.retry_count = kRetries;
    parameters.rnr_retry_count = kRetriesWithoutEnd;
    parameters.qp_num = queue_pair;
    return parameters;
  }

  Status listen_on(const Port& port) {
    if (port.facts.layer == LinkLayer::infiniband) {
      return Status(
          Code::unsupported,
          format("verbs: rdma_cm (TUTTI_VERBS_CONNECT) needs IP addresses, and the GID of {} is none; leave "
                 "it at control on InfiniBand",
                 port.name()));
    }
    Listener listener{nullptr, port.facts.gid, port.gid.interface, 0};
    sockaddr_storage address = address_of(listener.gid, 0, listener.interface);
    if (calls_.create_id(channel_, &listener.id, nullptr, RDMA_PS_TCP) == 0) {
      listeners_.push_back(listener);
      if (calls_.bind_addr(listener.id, reinterpret_cast<sockaddr*>(&address)) == 0 &&
          calls_.listen(listener.id, kBacklog) == 0) {
        listeners_.back().number = ntohs(calls_.get_src_port(listener.id));
        return {};
      }
    }
    return Status::from_errno(
        errno, format("verbs: rdma_cm cannot listen on {} ({})", port.name(), to_string(listener.gid)));
  }

  bool on_request(rdma_cm_id* id, std::uint64_t key, Event& event) {
    const auto found = expected_.find(key);
    if (found == expected_.end() || connections_.contains(found->second)) {
      log_.write(LogLevel::debug, "verbs", "rdma_cm: a request without a key that is expected is refused");
      calls_.reject(id, nullptr, 0);
      calls_.destroy_id(id);
      return false;
    }
    event.link = found->second;
    id->context = name_of(event.link);
    connections_[event.link] = {id, key, 0, true};
    return true;
  }

  bool on_event(const rdma_cm_event& said, Event& event) {
    event.link = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(said.id->context));
    const auto found = connections_.find(event.link);
    if (found == connections_.end()) return false;
    const auto goes_on = [&](int result, const char* what) {
      if (result == 0) return false;
      event.kind = Event::Kind::failed;
      event.why = failed(what).text();
      return true;
    };
    switch (said.event) {
      case RDMA_CM_EVENT_ADDR_RESOLVED:
        return goes_on(calls_.resolve_route(said.id, kResolveMs), "the route");
      case RDMA_CM_EVENT_ROUTE_RESOLVED: {
        std::array<std::byte, sizeof(std::uint64_t)> key{};
        store_little_endian(key.data(), found->second.key);
        rdma_conn_param parameters = parameters_of(found->second.queue_pair);
        parameters.private_data = key.data();
        parameters.private_data_len = key.size();
        return goes_on(calls_.connect(said.id, &parameters), "the request");
      }
      case RDMA_CM_EVENT_CONNECT_RESPONSE:
        return true;
      case RDMA_CM_EVENT_ADDR_ERROR:
      case RDMA_CM_EVENT_ROUTE_ERROR:
      case RDMA_CM_EVENT_CONNECT_ERROR:
      case RDMA_CM_EVENT_UNREACHABLE:
      case RDMA_CM_EVENT_REJECTED:
        event.kind = Event::Kind::failed;
        event.why = said.status < 0
                        ? Status::from_errno(-said.status, format("rdma_cm: {}", calls_.event_str(said.event))).text()
                        : format("rdma_cm: {} (status {})", calls_.event_str(said.event), said.status);
        return true;
      default:
        return false;  // how a connection ends is told by its control link
    }
  }

  const Calls calls_;
  const Log log_;
  rdma_event_channel* channel_ = nullptr;
  std::vector<Listener> listeners_;                            // by port
  std::map<std::uint64_t, std::uint64_t> expected_;            // links by their keys
  std::unordered_map<std::uint64_t, Connection> connections_;  // by link
};

}  // namespace

Result<std::unique_ptr<Connector>> make_rdma_cm(std::span<const Port* const> ports, const Log& log) {
  static const Result<Calls> calls = load();
  if (!calls) return calls.status().prefixed("verbs: rdma_cm (TUTTI_VERBS_CONNECT)");
  auto made = std::make_unique<RdmaCm>(*calls, log);
  TUTTI_RETURN_IF_ERROR(made->open(ports));
  return std::unique_ptr<Connector>(std::move(made));
}

}  // namespace tutti::verbs

#else

namespace tutti::verbs {

Result<std::unique_ptr<Connector>> make_rdma_cm(std::span<const Port* const>, const Log&) {
  return Status(
      Code::unsupported,
      "verbs: this build of Tutti has no rdma_cm (TUTTI_VERBS_CONNECT): rdma/rdma_cma.h was not there when it "
      "was built (Debian: librdmacm-dev)");
}

}  // namespace tutti::verbs

#endif
