// ChunkPort: a PullPort over a library that is given no memory of the receiver's: bodies go in pieces, as messages,
// and are copied to where they belong when they come. So nothing the library does late can write where nobody expects
// it any more; the sender's memory is read in place where the library can be made to let go of it.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>

#include "transports/fabric/pull_port.h"

namespace tutti::fabric {

class ChunkPort : public PullPort {
 public:
  bool has_room() const { return under_way_ < kUnderWayMax; }

 protected:
  ChunkPort(PortUser& user, std::uint64_t key, std::size_t chunk_bytes)
      : PullPort(user, key), chunk_bytes_(chunk_bytes) {}
  ~ChunkPort() override = default;

  // Says a piece without copying `body`; chunk_said() follows, perhaps before this returns. False: no room now.
  virtual bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                            std::uint64_t number) = 0;
  void chunk_said(std::uint64_t number);
  void abandon_chunks();  // for close()

 private:
  static constexpr std::size_t kUnderWayMax = 32;

  struct Sending {
    const std::byte* body = nullptr;
    std::size_t bytes = 0;
    std::size_t next = 0;  // of the first byte that was not said
    std::size_t under_way = 0;
    std::uint64_t cookie = 0;
  };
  struct Taking {
    std::byte* target = nullptr;
    std::size_t bytes = 0;
    std::size_t come = 0;
    std::uint64_t token = 0;
  };

  bool send_body(std::uint64_t number, const std::byte* body, std::size_t bytes, std::uint64_t cookie) final;
  bool take_body(std::uint64_t number, std::byte* target, std::size_t bytes, std::uint64_t token) final;
  bool flush_bodies() final;
  void on_chunk(std::uint64_t number, std::uint64_t offset, std::span<const std::byte> bytes) final;

  const std::size_t chunk_bytes_;
  std::unordered_map<std::uint64_t, Sending> sending_;
  std::deque<std::uint64_t> order_;  // of those that are not all said
  std::unordered_map<std::uint64_t, Taking> taking_;
  std::size_t under_way_ = 0;
};

}  // namespace tutti::fabric
