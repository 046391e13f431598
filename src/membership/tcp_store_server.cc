// The server's loop: sockets around a StoreService. One thread, so nothing here is locked. While a connection's
// request is not answered, or its reply not sent, nothing more is read from it, so each holds at most one request and
// one reply. A connection is never closed in the middle of a walk over others: it is doomed, and closed when its turn
// in `ready_` comes.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <set>
#include <system_error>
#include <unordered_map>

#include "src/base/format.h"
#include "src/base/handshake.h"
#include "src/membership/store_service.h"
#include "src/membership/tcp_store.h"

namespace tutti {

namespace {

using ConnectionId = StoreService::Client;
using Frame = std::shared_ptr<const std::string>;

constexpr ConnectionId kListener = 0;
constexpr ConnectionId kStop = 1;
constexpr ConnectionId kFirst = 2;

struct Connection {
  Connection(ConnectionId serial, Descriptor socket, std::string name, const SecretKey& key, const Nonce& nonce)
      : id(serial),
        fd(std::move(socket)),
        peer(std::move(name)),
        handshake(Handshake::Role::server, key, nonce, peer),
        reader(kStoreRequestBytes) {}

  const ConnectionId id;
  Descriptor fd;
  const std::string peer;
  Handshake handshake;
  std::unique_ptr<TlsChannel> tls;  // null: without
  FrameReader reader;
  bool is_bound = false;  // TLS is through, and the handshake knows of it
  bool trusted = false;
  bool asked = false;  // the service has its request and has not answered
  bool doomed = false;
  bool stalled = false;  // its output waits for room in the socket
  Frame output;          // null when all is sent
  std::size_t sent = 0;
  std::uint32_t interest = EPOLLIN;  // what epoll was told
  Instant deadline = kNever;         // of the handshake, or of a reply that is not taken

  Conduit conduit() const { return {fd.get(), tls.get()}; }
  bool has_unread() const { return tls != nullptr && tls->has_unread(); }
};

// Lets a few lines a second through and counts the others: a flood of strangers must not become a flood of lines.
class LineBudget {
 public:
  bool take(Instant now) {
    budget_ = std::min(kBurst, budget_ + kPerSecond * std::chrono::duration<double>(now - last_).count());
    last_ = now;
    if (budget_ < 1) {
      ++left_out_;
      return false;
    }
    budget_ -= 1;
    return true;
  }
  std::size_t take_left_out() { return std::exchange(left_out_, 0); }

 private:
  static constexpr double kBurst = 10;
  static constexpr double kPerSecond = 2;

  double budget_ = kBurst;
  Instant last_ = monotonic_now();
  std::size_t left_out_ = 0;
};

}  // namespace

class TcpStoreServer::Loop {
 public:
  Loop(Options options, Log log, const SecretKey& key, const SecretKey& tls_key, Descriptor listener,
       Descriptor epoll)
      : options_(std::move(options)),
        log_(std::move(log)),
        key_(key),
        tls_key_(tls_key),
        listener_(std::move(listener)),
        epoll_(std::move(epoll)),
        reserve_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
        service_(options_.table_bytes) {}

  Status watch(int fd, ConnectionId id) const {
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.u64 = id;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Status::from_errno(errno, "epoll_ctl");
    return {};
  }

  Status watch_listener() const { return watch(listener_.get(), kListener); }

