// FaultLink: a wrapped link, the events that are held back on it, and the deliveries that were reported from it.
#pragma once

#include <deque>
#include <vector>

#include "transports/fault/fault_transport.h"

namespace tutti {

class FaultLink final : public Link {
 public:
  FaultLink(FaultTransport& owner, Link& wrapped, std::uint64_t number)
      : owner_(owner), wrapped_(wrapped), number_(number) {}

  ProcessId peer() const override { return wrapped_.peer(); }
  std::uint32_t lane() const override { return wrapped_.lane(); }
  bool is_open() const override { return connected_ && !closed_ && wrapped_.is_open(); }
  const Status& status() const override { return wrapped_.status(); }
  std::string describe() const override { return wrapped_.describe(); }
  bool is_cut_off() const override { return wrapped_.is_cut_off(); }
  std::string_view news() const override { return wrapped_.news(); }
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  void notify() override { wrapped_.notify(); }
  bool is_drained() const override { return wrapped_.is_drained(); }
  std::optional<std::uint64_t> under_way() const override { return wrapped_.under_way(); }
  bool is_within_host() const override { return wrapped_.is_within_host(); }
  std::uint32_t narrow_way() const override { return wrapped_.narrow_way(); }
  std::byte* segment() override { return wrapped_.segment(); }
  void close(const Status& why) override { wrapped_.close(why); }

 private:
  friend class FaultTransport;

  struct Delivery {
    std::uint64_t wrapped_token = 0;
    std::vector<std::byte> copy;  // our own, where the wrapped one could not wait or is not to be damaged
    std::byte* target = nullptr;  // of a fetch
    std::size_t bytes = 0;
    bool wrapped_released = false;
    bool flip = false;
    bool in_use = false;
  };
  struct Held {
    Event event;
    Instant due;
  };

  // Makes a wrapped event ours: link, token, and the copy it may need.
  void adopt(Event& event, bool is_held_back);
  // What changes here when an event is reported.
  void note_reported(const Event& event);
  void cut(const std::string& how);
  void damage(std::byte* data, std::size_t bytes);

  FaultTransport& owner_;
  Link& wrapped_;
  const std::uint64_t number_;
  Instant deadline_ = kNever;  // of the connect, if it was ours
  Instant stalled_until_{};
  bool connected_ = false;
  bool closed_ = false;
  bool flip_next_ = false;
  std::uint64_t frames_sent_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t cut_at_frame_ = 0;  // 0: never
  std::deque<Held> held_;
  std::vector<Delivery> deliveries_;  // by token
  std::vector<std::uint64_t> free_;
};

}  // namespace tutti
