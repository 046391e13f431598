// Fail-over: wraps a transport with several lanes so that a lane outlives its connection.
//
// The links of the wrapped transport are called paths here, what the caller sees are lanes. As long as one path to a
// process lives, all lanes to it do: what a path had taken and the peer has not confirmed goes again over the others,
// and so does all that its lane sends from then on, frame by frame in turn, until the path is connected again. The
// caller sees nothing of it but the time it takes. When the last path ends, all lanes to that process end at once,
// after everything that had come was delivered; to close one lane closes all. Otherwise the
// contract of transport.h holds.
//
// With `relays`, the last path may also be one through a third process (relays.h). It is looked for when the last
// direct one was cut off, or a connect has no answer. Lanes stay open in the meantime, and take nothing.
//
// How
//  - Each lane numbers its frames in each direction. The receiver hands them on in this order, each once. A frame on
//    the path of its own lane that follows its forerunner needs no more said; before any other one goes a label
//    (which lane, which number). So while nothing fails the frames are the caller's.
//  - A frame is kept until the peer confirms it: small ones as copies, of the others the payload stays with the
//    caller (the `sent` event comes then). Confirmations ride in the free byte of headers that go the other way, and
//    go alone when nothing else does.
//  - When a path ends, each side tells the other over a path that lives that it takes nothing more from it, and how
//    much of every lane it has. Then the other knows what to send again. Whoever hears of an end that it has not
//    noticed (a cut cable) ends its own side.
//  - A lane whose path is measured to be slower than others sends large frames by whichever is expected to have them
//    with the peer first (bundle_striping.cc): as many bytes as each path carries, whatever lanes they are of.
//  - Frames that come too early wait in memory, at most kSpreadBytes of a lane; the sender sees to that. Whoever says
//    what no correct peer says is cut off, with a sentence.
//  - With `reserve` the wrapped transport has one lane more, kReserveLane (reserve.h), over another network: a path
//  on
//    which nothing goes as long as there is another, and that the caller does not see. A lane whose own path cannot
//    be connected then begins on it.
//  - Pairs of which one side has one lane only do nothing of all that, unless both want relays.
#pragma once

#include <cstddef>
#include <memory>

#include "src/base/ids.h"
#include "src/base/log.h"
#include "src/transport/transport.h"

namespace tutti {

struct FailoverOptions {
  ProcessId process;  // this one
  // Between the end of a path and the next try to connect it; doubled from try to try, and from end to end of a path
  // that does not last.
  Nanoseconds pause_min = std::chrono::milliseconds(100);
  Nanoseconds pause_max = std::chrono::seconds(5);
  // Whether what has no path left goes through a third process, and this one does that for others.
  bool relays = false;
  // Both sides must have it, or none.
  bool reserve = false;
  // Large frames go over the reserve, too, where they are there sooner.
  bool reserve_carries = false;
  // How long a third is looked for after the end of the last path; how long a connect goes without an answer before.
  Nanoseconds relay_limit = std::chrono::seconds(1);
  Nanoseconds relay_after = std::chrono::seconds(5);
  Log log;
};

std::unique_ptr<Transport> make_failover_transport(std::unique_ptr<Transport> wrapped, FailoverOptions options);

}  // namespace tutti