  void run() {
    std::array<epoll_event, 128> events;
    while (true) {
      const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), next_timeout());
      now_ = monotonic_now();
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.u64 == kStop) return;
        if (event.data.u64 == kListener) {
          accept_some();
        } else if (Connection* const connection = find(event.data.u64)) {
          handle_event(*connection, event.events);
        }
        drain_ready();
      }
      expire();
      drain_ready();
    }
  }

 private:
  Connection* find(ConnectionId id) {
    const auto found = connections_.find(id);
    return found == connections_.end() ? nullptr : found->second.get();
  }

  template <typename... Args>
  void complain(LogLevel level, fmt::format_string<Args...> text, Args&&... args) {
    if (!log_.wants(level) || !budget_.take(now_)) return;
    if (const std::size_t more = budget_.take_left_out(); more > 0) {
      log_.write(level, "store", "{} lines about refused connections were left out", more);
    }
    log_.write(level, "store", text, std::forward<Args>(args)...);
  }

  // Connections come and go.

  void accept_some() {
    constexpr int kAtOnce = 64;  // then others have their turn
    for (int i = 0; i < kAtOnce; ++i) {
      sockaddr_storage address = {};
      socklen_t length = sizeof address;
      auto* const generic = reinterpret_cast<sockaddr*>(&address);
      Descriptor fd(accept4(listener_.get(), generic, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        admit(std::move(fd), socket_address_text(generic));
      } else if (errno == EMFILE || errno == ENFILE) {
        turn_one_away(errno);
      } else if (errno != ECONNABORTED && errno != EINTR) {
        return;
      }
    }
  }

  // Without a free descriptor the listener would wake the loop for ever: the reserve is given up for a moment to take
  // one connection and close it.
  void turn_one_away(int error) {
    const std::string context = format("accept with {} connections open", connections_.size());
    complain(LogLevel::warn, "{}; one connection closed", Status::from_errno(error, context).text());
    reserve_.reset();
    Descriptor(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    reserve_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  }

  void admit(Descriptor fd, std::string peer) {
    if (connections_.size() >= options_.clients || strangers_ >= options_.strangers) {
      return complain(LogLevel::warn,
                      "{} turned away: {} connections, {} of them in their handshake, are open already", peer,
                      connections_.size(), strangers_);
    }
    const auto nonce = new_nonce();
    if (!nonce) return complain(LogLevel::warn, "{} turned away: {}", peer, nonce.status().text());
    tune_connection(fd.get());
    const ConnectionId id = next_id_++;
    auto connection = std::make_unique<Connection>(id, std::move(fd), std::move(peer), key_, *nonce);
    if (options_.tls != nullptr) {
      connection->tls =
          std::make_unique<TlsChannel>(options_.tls, TlsChannel::Role::server, tls_key_, connection->peer);
    }
    if (const Status status = watch(connection->fd.get(), id); !status) {
      return complain(LogLevel::warn, "{} turned away: {}", connection->peer, status.text());
    }
    set_deadline(*connection, deadline_after(now_, options_.handshake_time));
    ++strangers_;
    connections_.emplace(id, std::move(connection));
  }

  // Reads what is left first: closing a socket with unread bytes would reset it, and the peer lose our last words.
  void close_connection(Connection& connection) {
    service_.forget(connection.id);
    set_deadline(connection, kNever);
    if (!connection.trusted) --strangers_;
    drop_output(connection);
    shutdown(connection.fd.get(), SHUT_WR);
    (void)recv(connection.fd.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
    connections_.erase(connection.id);
  }

  void doom(Connection& connection) {
    connection.doomed = true;
    ready_.push_back(connection.id);
  }

  void set_deadline(Connection& connection, Instant deadline) {
    if (connection.deadline != kNever) deadlines_.erase({connection.deadline, connection.id});
    connection.deadline = deadline;
    if (deadline != kNever) deadlines_.insert({deadline, connection.id});
  }

  void update_interest(Connection& connection) {
    const bool idle = !connection.asked && !connection.output;
    const std::uint32_t wanted = EPOLLRDHUP | (idle ? EPOLLIN : 0u) | (connection.output ? EPOLLOUT : 0u);
    if (wanted == connection.interest) return;
    epoll_event event = {};
    event.events = wanted;
    event.data.u64 = connection.id;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event) != 0) return doom(connection);
    connection.interest = wanted;
  }

  // Time.

  int next_timeout() const {
    const Instant own = deadlines_.empty() ? kNever : deadlines_.begin()->first;
    const Instant first = std::min(own, service_.next_deadline());
    if (first == kNever) return -1;
    const Nanoseconds left = std::min<Nanoseconds>(first - monotonic_now(), std::chrono::hours(1));
    return static_cast<int>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(left).count()));
  }

  void expire() {
    while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
      Connection& connection = *find(deadlines_.begin()->second);
      set_deadline(connection, kNever);
      if (connection.trusted) {
        complain(LogLevel::warn, "{} did not take its reply for {}; connection closed", connection.peer,
                 format_duration(options_.stall_time));
      } else {
        complain(LogLevel::warn, "{} did not finish the handshake within {}; connection closed", connection.peer,
                 format_duration(options_.handshake_time));
      }
      doom(connection);
    }
    service_.expire(now_);
    deliver_answers();
  }

  // Bytes.

  void handle_event(Connection& connection, std::uint32_t events) {
    if (!connection.trusted) return read_handshake(connection);
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) return doom(connection);
    if ((events & EPOLLOUT) != 0) flush(connection);
    if ((events & EPOLLIN) != 0) read_requests(connection);
  }

  // Whether TLS is through, where there is any.
  bool is_secure(Connection& connection) {
    if (connection.tls == nullptr || connection.is_bound) return true;
    TlsChannel& tls = *connection.tls;
    const TlsChannel::Step step = tls.handshake(connection.fd.get());
    if (step == TlsChannel::Step::failed) {
      complain(tls.status().code() == Code::peer_lost ? LogLevel::info : LogLevel::warn, "{}", tls.status().text());
      doom(connection);
      return false;
    }
    if (tls.has_unsent()) {  // all of a handshake fits into the buffer of a new socket
      doom(connection);
      return false;
    }
    if (step == TlsChannel::Step::waiting) return false;
    const auto binding = tls.binding();
    const Status bound = binding ? connection.handshake.bind(*binding) : binding.status();
    connection.is_bound = bound.is_ok();
    if (!bound) {
      complain(LogLevel::warn, "{}", bound.text());
      doom(connection);
    }
    return connection.is_bound;
  }

  void read_handshake(Connection& connection) {
    if (!is_secure(connection)) return;
    while (step_handshake(connection) && !connection.trusted && connection.has_unread()) {
    }
    if (connection.trusted && connection.has_unread()) read_requests(connection);
  }

  // False where nothing came, or nothing more will.
  bool step_handshake(Connection& connection) {
    std::array<std::byte, 128> arrived;
    Handshake& handshake = connection.handshake;
    const ssize_t got =
        receive_from(connection.conduit(), arrived.data(), std::min(arrived.size(), handshake.wanted()));
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) {
      if (connection.tls != nullptr && connection.tls->failed()) {
        complain(LogLevel::warn, "{}", connection.tls->status().text());
      } else {
        complain(LogLevel::info, "{} closed the connection before it finished the handshake", connection.peer);
      }
      doom(connection);
      return false;
    }
    handshake.feed(std::span(arrived).first(static_cast<std::size_t>(got)));
    const auto answer = handshake.take_output();
    // 80 bytes always fit into the buffer of a new socket.
    if (!answer.empty() &&
        (send_to(connection.conduit(), answer.data(), answer.size()) != static_cast<ssize_t>(answer.size()) ||
         connection.conduit().has_unsent())) {
      doom(connection);
      return false;
    }
    if (handshake.failed()) {
      complain(LogLevel::warn, "{}", handshake.status().text());
      doom(connection);
    } else if (handshake.done()) {
      connection.trusted = true;
      --strangers_;
      set_deadline(connection, kNever);
      update_interest(connection);
    }
    return !connection.doomed;
  }

  void read_requests(Connection& connection) {
    const ssize_t got = receive_from(connection.conduit(), scratch_.data(), scratch_.size());
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return doom(connection);
    connection.reader.feed({scratch_.data(), static_cast<std::size_t>(got)});
    ready_.push_back(connection.id);
  }

  void drain_ready() {
    while (!ready_.empty()) {
      Connection* const connection = find(ready_.front());
      ready_.pop_front();
      if (!connection) continue;
      if (!connection->doomed) serve(*connection);
      if (connection->doomed) close_connection(*connection);
    }
  }

  void serve(Connection& connection) {
    while (!connection.asked && !connection.output && !connection.doomed) {
      const auto frame = connection.reader.next();
      if (!frame) return refuse(connection, frame.status());
      if (!*frame) {
        if (connection.has_unread()) read_requests(connection);  // which epoll does not see
        break;
      }
      const auto request = decode_request(**frame);
      if (!request) return refuse(connection, request.status());
      connection.asked = true;
      service_.handle(connection.id, *request, now_);
      deliver_answers();
    }
    if (!connection.doomed) update_interest(connection);
  }

  void refuse(Connection& connection, const Status& why) {
    complain(LogLevel::warn, "{} sent what is no request: {}; connection closed", connection.peer, why.text());
    doom(connection);
  }

  void deliver_answers() {
    for (auto& [client, frame] : service_.take_answers()) {
      Connection& connection = *find(client);
      connection.asked = false;
      connection.output = std::move(frame);
      connection.sent = 0;
      flush(connection);
    }
  }

  void flush(Connection& connection) {
    while (connection.output && (connection.sent < connection.output->size() || connection.conduit().has_unsent())) {
      const ssize_t sent = send_to(connection.conduit(), connection.output->data() + connection.sent,
                                   connection.output->size() - connection.sent);
      if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return doom(connection);
      if (sent < 0) return stall(connection);
      connection.sent += static_cast<std::size_t>(sent);
    }
    drop_output(connection);
    set_deadline(connection, kNever);
    ready_.push_back(connection.id);
  }

  // What is not taken yet counts against the bound of all; a frame that several share counts once.
  void stall(Connection& connection) {
    if (!connection.stalled && ++stalled_[connection.output.get()] == 1) unsent_bytes_ += connection.output->size();
    connection.stalled = true;
    set_deadline(connection, deadline_after(now_, options_.stall_time));
    update_interest(connection);
    if (unsent_bytes_ <= options_.unsent_bytes) return;
    complain(LogLevel::warn, "{} of replies wait for clients that do not take them; connection of {} closed",
             format_bytes(unsent_bytes_), connection.peer);
    doom(connection);
  }

  void drop_output(Connection& connection) {
    if (std::exchange(connection.stalled, false)) {
      const auto found = stalled_.find(connection.output.get());
      if (--found->second == 0) {
        unsent_bytes_ -= connection.output->size();
        stalled_.erase(found);
      }
    }
    connection.output.reset();
  }

  const Options options_;
  const Log log_;
  const SecretKey key_;
  const SecretKey tls_key_;
  const Descriptor listener_;
  const Descriptor epoll_;
  Descriptor reserve_;
  StoreService service_;
  std::unordered_map<const std::string*, std::size_t> stalled_;  // frames not taken yet, and by how many
  std::size_t unsent_bytes_ = 0;                                 // of those frames
  std::size_t strangers_ = 0;
  ConnectionId next_id_ = kFirst;
  Instant now_ = monotonic_now();
  LineBudget budget_;
  std::vector<char> scratch_ = std::vector<char>(64 * 1024);
  std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections_;
  std::deque<ConnectionId> ready_;
  std::set<std::pair<Instant, ConnectionId>> deadlines_;
};

