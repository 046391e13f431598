// Requests: operations in flight, as Python programs hold them. All waiting releases the GIL, and comes back ten
// times a second to let Python handle signals, so that Ctrl-C ends a wait at once.
//
// Buffers belong to Tutti until their operation is complete, whoever still wants them: an operation that nobody holds
// any more (a wait that was interrupted, a Request that was dropped) is kept here, with its buffers, until it is
// complete. Everything here is used with the GIL held.
#pragma once

#include <nanobind/nanobind.h>
#include <tutti/tutti.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/python/src/buffers.h"

namespace tutti::python {

// Seconds as the C API takes them; none: 0, which stands for a default there. InvalidError: not a number.
std::int64_t nanoseconds(std::optional<double> seconds);

// One operation. The C API writes into `request` when a group ends, so it stays where it is.
struct Flight {
  tutti_request* request = nullptr;
  bool is_noted = false;           // in a group that has not ended
  bool is_waited_for = false;      // by a thread that has released the GIL
  tutti_status status = TUTTI_OK;  // with text and rank, once complete
  std::string text;
  int rank = -1;
  std::vector<Buffer> buffers;

  bool is_complete() const { return request == nullptr && !is_noted && !is_waited_for; }
};

class Request {
 public:
  Request(std::shared_ptr<Flight> flight, nb::object result)
      : flight_(std::move(flight)), result_(std::move(result)) {}
  Request(Request&&) noexcept = default;
  Request& operator=(Request&&) = delete;
  ~Request();

  // What the operation returns; raises its error, or TimeoutError if it is not complete by then: it goes on.
  nb::object wait(std::optional<double> seconds);
  bool is_done();
  const nb::object& result() const { return result_; }

 private:
  std::shared_ptr<Flight> flight_;  // null: moved from
  nb::object result_;
};

// Whether this thread is between the begin and the end of a group.
bool in_group();
// Keeps an operation that was noted; the group's end waits for it if `waits`.
void note_in_group(std::shared_ptr<Flight> flight, bool waits);

// Lets go of operations that nobody holds and that are complete now.
void drop_completed();
// At the end of the interpreter: waits until none is left, for a moment at most.
void wait_for_dropped();

void bind_requests(nb::module_& module);

}  // namespace tutti::python
