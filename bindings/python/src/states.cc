#include "bindings/python/src/states.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "bindings/python/src/communicator.h"

namespace tutti::python {

State::State(const std::optional<std::string>& name) {
  check(tutti_state_create(&state_, name ? name->c_str() : nullptr));
}

State::~State() { tutti_state_destroy(state_); }

tutti_state* State::use() const {
  if (is_used_) raise_invalid("this state is being synchronized by another thread; wait for that");
  return state_;
}

void State::add(const std::string& name, nb::handle tensor, const std::optional<std::string>& datatype) {
  Buffer buffer = buffer_of(tensor, name.c_str(), true, datatype ? datatype->c_str() : nullptr);
  check(tutti_state_add(use(), name.c_str(), buffer.data, buffer.count, buffer.type));
  tensors_[name] = std::move(buffer);
}

void State::remove(const std::string& name) {
  check(tutti_state_remove(use(), name.c_str()));
  tensors_.erase(name);
}

std::uint64_t State::revision() {
  std::uint64_t revision = 0;
  check(tutti_state_revision(use(), &revision));
  return revision;
}

void State::set_revision(std::uint64_t revision) { check(tutti_state_set_revision(use(), revision)); }

void bind_states(nb::module_& module) {
  nb::class_<State>(
      module, "State",
      "What every rank should have with the same bits: a model, an optimizer. Its tensors are arrays of "
      "yours, used where they lie; raise `revision` whenever their content has changed as planned. "
      "synchronize() brings everybody to the newest revision, and sends only what is missing.")
      .def(nb::init<const std::optional<std::string>&>(), nb::arg("name") = nb::none(),
           nb::sig("def __init__(self, name: str | None = None) -> None"))
      .def("add", &State::add, nb::arg("name"), nb::arg("tensor"), nb::arg("datatype") = nb::none(),
           nb::sig("def add(self, name: str, tensor: Buffer, datatype: str | None = None) -> None"),
           "Adds an array under a name that is the same on every rank.")
      .def("remove", &State::remove, nb::arg("name"))
      .def_prop_rw("revision", &State::revision, &State::set_revision,
                   nb::for_setter(nb::sig("def revision(self, revision: int, /) -> None")),
                   "The number of what the tensors hold; 0: nothing that counts.")
      .def(
          "synchronize",
          [](State& self, Communicator& communicator, std::optional<double> timeout, bool strict) {
            tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
            options.timeout_ns = nanoseconds(timeout);
            options.strict = strict ? 1 : 0;
            tutti_state_report report = TUTTI_STATE_REPORT_INIT;
            self.call([&](tutti_state* state) {
              communicator.call(
                  [&](tutti_comm* comm) { return tutti_state_synchronize(state, comm, &options, &report); });
            });
            nb::dict told;
            told["revision"] = report.revision;
            told["bytes_received"] = report.bytes_received;
            told["bytes_sent"] = report.bytes_sent;
            told["senders"] = report.senders;
            told["receivers"] = report.receivers;
            return told;
          },
          nb::arg("communicator"), nb::arg("timeout") = nb::none(), nb::arg("strict") = false,
          nb::sig("def synchronize(self, communicator: Communicator, timeout: float | None = None, strict: bool = "
                  "False) -> dict[str, int]"),
          "Collective: afterwards all ranks have the newest content, and its revision. strict: unlike contents of "
          "the "
          "newest revision are an error, and nothing is changed. Returns what was moved.");
}

}  // namespace tutti::python
