// Frame: the engine's use of a transport's header. Everything another process says comes in here, so whoever reads
// one checks every field against what it knows before using it.
#pragma once

#include <cstdint>

#include "src/engine/signature.h"
#include "src/transport/transport.h"

namespace tutti {

enum class FrameKind : std::uint8_t {
  none = 0,      // never sent
  data = 1,      // segment `segment` of message `message` of an operation
  credit = 2,    // segments of message `message` (of the receiver of this frame) below `segment` may come
  window = 3,    // `number` << 32 | `message`: what has been consumed of the window on this link, in all
  failure = 4,   // the communicator went wrong at the source; payload: code, culprit, text
  probe = 5,     // the source waits for the target in this operation; the target compares signatures
  position = 6,  // the answer to a probe, and news for who has probed: `segment` is a rank that is late in the
                 // operation, `lane` how (Lateness; none: nobody is known to be), `message` the number of its next
                 // operation; the signature's root has seen it, its count's halves are for how long it has been so
                 // and how old the evidence is, in ms. From that rank itself: it has not called the operation
  goodbye = 7,   // the source has destroyed the communicator; comes on `message` lanes, last of all. Elastic: it had
                 // completed operation `number`; `segment`: kForGood, kLeaves
  ask = 8,       // the source's window is full: the target is to grant a credit for `message` when it can
  reached = 9,   // elastic: a word of src/engine/reached.h; `message` is its level, `number` its number
  council = 10,  // elastic: a message of the agreement `message` of this communicator's members; payload: its bytes;
                 // without any it only says that the source takes part
  shut_out = 11  // elastic: the source closes this link, and may go on without the target; of no communicator
};

// Bits of a goodbye's segment.
constexpr std::uint32_t kForGood = 1;  // the source had no part in any verdict
constexpr std::uint32_t kLeaves = 2;   // it leaves properly: nobody has lost it

struct Frame {
  std::uint64_t communicator = 0;
  std::uint32_t number = 0;  // of the operation; point to point counts per pair and direction
  FrameKind kind = FrameKind::data;
  std::uint8_t lane = 0;
  bool uncredited = false;      // data: counts against the link's window
  bool point_to_point = false;  // `number` is a point-to-point number
  bool to_sender = false;       // credit, probe, position of a point-to-point message: the target is its sender
  Rank source = 0;
  Rank target = 0;
  std::uint32_t message = 0;
  std::uint32_t segment = 0;
  Signature signature;

  Header pack() const {
    Header header;
    header.words[0] = communicator;
    header.words[1] = number | static_cast<std::uint64_t>(kind) << 32 | static_cast<std::uint64_t>(lane) << 40 |
                      static_cast<std::uint64_t>(uncredited) << 48 |
                      static_cast<std::uint64_t>(point_to_point) << 49 | static_cast<std::uint64_t>(to_sender) << 50;
    header.words[2] =
        static_cast<std::uint32_t>(source) | static_cast<std::uint64_t>(static_cast<std::uint32_t>(target)) << 32;
    header.words[3] = message | static_cast<std::uint64_t>(segment) << 32;
    header.words[4] = signature.word();
    header.words[5] = signature.count;
    return header;
  }

  static Frame unpack(const Header& header) {
    Frame frame;
    frame.communicator = header.words[0];
    frame.number = static_cast<std::uint32_t>(header.words[1]);
    frame.kind = static_cast<FrameKind>(header.words[1] >> 32 & 0xff);
    frame.lane = static_cast<std::uint8_t>(header.words[1] >> 40);
    frame.uncredited = (header.words[1] >> 48 & 1) != 0;
    frame.point_to_point = (header.words[1] >> 49 & 1) != 0;
    frame.to_sender = (header.words[1] >> 50 & 1) != 0;
    frame.source = static_cast<Rank>(header.words[2] & 0xffffffff);
    frame.target = static_cast<Rank>(header.words[2] >> 32);
    frame.message = static_cast<std::uint32_t>(header.words[3]);
    frame.segment = static_cast<std::uint32_t>(header.words[3] >> 32);
    frame.signature = Signature::from_words(header.words[4], header.words[5]);
    return frame;
  }
};

}  // namespace tutti
