#include "bindings/python/src/requests.h"

#include <nanobind/stl/optional.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "bindings/python/src/errors.h"

namespace tutti::python {

namespace {

constexpr std::int64_t kSlice_ns = 100'000'000;
constexpr int kLastSlices = 20;

// Never destroyed: Python may be gone by then.
std::vector<std::shared_ptr<Flight>>& dropped() {
  static auto* const flights = new std::vector<std::shared_ptr<Flight>>;
  return *flights;
}

struct Noted {
  std::shared_ptr<Flight> flight;
  bool waits;
};
// A pointer, so that nothing of Python's is touched when a thread ends.
thread_local std::vector<Noted>* group = nullptr;
thread_local int group_depth = 0;

void settle(Flight& flight, tutti_status status) {
  flight.status = status;
  if (status != TUTTI_OK) {
    flight.text = tutti_last_error();
    flight.rank = tutti_last_error_rank();
  }
  flight.buffers.clear();
}

void test(Flight& flight) {
  if (flight.request == nullptr || flight.is_waited_for) return;
  int done = 0;
  const tutti_status status = tutti_request_test(&flight.request, &done);
  if (flight.request == nullptr) settle(flight, status);
}

void wait_for(Flight& flight, std::int64_t left_ns) {
  if (flight.is_noted) raise_invalid("the operation is in a group that has not ended; wait for it afterwards");
  if (flight.is_waited_for) raise_invalid("another thread waits for this request; one may at a time");
  while (flight.request != nullptr) {
    const std::int64_t slice = left_ns < 0 ? kSlice_ns : std::min(left_ns, kSlice_ns);
    tutti_status status;
    flight.is_waited_for = true;
    {
      const nb::gil_scoped_release released;
      status = tutti_request_wait(&flight.request, slice);
    }
    flight.is_waited_for = false;
    if (flight.request == nullptr) return settle(flight, status);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (left_ns >= 0 && (left_ns -= slice) <= 0) raise_last(status);
  }
}

void begin_group() {
  check(tutti_group_begin());
  if (group_depth++ == 0) group = new std::vector<Noted>;
}

void end_group(bool waits) {
  if (group_depth == 0) raise_invalid("a group that did not begin on this thread");
  const bool is_outermost = --group_depth == 0;
  const std::unique_ptr<std::vector<Noted>> noted(is_outermost ? std::exchange(group, nullptr) : nullptr);
  tutti_status status;
  {
    const nb::gil_scoped_release released;
    status = tutti_group_end();
  }
  if (!is_outermost) return check(status);
  for (const Noted& one : *noted) {
    one.flight->is_noted = false;
    if (one.flight->request == nullptr) settle(*one.flight, status);
  }
  check(status);
  for (const Noted& one : *noted) {
    if (!one.waits) continue;
    Request request(one.flight, nb::none());
    if (waits) request.wait(std::nullopt);
  }
}

class Group {};

}  // namespace

std::int64_t nanoseconds(std::optional<double> seconds) {
  if (!seconds) return 0;
  if (std::isnan(*seconds)) raise_invalid("a timeout is not a number; expected seconds, or None for the default");
  if (*seconds < 0) return -1;
  constexpr double kMost_ns = 9.2e18;
  // 0 is the default of the C API, which who allows no time at all does not mean.
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::min(*seconds * 1e9, kMost_ns)));
}

Request::~Request() {
  if (flight_ == nullptr) return;
  test(*flight_);
  if (!flight_->is_complete()) dropped().push_back(std::move(flight_));
}

nb::object Request::wait(std::optional<double> seconds) {
  wait_for(*flight_, seconds ? nanoseconds(seconds) : -1);
  if (flight_->status != TUTTI_OK) raise(flight_->status, flight_->text, flight_->rank);
  return result_;
}

bool Request::is_done() {
  test(*flight_);
  return flight_->is_complete();
}

bool in_group() { return group_depth > 0; }

void note_in_group(std::shared_ptr<Flight> flight, bool waits) {
  flight->is_noted = true;
  group->push_back({std::move(flight), waits});
}

void drop_completed() {
  if (dropped().empty()) return;
  // Letting go of a buffer may run Python code that drops another request.
  std::vector<std::shared_ptr<Flight>> flights = std::exchange(dropped(), {});
  for (auto& flight : flights) {
    test(*flight);
    if (!flight->is_complete()) dropped().push_back(std::move(flight));
  }
}

void wait_for_dropped() {
  for (int slice = 0; slice < kLastSlices; ++slice) {
    drop_completed();
    if (dropped().empty()) return;
    const std::shared_ptr<Flight> first = dropped().front();
    if (first->request == nullptr) return;
    const nb::gil_scoped_release released;
    tutti_request_wait(&first->request, kSlice_ns);
  }
}

void bind_requests(nb::module_& module) {
  nb::class_<Request>(
      module, "Request",
      "An operation in flight: wait for it, test it, or await it. Its buffers belong to Tutti until it "
      "is complete and are kept alive so long; dropping a Request does not end its operation.")
      .def("wait", &Request::wait, nb::arg("timeout") = nb::none(),
           nb::sig("def wait(self, timeout: float | None = None) -> typing.Any"),
           "Waits until the operation is complete, returns its output (None for a barrier, and where there is none), "
           "or "
           "raises its error. timeout: seconds; TimeoutError says that it is not complete by then, and goes on.")
      .def("done", &Request::is_done, "Whether it is complete. Never waits; the result or the error comes by wait().")
      .def(
          "__await__", [](nb::handle self) { return nb::module_::import_("tutti.waiting").attr("until_done")(self); },
          nb::sig("def __await__(self) -> collections.abc.Generator[typing.Any, None, typing.Any]"));
  nb::class_<Group>(
      module, "group",
      "with tutti.group(): this thread's operations in the block are noted, and start together at its end, "
      "so that sends and receives cannot block each other and small operations travel together. Those "
      "without a Request are waited for there. Groups nest; the outermost counts.")
      .def(nb::init<>())
      .def(
          "__enter__", [](nb::handle) { begin_group(); }, nb::sig("def __enter__(self) -> None"))
      .def(
          "__exit__", [](nb::handle, nb::handle type, nb::handle, nb::handle) { end_group(type.is_none()); },
          nb::arg().none(), nb::arg().none(), nb::arg().none(),
          nb::sig("def __exit__(self, type: type[BaseException] | None, value: BaseException | None, traceback: "
                  "types.TracebackType | None, /) -> None"));
}

}  // namespace tutti::python
