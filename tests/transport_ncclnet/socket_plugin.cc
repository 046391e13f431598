// A network plug-in as NCCL loads them, over TCP on this host's loopback, for tests of transports/ncclnet. It is as
// strict as the interface allows: it wants every rule kept, and does everything that a plug-in may do to its caller.
//
//  - connect and accept succeed without a connection first, and connect keeps its state in the handle.
//  - Every fifth isend and irecv has no room, and every one beyond kRequestsMax is an error.
//  - Requests have to be tested in their order, data to lie in registered memory of that connection, and
//  registrations
//    to be released before the connection is closed.
//  - A peer that is gone is a warning, and ncclRemoteError.
//
// Built once for each version of the interface, TUTTI_TEST_NET_VERSION. What is to go wrong a test says by
// tutti_test_net_break(); how much is open tutti_test_net_open() says.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "transports/ncclnet/abi.h"

namespace {

using namespace tutti::ncclnet;
constexpr int kVersion = TUTTI_TEST_NET_VERSION;
using Net = Table<kVersion>;

struct Failure {
  std::string call;
  int after = 0;  // so many calls succeed before
};
std::mutex failure_mutex;  // a test breaks it while a progress thread calls it
Failure failure;
std::atomic<int> open_objects;  // listeners, connections, registrations
Logger say = nullptr;

constexpr std::size_t kTrickleBytes = 4096;  // of a receive that is told to trickle, in one test

struct Registration {
  char* data;
  std::size_t bytes;
};

struct Connection;
struct Request {
  Connection* of = nullptr;
  char* data = nullptr;
  std::size_t bytes = 0;  // to send, or the room
  std::uint32_t size = 0;
  std::size_t moved = 0;  // with the size before the data
};
struct Connection {
  int socket = -1;
  bool is_sender = false;
  unsigned calls = 0;
  std::deque<Request*> requests;
  std::vector<Registration*> registrations;
};
struct Listener {
  int socket = -1;
  bool was_asked = false;
};
// What a handle holds: where the listener is, and, once connect() was called, its state.
struct Where {
  sockaddr_in address;
  Connection* connecting;
};
static_assert(sizeof(Where) <= kHandleBytes);

// Whether a test has asked for this, whenever it is called.
bool is_told(const char* what) {
  const std::lock_guard lock(failure_mutex);
  return failure.call == what;
}

// And as often as it was to succeed before, it has.
bool is_time_to_fail(const char* call) {
  const std::lock_guard lock(failure_mutex);
  if (failure.call != call || failure.after-- > 0) return false;
  failure.after = 0;
  return true;
}

// The answer that a test has asked for, or success.
Answer answer_of(const char* call) {
  if (!is_time_to_fail(call)) return Answer::success;
  say(LogWeight::warning, ~0UL, __FILE__, __LINE__, "TEST/NET : %s was told to fail", call);
  return Answer::system_error;
}
#define TUTTI_TEST_MAY_FAIL(call) \
  if (const Answer answer = answer_of(call); answer != Answer::success) return answer

Answer gone(const char* what, int error) {
  say(LogWeight::warning, ~0UL, __FILE__, __LINE__, "TEST/NET : %s: %s", what,
      error == 0 ? "the peer has closed the connection" : std::strerror(error));
  return Answer::remote_error;
}

Connection* new_connection(int socket, bool is_sender) {
  const int one = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ++open_objects;
  auto* const connection = new Connection;
  connection->socket = socket;
  connection->is_sender = is_sender;
  return connection;
}

Answer close_connection(void* connection) {
  auto* const its = static_cast<Connection*>(connection);
  const bool is_clean = its->registrations.empty();
  ::close(its->socket);
  for (const Request* const request : its->requests) delete request;
  for (const Registration* const registration : its->registrations) delete registration;
  delete its;
  --open_objects;
  return is_clean ? Answer::success : Answer::internal_error;
}

Answer start() {
  TUTTI_TEST_MAY_FAIL("init");
  say(LogWeight::info, ~0UL, __FILE__, __LINE__, "TEST/NET : version %d is here", kVersion);
  return Answer::success;
}

Answer devices(int* count) {
  TUTTI_TEST_MAY_FAIL("devices");
  *count = is_told("no devices") ? 0 : 2;
  return Answer::success;
}

Answer properties(int device, Net::Properties* its) {
  TUTTI_TEST_MAY_FAIL("getProperties");
  static char names[2][8] = {"lo0", "lo1"};
  *its = {};
  its->name = is_told("device without a name") ? nullptr : names[device];
  its->pointer_support = is_told("no host memory") ? 2 : kHostMemory;
  its->speed = 10'000;
  its->port = 1;
  its->latency = 3;
  its->connections_max = is_told("no connections") ? 0 : 65536;
  its->receives_max = is_told("no receives") ? -1 : 1;
#if TUTTI_TEST_NET_VERSION >= 9
  its->device_count = 1;
  its->devices[0] = device;
  its->message_bytes_max = is_told("short messages") ? 4096 : std::size_t{1} << 30;
  its->collective_bytes_max = its->message_bytes_max;
#endif
  return Answer::success;
}

Answer listen_at(void* handle, void** listener) {
  TUTTI_TEST_MAY_FAIL("listen");
  Where where{};
  where.address.sin_family = AF_INET;
  where.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  socklen_t bytes = sizeof where.address;
  auto* const address = reinterpret_cast<sockaddr*>(&where.address);
  if (socket < 0 || bind(socket, address, bytes) != 0 || ::listen(socket, 4) != 0 ||
      getsockname(socket, address, &bytes) != 0)
    return gone("listen", errno);
  std::memset(handle, 0, kHandleBytes);
  std::memcpy(handle, &where, sizeof where);
  ++open_objects;
  *listener = new Listener{socket, false};
  return Answer::success;
}

Answer connect_to(void* handle, void** sender) {
  *sender = nullptr;
  Where where{};
  std::memcpy(&where, handle, sizeof where);
  if (const Answer answer = answer_of("connect"); answer != Answer::success) {
    if (where.connecting != nullptr) close_connection(where.connecting);
    return answer;
  }
  const auto* const address = reinterpret_cast<const sockaddr*>(&where.address);
  if (where.connecting == nullptr) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket < 0) return gone("connect", errno);
    where.connecting = new_connection(socket, true);
    std::memcpy(handle, &where, sizeof where);
    ::connect(socket, address, sizeof where.address);
    return Answer::success;
  }
  if (::connect(where.connecting->socket, address, sizeof where.address) == 0 || errno == EISCONN) {
    *sender = where.connecting;
    return Answer::success;
  }
  if (errno == EALREADY || errno == EINPROGRESS) return Answer::success;
  const int error = errno;
  close_connection(where.connecting);
  return gone("connect", error);
}

