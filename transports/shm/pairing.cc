// How two processes come to share a link: the part of ShmTransport that talks on unix sockets. See transport.h.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/format.h"
#include "transports/shm/cross_memory.h"
#include "transports/shm/transport.h"

namespace tutti::shm {

namespace {

constexpr Nanoseconds kAcceptWithin = std::chrono::seconds(10);

bool means_hung_up(int error) { return error == EPIPE || error == ECONNRESET; }

}  // namespace

Message ShmTransport::new_message(MessageType type) const {
  Message message;
  message.type = type;
  message.sender = options_.process;
  message.segment_bytes = options_.segment_bytes;
  message.probe_address = reinterpret_cast<std::uint64_t>(&probe_word_);
  message.probe_value = probe_word_;
  return message;
}

// ---- Connecting

Result<Link*> ShmTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                    Instant deadline) {
  if (lane >= capabilities_.lanes_max) {
    return Status(Code::invalid, format("shm: lane {} to process {} does not exist; shared memory has one lane, 0",
                                        lane, to_string(peer)));
  }
  if (ShmLink* const existing = current_link(peer)) return existing;
  if (!reaches(address)) {
    return Status(Code::unsupported,
                  format("shm: process {} does not share memory with this process: it runs on another host, or as "
                         "another user, or its address is not one of shared memory",
                         to_string(peer)));
  }
  auto connection = std::make_unique<Connection>();
  connection->address = *decode(address);
  if (connection->address.process != peer) {
    return Status(Code::invalid, format("shm: the address is that of process {}, not of {}",
                                        to_string(connection->address.process), to_string(peer)));
  }
  auto pair = create_shared("tutti-pair", pair_bytes(options_.staging_bytes), 2 * kDirectionBytes);
  if (!pair) return pair.status().prefixed("shm: no link was made");
  auto socket = new_socket();
  if (!socket) return socket.status().prefixed("shm: no link was made");
  const auto nonce = new_nonce();
  if (!nonce) return nonce.status();
  connection->number = next_connection_++;
  connection->is_connector = true;
  connection->phase = Phase::retrying;
  connection->pair = std::move(*pair);
  connection->socket = std::move(*socket);
  connection->deadline = deadline;
  connection->handshake =
      std::make_unique<Handshake>(Handshake::Role::client, connection->address.key.value_or(options_.key), *nonce,
                                  format("process {} on {}", to_string(peer), host_));
  ShmLink& link = new_link(peer);
  link.set_connection(connection->number);
  connection->link = &link;
  retry(add(std::move(connection)));
  return &link;
}

// The link that counts for this peer: not closed, and not one that only delivers what a gone peer has left.
ShmLink* ShmTransport::current_link(const ProcessId& peer) const {
  const auto at = by_peer_.find(peer);
  return at == by_peer_.end() || at->second->is_peer_gone() ? nullptr : at->second;
}

ShmLink& ShmTransport::new_link(const ProcessId& peer) {
  links_.push_back(std::make_unique<ShmLink>(*this, peer));
  by_peer_[peer] = links_.back().get();
  return *links_.back();
}

// Tries to connect: the connection moves on, fails, or stays `retrying`.
void ShmTransport::retry(Connection& connection) {
  const int error = connect_socket(connection.socket, connection.address.socket_name);
  if (error == EAGAIN || error == EINTR) return;
  if (error != 0) {
    return fail(connection, Status(Code::peer_lost,
                                   Status::from_errno(error, format("shm: process {} on {} cannot be reached on its "
                                                                    "socket; it has ended, and no link was made",
                                                                    to_string(connection.address.process), host_))
                                       .text()));
  }
  connection.phase = Phase::handshaking;
  if (const Status admitted = admit(connection); !admitted) return fail(connection, admitted);
  flush_handshake(connection);
}

// ---- Accepting

void ShmTransport::accept_all(Instant now) {
  for (;;) {
    Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) turn_away_one();
      return;
    }
    auto connection = std::make_unique<Connection>();
    connection->number = next_connection_++;
    connection->socket = std::move(socket);
    connection->deadline = deadline_after(now, kAcceptWithin);
    begin(add(std::move(connection)));
  }
}

