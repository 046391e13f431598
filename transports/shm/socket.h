// The unix socket of a pair: whole messages (SOCK_SEQPACKET) with descriptors attached, never blocking.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/ids.h"
#include "src/base/status.h"
#include "transports/shm/memory.h"

namespace tutti::shm {

enum class MessageType : std::uint32_t {
  handshake = 1,  // text: bytes of src/base/handshake.h, before anything else
  offer = 2,      // connector: pair memory, segment, doorbell (three descriptors)
  accept = 3,     // acceptor: segment, doorbell (two descriptors)
  refuse = 4,     // acceptor: no, and why
  duplicate = 5,  // acceptor: no, because a connection the other way round is the one that counts
  ready = 6,      // connector: whether it can read the acceptor's memory
  region = 7,     // either: a region's descriptor, before the first frame out of it
  region_gone = 8,
  farewell = 9,  // either: the link is being closed, and why
};

constexpr std::uint32_t kMessageVersion = 1;

// One fixed layout for all; each type uses the fields it needs, the others are zero.
struct Message {
  MessageType type{};
  std::uint32_t version = kMessageVersion;
  std::uint32_t lane = 0;
  std::uint32_t can_read_memory = 0;  // accept, ready: cross-memory reads of the receiver of this message work
  ProcessId sender;
  ProcessId target;
  std::uint64_t staging_bytes = 0;
  std::uint64_t segment_bytes = 0;
  std::uint64_t probe_address = 0;
  std::uint64_t probe_value = 0;
  std::uint64_t region = 0;
  std::uint64_t region_bytes = 0;
  std::uint32_t text_bytes = 0;
  std::array<char, 436> text{};

  void set_text(std::string_view value);  // cut to what fits
  std::string_view get_text() const;
};
static_assert(sizeof(Message) == 536);

constexpr std::size_t kDescriptorsMax = 4;

struct Received {
  enum class State { message, nothing, ended, malformed, descriptors_lost };
  State state = State::nothing;
  Message message;
  std::vector<Descriptor> descriptors;
};

// An unbound name is picked by the kernel; `name` receives it.
Result<Descriptor> listen_socket(std::string& name);
Result<Descriptor> new_socket();
// 0, or the errno of connect(2): EAGAIN when the other's backlog is full.
int connect_socket(const Descriptor& socket, std::string_view name);
// 0, or an errno: EAGAIN when the socket is full and nothing was sent.
int send_message(const Descriptor& socket, const Message& message, std::span<const int> descriptors = {});
// `ended` once all that the other side sent before it closed has been received.
Received receive_message(const Descriptor& socket);
// Whether the other side has closed; a message that it sent just before may be unread. Reads nothing.
bool has_ended(const Descriptor& socket);

struct Credentials {
  pid_t pid = 0;
  uid_t user = 0;
};
Result<Credentials> credentials_of_peer(const Descriptor& socket);

}  // namespace tutti::shm