Answer accept_from(void* listener, void** receiver, void**) {
  TUTTI_TEST_MAY_FAIL("accept");
  *receiver = nullptr;
  auto* const its = static_cast<Listener*>(listener);
  if (!std::exchange(its->was_asked, true)) return Answer::success;
  const int socket = accept4(its->socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket >= 0) *receiver = new_connection(socket, false);
  return socket >= 0 || errno == EAGAIN ? Answer::success : gone("accept", errno);
}

Answer register_memory(void* connection, void* data, std::size_t bytes, int kind, void** registration) {
  TUTTI_TEST_MAY_FAIL("regMr");
  if (kind != kHostMemory) return Answer::invalid_argument;
  auto* const its = new Registration{static_cast<char*>(data), bytes};
  static_cast<Connection*>(connection)->registrations.push_back(its);
  ++open_objects;
  *registration = its;
  return Answer::success;
}

Answer release_memory(void* connection, void* registration) {
  TUTTI_TEST_MAY_FAIL("deregMr");
  auto& all = static_cast<Connection*>(connection)->registrations;
  for (auto its = all.begin(); its != all.end(); ++its) {
    if (*its != registration) continue;
    delete *its;
    all.erase(its);
    --open_objects;
    return Answer::success;
  }
  return Answer::invalid_argument;
}

Answer start_request(Connection& on, bool is_send, void* data, std::size_t bytes, void* registration,
                     void** request) {
  *request = nullptr;
  const auto* const its = static_cast<const Registration*>(registration);
  auto* const begin = static_cast<char*>(data);
  if (on.is_sender != is_send || its == nullptr || begin < its->data || begin + bytes > its->data + its->bytes)
    return Answer::invalid_argument;
  if (++on.calls % 5 == 0) return Answer::success;
  if (on.requests.size() >= kRequestsMax) return Answer::internal_error;
  on.requests.push_back(new Request{&on, begin, bytes, static_cast<std::uint32_t>(bytes), 0});
  *request = on.requests.back();
  return Answer::success;
}

// Moves what can be moved of `bytes` at `data`; -1 and errno, or how much.
ssize_t move_bytes(const Connection& on, void* data, std::size_t bytes) {
  return on.is_sender ? ::send(on.socket, data, bytes, MSG_NOSIGNAL) : recv(on.socket, data, bytes, 0);
}

