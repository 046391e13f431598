// The two directions of a link as a plug-in has them: a Sender connects, a Receiver listens and accepts. Small
// messages lie in places, memory of the connection's own that is registered once; large bodies are lent to the
// plug-in where they are, and registered for one request.
//
// Who has the memory: a plug-in has let go of what a request had when that has ended and its registration is
// released, or when all registrations are released and the connection is closed, each without an error: this is what
// NCCL relies on when it aborts. Places that a plug-in does not let go of are kept for the life of the process. Of
// lent memory, which has to be given back, refusal() says so.
//
// Requests are tested oldest first, as NCCL does; some plug-ins move nothing for a later one before that. A message
// goes into what the other side has asked to receive at the same position: so both have to agree on the order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "transports/fabric/pull_port.h"
#include "transports/ncclnet/plugin.h"

namespace tutti::ncclnet {

constexpr std::size_t kSmallBytesMax = 16 << 10;
constexpr std::size_t kPlaceBytes = kSmallBytesMax + fabric::kPreambleBytes + fabric::kHeadBytes;
// Fewer than kRequestsMax, which is enough to keep a connection busy.
constexpr std::size_t kPlacesMax = 16;
constexpr std::size_t kLentMax = 8;

// What a step has come to. `failed`: words() says why, and nothing moves any more.
enum class Step : std::uint8_t { nothing, moved, failed };

// Places for messages, registered for one connection.
class Places {
 public:
  Places(Plugin& plugin, std::size_t count) : plugin_(plugin), count_(count) {}
  // The connection is closed before.
  ~Places();
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  Answer open(void* connection);
  // The connection is to be closed now. Where the plug-in refuses the memory is never used again.
  void release(void* connection);
  void keep_for_ever() { must_stay_ = true; }

  std::size_t count() const { return count_; }
  std::byte* place(std::size_t number) { return memory_.get() + number % count_ * kPlaceBytes; }
  void* registration() const { return registration_; }

 private:
  struct Freer {
    void operator()(std::byte* memory) const;
  };
  Plugin& plugin_;
  const std::size_t count_;
  std::unique_ptr<std::byte, Freer> memory_;
  void* registration_ = nullptr;
  bool is_registered_ = false;
  bool must_stay_ = false;
};

// What both directions have in common: requests under way, in their order.
class Connection {
 public:
  using Start = Answer (Plugin::*)(void* connection, std::byte* data, std::size_t bytes, void* registration,
                                   void** request);
  using Close = Answer (Plugin::*)(void* connection);
  struct Calls {
    Start start;
    Close close;
    const char* start_name;
    const char* close_name;
  };

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool is_connected() const { return connection_ != nullptr; }
  // The plug-in has the memory until the request comes back, with `tag`, or until close(). `nothing`: no room now;
  // the same memory is to be lent next.
  Step lend(std::byte* data, std::size_t bytes, std::uint64_t tag);
  // Whether the oldest request has ended.
  Step look();
  const std::string& words() const { return words_; }
  std::size_t under_way() const { return requests_.size(); }
  // Why the plug-in may still use memory that was lent to it and should be free; empty: it does not.
  const std::string& refusal() const { return refusal_; }

 protected:
  struct Request {
    void* request = nullptr;
    void* registration = nullptr;  // of what is lent
    bool is_lent = false;
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    std::uint64_t tag = 0;
  };

  Connection(Plugin& plugin, int device, const Calls& calls, std::size_t places)
      : plugin_(plugin), device_(device), places_(plugin, places), calls_(calls) {}
  ~Connection() = default;

  Step open(void* connection);
  Step start(Request request);
  // The oldest request, which has ended with come() bytes.
  Step take(Request& request);
  std::size_t come() const { return come_; }
  void close_connection();
  Step failed(Answer answer, std::string_view call);
  Step failed(std::string words);

  Plugin& plugin_;
  const int device_;
  Places places_;
  Handle handle_;
  void* connection_ = nullptr;

 private:
  Answer release(const Request& request);

  const Calls& calls_;
  std::deque<Request> requests_;
  std::size_t lent_ = 0;      // of them
  Request held_;              // registered, but without room so far
  bool is_finished_ = false;  // the oldest is
  std::size_t come_ = 0;
  std::string words_;
  std::string refusal_;
};

struct Sent {
  bool is_body = false;  // lent
  std::uint64_t tag = 0;
};

class Sender : public Connection {
 public:
  Sender(Plugin& plugin, int device, std::size_t places);
  ~Sender() { close(); }

  void start(std::span<const std::byte> handle);
  Step connect();  // until is_connected()
  // Copies into a place. `nothing`: no room now.
  Step send(std::span<const std::byte> first, std::span<const std::byte> body);
  // What the plug-in is done with, the oldest first.
  Step finish(Sent& sent);
  void close();

 private:
  bool is_started_ = false;
  bool is_connecting_ = false;  // the plug-in has begun
  std::size_t next_place_ = 0;
};

// What has come: a message in a place, until give_back(), or a body at its target.
struct Arrival {
  std::span<const std::byte> message;
  bool is_body = false;
  std::uint64_t tag = 0;
};

class Receiver : public Connection {
 public:
  Receiver(Plugin& plugin, int device, std::size_t places);
  ~Receiver() { close(); }

  Status listen();
  const Handle& handle() const { return handle_; }
  Step accept();  // until is_connected()
  // The oldest message that has come.
  Step receive(Arrival& arrival);
  // The place may be used for the next message.
  void give_back() { ++given_; }
  void close();

 private:
  Step post();

  void* listener_ = nullptr;
  std::size_t posted_ = 0;  // places that the plug-in was given
  std::size_t given_ = 0;   // of them are free again
};

}  // namespace tutti::ncclnet