// No descriptor is left to accept with: the spare one serves to tell the connector so, instead of leaving it waiting.
void ShmTransport::turn_away_one() {
  const Status why = resource_error(errno, format("process {} on {} cannot accept a link", pid_, host_));
  options_.log.write(LogLevel::warn, "shm", "{}", why.text());
  spare_.reset();
  if (const Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)); socket) {
    Message message = new_message(MessageType::refuse);
    message.set_text(why.text());
    (void)send_message(socket, message);
  }
  spare_ = Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void ShmTransport::begin(Connection& connection) {
  const auto nonce = new_nonce();
  if (!nonce) return fail(connection, nonce.status());
  if (const Status admitted = admit(connection); !admitted) return refuse(connection, admitted);
  connection.handshake = std::make_unique<Handshake>(Handshake::Role::server, options_.key, *nonce,
                                                     format("process {} on {}", connection.peer.pid, host_));
}

// Who is it, and may it? Then its socket and its life are watched.
Status ShmTransport::admit(Connection& connection) {
  const auto peer = credentials_of_peer(connection.socket);
  if (!peer) return peer.status();
  connection.peer = *peer;
  const uid_t user = geteuid();
  if (peer->user != user && peer->user != 0 && user != 0) {
    return {Code::invalid,
            format("shm: process {} on {} belongs to user {}, process {} to user {}; shared memory is only "
                   "between processes of one user. No link was made",
                   peer->pid, host_, peer->user, pid_, user)};
  }
  TUTTI_RETURN_IF_ERROR(watch(connection.socket.get(), connection.number));
  // A forked child of the peer may keep its sockets open after its death; a pidfd does not care. A kernel without it
  // (before 5.3), or no descriptor left, costs only that.
  if (peer->pid > 0 && peer->pid != pid_) {
    connection.process = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, peer->pid, 0)));
    if (connection.process && !watch(connection.process.get(), connection.number | kProcessBit)) {
      connection.process.reset();
    }
  }
  return Status::ok();
}

// ---- Messages

void ShmTransport::handle(Connection& connection, Received received) {
  switch (received.state) {
    case Received::State::nothing:
      return;
    case Received::State::ended:
      return peer_has_ended(connection);
    case Received::State::malformed:
      if (connection.phase == Phase::open) return connection.link->violated("a message of another size or version");
      return refuse(connection, {Code::invalid,
                                 format("shm: process {} on {} does not speak this version of Tutti's protocol; the "
                                        "connection was closed",
                                        connection.peer.pid, host_)});
    case Received::State::descriptors_lost:
      return refuse(
          connection,
          resource_error(EMFILE, format("shm: process {} on {} received shared memory from process {} and could "
                                        "not open it",
                                        pid_, host_, connection.peer.pid)));
    case Received::State::message:
      break;
  }
  const MessageType type = received.message.type;
  if (connection.phase == Phase::open)
    return connection.link->handle(received.message, std::move(received.descriptors));
  if (type == MessageType::refuse && connection.is_connector) {
    return fail(connection, {Code::peer_lost, format("shm: process {} on {} refused the link: {}",
                                                     connection.peer.pid, host_, received.message.get_text())});
  }
  if (type == MessageType::duplicate && connection.phase == Phase::offered) {
    // The peer's own connection is on its way to us and will open this link, by the same deadline.
    unwatch(connection.socket);
    connection.socket.reset();
    return;
  }
  if (type == MessageType::handshake && connection.phase == Phase::handshaking) {
    return handle_handshake(connection, received.message);
  }
  if (type == MessageType::offer && connection.phase == Phase::awaiting) {
    return handle_offer(connection, std::move(received));
  }
  if (type == MessageType::accept && connection.phase == Phase::offered) {
    return handle_accept(connection, std::move(received));
  }
  refuse(connection,
         {Code::invalid,
          format("shm: process {} on {} sent a message out of turn while a link was set up; the connection "
                 "was closed",
                 connection.peer.pid, host_)});
}

void ShmTransport::peer_has_ended(Connection& connection) {
  const Status why(Code::peer_lost,
                   format("process {} on {} ended: its connection closed", connection.peer.pid, host_));
  if (connection.phase != Phase::open) return fail(connection, why);
  connection.link->peer_is_gone(why);
  drop(connection.number);
}

void ShmTransport::flush_handshake(Connection& connection) {
  const std::vector<std::byte> output = connection.handshake->take_output();
  if (output.empty()) return;
  Message message = new_message(MessageType::handshake);
  message.probe_address = 0;  // nothing about us before the other has proven who it is
  message.probe_value = 0;
  message.set_text({reinterpret_cast<const char*>(output.data()), output.size()});
  (void)send_message(connection.socket, message);  // where it cannot be sent, the connection ends or expires
}