TcpStoreServer::TcpStoreServer(std::unique_ptr<Loop> loop, Descriptor stop, std::uint16_t port)
    : loop_(std::move(loop)), stop_(std::move(stop)), port_(port) {}

Result<std::unique_ptr<TcpStoreServer>> TcpStoreServer::start(Options options, Log log) {
  constexpr std::size_t kStrangersInTls = 1024;  // TLS needs memory for each
  if (options.tls != nullptr) options.strangers = std::min(options.strangers, kStrangersInTls);
  const auto key = tcp_store_key(options.secret);
  if (!key) return key.status();
  const auto tls_key = tcp_store_tls_key(options.secret);
  if (!tls_key) return tls_key.status();
  auto listener = listen_at({options.host, options.port});
  if (!listener) return listener.status().prefixed("start the store");
  const auto port = local_port(listener->get());
  if (!port) return port.status();
  Descriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  Descriptor stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll || !stop) return Status::from_errno(errno, "start the store: open epoll and eventfd");
  auto loop = std::make_unique<Loop>(std::move(options), std::move(log), *key, *tls_key, *std::move(listener),
                                     std::move(epoll));
  TUTTI_RETURN_IF_ERROR(loop->watch_listener());
  TUTTI_RETURN_IF_ERROR(loop->watch(stop.get(), kStop));
  std::unique_ptr<TcpStoreServer> server(new TcpStoreServer(std::move(loop), std::move(stop), *port));
  // The program's signal handlers are not to run on a thread it does not know.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  try {
    server->thread_ = std::thread([running = server->loop_.get()] { running->run(); });
  } catch (const std::system_error& refused) {
    error = refused.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Status::from_errno(error, "start the store: create its thread");
  return server;
}

TcpStoreServer::~TcpStoreServer() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  while (write(stop_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
}

std::string TcpStoreServer::address(const std::string& host) const {
  return "tcp://" + to_string(HostPort{host, port_});
}

}  // namespace tutti
