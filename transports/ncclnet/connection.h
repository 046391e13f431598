// The two directions of a link as a plug-in has them: a Sender connects, a Receiver listens and accepts. Each has a
// few places for messages in memory of its own, which is registered with the plug-in.
//
// A plug-in is given no memory but this: what a connection still had under way when it was closed may be read or
// written late. So memory goes back to the system only when the plug-in has released it and closed the connection
// without an error; otherwise it is kept for the life of the process.
//
// Requests are tested oldest first, as NCCL does; some plug-ins move nothing for a later one before that.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "transports/fabric/pull_port.h"
#include "transports/ncclnet/plugin.h"

namespace tutti::ncclnet {

// A piece of a body, and what stands before it. Pieces of 32 KiB move two thirds as much over the plug-in of the
// tests, of 128 KiB no more (benchmark_fabrics).
constexpr std::size_t kMessageBytesMax = (64 << 10) + fabric::kPreambleBytes;
// Fewer than kRequestsMax, which is enough to keep a connection busy: with these a link takes 1 MiB.
constexpr std::size_t kPlaces = 8;

// kPlaces messages, registered for one connection.
class Places {
 public:
  explicit Places(Plugin& plugin) : plugin_(plugin) {}
  // The connection is closed before.
  ~Places();
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  Answer open(void* connection);
  // The connection is to be closed now. False: the plug-in refuses, and the memory is never used again.
  void release(void* connection);
  void keep_for_ever() { must_stay_ = true; }

  std::byte* place(std::size_t number) { return memory_.get() + number % kPlaces * kMessageBytesMax; }
  void* registration() const { return registration_; }

 private:
  struct Freer {
    void operator()(std::byte* memory) const;
  };
  Plugin& plugin_;
  std::unique_ptr<std::byte, Freer> memory_;
  void* registration_ = nullptr;
  bool is_registered_ = false;
  bool must_stay_ = false;
};

// What a step has come to. `failed`: words() says why, and nothing moves any more.
enum class Step : std::uint8_t { nothing, moved, failed };

class Sender {
 public:
  Sender(Plugin& plugin, int device) : plugin_(plugin), device_(device), places_(plugin) {}
  ~Sender() { close(); }

  void start(std::span<const std::byte> handle);
  Step connect();  // until is_connected()
  bool is_connected() const { return connection_ != nullptr; }
  // Copies. `nothing`: no room now. `tag` comes back from finish().
  Step send(std::span<const std::byte> first, std::span<const std::byte> body, std::uint64_t tag);
  // Whether finish() has something.
  Step look();
  // The oldest message that the plug-in is done with, if there is one.
  Step finish(std::uint64_t& tag);
  void close();
  const std::string& words() const { return words_; }

 private:
  Step failed(Answer answer, std::string_view call);

  Plugin& plugin_;
  const int device_;
  Handle handle_;
  void* connection_ = nullptr;
  bool is_started_ = false;
  bool is_connecting_ = false;  // the plug-in has begun
  Places places_;
  std::array<void*, kPlaces> requests_{};
  std::array<std::uint64_t, kPlaces> tags_{};
  std::size_t next_ = 0;      // message
  std::size_t done_ = 0;      // all before
  bool is_finished_ = false;  // the oldest of the others is, too
  std::string words_;
};

class Receiver {
 public:
  Receiver(Plugin& plugin, int device) : plugin_(plugin), device_(device), places_(plugin) {}
  ~Receiver() { close(); }

  Status listen();
  const Handle& handle() const { return handle_; }
  Step accept();  // until is_connected()
  bool is_connected() const { return connection_ != nullptr; }
  // Whether receive() has something.
  Step look();
  // The oldest message that has come, where it lies until give_back().
  Step receive(std::span<const std::byte>& message);
  void give_back() { ++given_; }
  void close();
  const std::string& words() const { return words_; }

 private:
  Step failed(Answer answer, std::string_view call);
  Step post();

  Plugin& plugin_;
  const int device_;
  Handle handle_;
  void* listener_ = nullptr;
  void* connection_ = nullptr;
  Places places_;
  std::array<void*, kPlaces> requests_{};
  std::size_t posted_ = 0;  // places that the plug-in was given
  std::size_t come_ = 0;    // of them have come
  std::size_t given_ = 0;   // of them are free again
  bool has_come_ = false;   // the next one has, with this many bytes
  std::size_t bytes_ = 0;
  std::string words_;
};

}  // namespace tutti::ncclnet