void ShmTransport::handle_handshake(Connection& connection, const Message& message) {
  const std::string_view text = message.get_text();
  connection.handshake->feed(std::as_bytes(std::span(text.data(), text.size())));
  flush_handshake(connection);
  if (connection.handshake->failed()) return fail(connection, connection.handshake->status().prefixed("shm"));
  if (!connection.handshake->done()) return;
  connection.handshake.reset();
  connection.phase = Phase::awaiting;
  if (connection.is_connector) send_offer(connection);
}

void ShmTransport::send_offer(Connection& connection) {
  Message offer = new_message(MessageType::offer);
  offer.target = connection.address.process;
  offer.staging_bytes = options_.staging_bytes;
  const std::array<int, 3> descriptors = {connection.pair.descriptor.get(), segment_.descriptor.get(),
                                          doorbell_.get()};
  // Where the peer has hung up, what it said before that, or its end, is read next.
  if (const int error = send_message(connection.socket, offer, descriptors); error != 0 && !means_hung_up(error)) {
    return fail(connection,
                Status::from_errno(error, format("shm: send an offer to process {}", connection.peer.pid)));
  }
  connection.phase = Phase::offered;
}

// ---- Offers

Status ShmTransport::check_offer(const Connection& connection, const Received& received) const {
  const Message& offer = received.message;
  if (received.descriptors.size() != 3 || offer.sender.is_nil() || offer.sender == options_.process ||
      offer.lane != 0 || offer.staging_bytes < kStagingBytesMin || offer.staging_bytes > kStagingBytesMax ||
      offer.staging_bytes % (kStagingSlots * kPageBytes) != 0) {
    return {Code::invalid, format("shm: the offer of process {} on {} is not possible", connection.peer.pid, host_)};
  }
  if (offer.target != options_.process) {
    return {Code::invalid,
            format("shm: process {} on {} is looking for process {}, but this is process {} with id {}",
                   connection.peer.pid, host_, to_string(offer.target), pid_, to_string(options_.process))};
  }
  if (offer.segment_bytes != options_.segment_bytes) {
    return {Code::invalid, format("shm: process {} has a segment of {}, process {} of {}; give both the same size",
                                  connection.peer.pid, format_bytes(offer.segment_bytes), pid_,
                                  format_bytes(options_.segment_bytes))};
  }
  return Status::ok();
}

void ShmTransport::handle_offer(Connection& connection, Received received) {
  if (const Status checked = check_offer(connection, received); !checked) {
    return refuse(connection, checked);
  }
  auto endpoint = endpoint_from(connection, received);
  if (!endpoint) return refuse(connection, endpoint.status());
  endpoint->staging_bytes = received.message.staging_bytes;
  auto pair = map_received(received.descriptors[0], pair_bytes(endpoint->staging_bytes), Access::read_write,
                           format("the pair memory of process {}", connection.peer.pid));
  if (!pair) return refuse(connection, pair.status());
  endpoint->pair = std::move(*pair);

  const ProcessId& peer = received.message.sender;
  // What a connection that exists has to say comes first: it may have opened, or ended, since we last looked.
  if (const ShmLink* const existing = current_link(peer)) read_socket(existing->connection());
  ShmLink* link = current_link(peer);
  if (link && (link->is_open() || options_.process < peer)) return refuse_duplicate(connection);
  Message answer = new_message(MessageType::accept);
  answer.can_read_memory = endpoint->can_read_peer;
  const std::array<int, 2> descriptors = {segment_.descriptor.get(), doorbell_.get()};
  if (const int error = send_message(connection.socket, answer, descriptors); error != 0) {
    if (means_hung_up(error)) return peer_has_ended(connection);
    return fail(connection,
                Status::from_errno(error, format("shm: answer the offer of process {}", connection.peer.pid)));
  }
  if (!link) {
    link = &new_link(peer);
  } else if (Connection* const ours = find(link->connection())) {
    // Our own attempt gives way, without a word: the link it was for is about to open.
    ours->link = nullptr;
    drop(ours->number);
  }
  connection.link = link;
  open_link(connection, *link, std::move(*endpoint));
}

