// Communicator: one rank's end, as Python programs hold it.
//
// Calls on one communicator may come from several Python threads, and each releases the GIL while it works. `users_`
// counts them, under the GIL, so that close() can end them (by an abort, which is allowed beside them) before it
// frees what they use.
#pragma once

#include <nanobind/nanobind.h>
#include <tutti/tutti.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/python/src/errors.h"
#include "bindings/python/src/requests.h"

namespace tutti::python {

class Communicator {
 public:
  explicit Communicator(tutti_comm* comm);
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  ~Communicator() { close(); }

  int rank();
  int size();
  bool is_closed() const { return comm_ == nullptr; }

  void finalize(std::optional<double> timeout);
  void abort(const std::optional<std::string>& reason);
  void close();
  void leave(std::optional<double> timeout);

  // Calls a function of the C API with the GIL released; raises what it returns.
  template <typename Function>
  void call(const Function& function) {
    tutti_comm* const comm = use();
    tutti_status status;
    {
      const nb::gil_scoped_release released;
      status = function(comm);
    }
    --users_;
    check(status);
  }

  // Starts an operation, or notes it: begin(comm, request) returns a status. `result` is what its wait returns.
  template <typename Begin>
  Request start(const Begin& begin, std::vector<Buffer> buffers, nb::object result, bool waits) {
    drop_completed();
    auto flight = std::make_shared<Flight>();
    call([&](tutti_comm* comm) { return begin(comm, &flight->request); });
    flight->buffers = std::move(buffers);
    if (in_group()) note_in_group(flight, waits);
    return {std::move(flight), std::move(result)};
  }

 private:
  tutti_comm* use();

  tutti_comm* comm_;  // null: closed
  int users_ = 0;
};

// Closes what is still open: at the end of the interpreter, whose memory the operations use.
void close_all();

void bind_communicator(nb::module_& module);
void bind_operations(nb::class_<Communicator>& communicator);

}  // namespace tutti::python
