// SelfLink: one lane of a process to itself; the sender's end and the receiver's in one.
#pragma once

#include <vector>

#include "transports/self/self_transport.h"

namespace tutti {

class SelfLink final : public Link {
 public:
  SelfLink(SelfTransport& owner, std::uint32_t lane) : owner_(owner), lane_(lane) {}

  ProcessId peer() const override { return owner_.self_; }
  std::uint32_t lane() const override { return lane_; }
  bool is_open() const override { return connected_ && !closed_; }
  const Status& status() const override { return status_; }
  std::string describe() const override;
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  bool is_drained() const override { return closed_ || pending_ == 0; }
  void close(const Status& why) override;

 private:
  friend class SelfTransport;

  // A frame from send() to release().
  struct Frame {
    std::vector<std::byte> copy;
    const std::byte* data = nullptr;
    std::size_t bytes = 0;
    std::uint64_t cookie = 0;
    bool is_pending = false;  // the payload is the sender's, who waits for `sent`
    bool in_use = false;
  };
  // Called as an event is reported.
  void note_reported(const Event& event);
  void give_back(std::uint64_t token);

  SelfTransport& owner_;
  const std::uint32_t lane_;
  bool connected_ = false;  // reported
  bool closed_ = false;
  Status status_;
  std::size_t queued_ = 0;  // counts against queue_frames
  std::size_t pending_ = 0;
  std::vector<Frame> frames_;  // by token
  std::vector<std::uint64_t> free_;
};

}  // namespace tutti