void ShmTransport::handle_accept(Connection& connection, Received received) {
  if (received.descriptors.size() != 2 || received.message.sender != connection.address.process ||
      received.message.segment_bytes != options_.segment_bytes) {
    return fail(connection,
                {Code::peer_lost, format("shm: the answer of process {} on {} to our offer is not possible",
                                         connection.peer.pid, host_)});
  }
  auto endpoint = endpoint_from(connection, received);
  if (!endpoint) return fail(connection, endpoint.status());
  endpoint->staging_bytes = options_.staging_bytes;
  endpoint->pair = std::move(connection.pair.mapping);
  connection.pair.descriptor.reset();
  Message ready = new_message(MessageType::ready);
  ready.can_read_memory = endpoint->can_read_peer;
  (void)send_message(connection.socket, ready);
  const bool peer_can_read = received.message.can_read_memory != 0;
  ShmLink& link = *connection.link;
  open_link(connection, link, std::move(*endpoint));
  if (peer_can_read) link.allow_cross_memory_sends();
}

// What both kinds of set-up message carry. The segment and the doorbell are the last two descriptors.
Result<ShmLink::Endpoint> ShmTransport::endpoint_from(const Connection& connection, Received& received) {
  const std::size_t count = received.descriptors.size();
  ShmLink::Endpoint endpoint;
  endpoint.connection = connection.number;
  endpoint.pid = connection.peer.pid;
  endpoint.is_connector = connection.is_connector;
  endpoint.can_read_peer = probe(connection, received.message);
  auto segment = map_received(received.descriptors[count - 2], options_.segment_bytes, Access::read_write,
                              format("the segment of process {}", connection.peer.pid));
  if (!segment) return segment.status();
  endpoint.segment = std::move(*segment);
  endpoint.doorbell = std::move(received.descriptors[count - 1]);
  // Whatever file the peer sent, ringing it must not block.
  const int flags = fcntl(endpoint.doorbell.get(), F_GETFL);
  if (flags < 0 || (flags & O_NONBLOCK) == 0) {
    return Status(Code::invalid, format("shm: the doorbell of process {} would block", connection.peer.pid));
  }
  return endpoint;
}

bool ShmTransport::probe(const Connection& connection, const Message& message) const {
  if (options_.copy_mode != ShmCopyMode::cross_memory) return false;
  const Status probed = probe_peer_memory(connection.peer.pid, message.probe_address, message.probe_value);
  if (!probed) {
    options_.log.write(LogLevel::info, "shm", "payloads from process {} on {} go through staging memory: {}",
                       connection.peer.pid, host_, probed.text());
  }
  return probed.is_ok();
}

void ShmTransport::open_link(Connection& connection, ShmLink& link, ShmLink::Endpoint endpoint) {
  connection.phase = Phase::open;
  connection.deadline = kNever;
  --setting_up_;
  link.open(std::move(endpoint));
  open_.push_back(&link);
  events_.push_back({.kind = EventKind::connected, .link = &link});
  options_.log.write(LogLevel::debug, "shm", "{} is open", link.describe());
}

// ---- Ends

void ShmTransport::refuse(Connection& connection, const Status& why) {
  if (connection.phase != Phase::open) {
    Message message = new_message(MessageType::refuse);
    message.probe_address = 0;
    message.probe_value = 0;
    message.set_text(why.text());
    (void)send_message(connection.socket, message);
  }
  fail(connection, why);
}

// Both sides connected at the same time: nothing is wrong, the other connection is the one that counts.
void ShmTransport::refuse_duplicate(Connection& connection) {
  (void)send_message(connection.socket, new_message(MessageType::duplicate));
  drop(connection.number);
}

void ShmTransport::fail(Connection& connection, const Status& why) {
  if (ShmLink* const link = connection.link) return link->end(why);  // which drops the connection
  // A process that ended while it connected is no stranger, and nobody here waits for it.
  const LogLevel level = why.code() == Code::peer_lost ? LogLevel::debug : LogLevel::warn;
  options_.log.write(level, "shm", "a connection was refused: {}", why.text());
  drop(connection.number);
}

void ShmTransport::drop(std::uint64_t number) {
  Connection* const connection = find(number);
  if (!connection) return;
  if (connection->phase != Phase::open) --setting_up_;
  unwatch(connection->process);
  if (connection->socket) {
    unwatch(connection->socket);
    // Ends the connection for the peer even where a forked child holds a copy.
    shutdown(connection->socket.get(), SHUT_RDWR);
  }
  connections_.erase(number);
}

}  // namespace tutti::shm
