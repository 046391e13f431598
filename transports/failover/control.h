// What the two sides of a bundle of paths tell each other: frames without a payload, marked in the byte of the header
// that callers leave free (transport.h). In the caller's frames that byte confirms: so many more frames of this
// path's lane have come.
#pragma once

#include <array>
#include <cstdint>

#include "src/base/ids.h"
#include "src/transport/transport.h"

namespace tutti::failover {

constexpr std::uint32_t kLanesLimit = 64;
constexpr std::uint64_t kControlMark = 0xff;
constexpr std::uint64_t kConfirmedMax = 0x7f;  // by one frame
constexpr std::uint32_t kCountsMax = 5;
constexpr std::size_t kAddressPartBytes = kCountsMax * sizeof(std::uint64_t);
constexpr std::uint64_t kWantsRelays = 1;  // a bit of a hello

// Relayed paths have lanes of their own: whichever of the two has opened it, so that both may at once.
constexpr std::uint32_t kRelayLanes = kLanesLimit;
inline std::uint32_t relay_lane(const ProcessId& opener, const ProcessId& other) {
  return kRelayLanes + (opener < other ? 0 : 1);
}

enum class ControlKind : std::uint8_t {
  hello = 1,   // the sender's bundle, the receiver's as far as known (else 0), the path's number, lanes_max, and
               // whether relays are wanted (kWantsRelays)
  label = 2,   // the next frame is number values[0] of `lane`
  counts = 3,  // of the lanes `lane`, lane + 1, ... (`count` of them) so many frames have come
  ended = 4,   // nothing more is taken from the path of `lane` that the sender calls number values[0]

  // Of streams, which are links that a third process relays (relays.h); `lane` is the stream's number on this path.
  relay_open = 5,    // to the third: a stream to the process values[0], values[1]
  relay_offer = 6,   // from it: a stream from that process
  relay_accept = 7,  // the answer to either
  relay_end = 8,     // the other answer, and any stream's end; values[0]: a RelayEnd
  relay_credit = 9,  // so many of the bytes that came by it are let go of
  relay_label = 10,  // from here on frames are the stream's, or, of 0, the path's own
  // `count` more bytes, in `values`, of an address; it ends where there are fewer than kAddressPartBytes. `lane` 0: by
  // which the sender can be connected to. Otherwise by which the third can connect to the process of the relay_open
  // that follows.
  relay_address = 11,
};

inline bool is_relay_word(ControlKind kind) {
  return kind >= ControlKind::relay_open && kind <= ControlKind::relay_address;
}

struct Control {
  ControlKind kind = ControlKind::hello;
  std::uint32_t lane = 0;
  std::uint32_t count = 0;
  std::array<std::uint64_t, kCountsMax> values{};

  Header pack() const {
    Header header;
    header.words[0] = values[0];
    header.words[1] =
        kControlMark << 56 | static_cast<std::uint64_t>(kind) << 48 | std::uint64_t{count & 0xff} << 32 | lane;
    for (std::size_t i = 1; i < kCountsMax; ++i) header.words[i + 1] = values[i];
    return header;
  }
  static Control unpack(const Header& header) {
    Control control;
    control.kind = static_cast<ControlKind>(header.words[1] >> 48 & 0xff);
    control.count = static_cast<std::uint32_t>(header.words[1] >> 32 & 0xff);
    control.lane = static_cast<std::uint32_t>(header.words[1]);
    control.values[0] = header.words[0];
    for (std::size_t i = 1; i < kCountsMax; ++i) control.values[i] = header.words[i + 1];
    return control;
  }
};

inline std::uint64_t mark_of(const Header& header) { return header.words[1] >> 56; }
inline void set_mark(Header& header, std::uint64_t mark) {
  header.words[1] = (header.words[1] & ~(std::uint64_t{0xff} << 56)) | mark << 56;
}

}  // namespace tutti::failover