Answer test_request(void* request, int* is_done, int* size) {
  auto* const its = static_cast<Request*>(request);
  Connection& on = *its->of;
  *is_done = 0;
  TUTTI_TEST_MAY_FAIL(on.is_sender ? "test of a send" : "test of a receive");
  if (on.requests.front() != its) return Answer::internal_error;  // out of turn
  while (its->moved < sizeof its->size || its->moved < sizeof its->size + its->size) {
    const bool is_size = its->moved < sizeof its->size;
    void* const data =
        is_size ? reinterpret_cast<char*>(&its->size) + its->moved : its->data + (its->moved - sizeof its->size);
    const std::size_t left = (is_size ? 0 : its->size) + sizeof its->size - its->moved;
    const bool trickles = !on.is_sender && !is_size && is_told("trickle");
    const ssize_t moved = move_bytes(on, data, trickles ? std::min(left, kTrickleBytes) : left);
    if (moved < 0 && errno == EAGAIN) return Answer::success;
    if (moved <= 0) return gone(on.is_sender ? "send" : "receive", moved == 0 ? 0 : errno);
    its->moved += static_cast<std::size_t>(moved);
    if (its->moved >= sizeof its->size && its->size > its->bytes) return Answer::invalid_usage;
    if (trickles && its->moved < sizeof its->size + its->size) return Answer::success;
  }
  *is_done = 1;
  const bool lies = !on.is_sender && is_time_to_fail("lie");
  *size = lies ? -1 : static_cast<int>(its->size);
  on.requests.pop_front();
  delete its;
  return Answer::success;
}

Answer close_listener(void* listener) {
  auto* const its = static_cast<Listener*>(listener);
  ::close(its->socket);
  delete its;
  --open_objects;
  return Answer::success;
}

// ---- As each version has them

#if TUTTI_TEST_NET_VERSION >= 11
int context;  // its address is

Answer init(void** its_context, std::uint64_t, Configuration* configuration, Logger logger, Profiler profiler) {
  say = logger;
  if (configuration->traffic_class != kNoTrafficClass || profiler == nullptr) return Answer::invalid_argument;
  *its_context = &context;
  return start();
}
Answer listen(void* its_context, int, void* handle, void** listener) {
  return its_context == &context ? listen_at(handle, listener) : Answer::invalid_argument;
}
Answer connect(void* its_context, int, void* handle, void** sender, void** offload) {
  return its_context == &context && *offload == nullptr ? connect_to(handle, sender) : Answer::invalid_argument;
}
#else
#if TUTTI_TEST_NET_VERSION == 10
Answer init(Logger logger, Profiler profiler) {
  say = logger;
  return profiler != nullptr ? start() : Answer::invalid_argument;
}
Answer connect(int, Configuration* configuration, void* handle, void** sender, void** offload) {
  return configuration->traffic_class == kNoTrafficClass && *offload == nullptr ? connect_to(handle, sender)
                                                                                : Answer::invalid_argument;
}
#else
Answer init(Logger logger) {
  say = logger;
  return start();
}
Answer connect(int, void* handle, void** sender, void** offload) {
  return *offload == nullptr ? connect_to(handle, sender) : Answer::invalid_argument;
}
#endif
Answer listen(int, void* handle, void** listener) { return listen_at(handle, listener); }
#endif

#if TUTTI_TEST_NET_VERSION >= 10
Answer send(void* sender, void* data, Net::Size bytes, int, void* registration, void*, void** request) {
#else
Answer send(void* sender, void* data, Net::Size bytes, int, void* registration, void** request) {
#endif
  TUTTI_TEST_MAY_FAIL("isend");
  return start_request(*static_cast<Connection*>(sender), true, data, static_cast<std::size_t>(bytes), registration,
                       request);
}

#if TUTTI_TEST_NET_VERSION >= 10
Answer receive(void* receiver, int count, void** data, Net::Size* bytes, int*, void** registrations, void**,
               void** request) {
#else
Answer receive(void* receiver, int count, void** data, Net::Size* bytes, int*, void** registrations, void** request) {
#endif
  TUTTI_TEST_MAY_FAIL("irecv");
  if (count != 1) return Answer::invalid_argument;
  return start_request(*static_cast<Connection*>(receiver), false, *data, static_cast<std::size_t>(*bytes),
                       *registrations, request);
}

}  // namespace

// The table with what lies behind the functions that Tutti uses.
struct WholeTable {
  Net net;
  std::byte rest[Net::kBytes - sizeof(Net)];
};

extern "C" {

#define TUTTI_TEST_PASTE(a, b) a##b
#define TUTTI_TEST_SYMBOL(version) TUTTI_TEST_PASTE(ncclNetPlugin_v, version)
__attribute__((visibility("default"))) WholeTable TUTTI_TEST_SYMBOL(TUTTI_TEST_NET_VERSION) = {
    {"Test", init, devices, properties, listen, connect, accept_from, register_memory, nullptr, release_memory, send,
     receive, nullptr, test_request, close_connection, close_connection, close_listener},
    {}};

// What is to go wrong: a call by its name, from the one after `after` on, or something that its function says in
// words.
__attribute__((visibility("default"))) void tutti_test_net_break(const char* what, int after) {
  Net& net = TUTTI_TEST_SYMBOL(TUTTI_TEST_NET_VERSION).net;
  {
    const std::lock_guard lock(failure_mutex);
    failure = {what, after};
  }
  if (is_told("no name")) net.name = nullptr;
  if (is_told("no functions")) net = {net.name};
  if (is_told("no closeListen")) net.close_listener = nullptr;
}

__attribute__((visibility("default"))) int tutti_test_net_open() { return open_objects; }
}
