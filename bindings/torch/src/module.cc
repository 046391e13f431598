// tutti's backend for Python: what tutti/torch/__init__.py uses. The library torch must have been imported before.
#include <torch/csrc/utils/pybind.h>  // before any class: it says how torch's pointers are held

#include <pybind11/chrono.h>
#include <pybind11/stl.h>

#include "bindings/torch/src/backend.h"

namespace py = pybind11;

namespace {

using tutti::pytorch::Backend;

// At the end of the interpreter: how long what is under way is waited for.
constexpr std::chrono::seconds kFarewell{2};

c10::intrusive_ptr<Backend> create(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                   const c10::intrusive_ptr<Backend::Options>& options) {
  return c10::make_intrusive<Backend>(store, rank, size, options);
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  py::module_::import("torch.distributed");  // has the classes that these derive from
  py::class_<Backend::Options, c10d::Backend::Options, c10::intrusive_ptr<Backend::Options>>(module, "Options")
#ifdef C10D_BACKEND_HAS_RECONFIGURE
      .def_readwrite("enable_reconfigure", &Backend::Options::enable_reconfigure)
#endif
      .def(py::init<>())
      .def_readwrite("settings", &Backend::Options::settings)
      .def_readwrite("attempt", &Backend::Options::attempt)
      .def_readwrite("timeout", &Backend::Options::timeout)
      .def_readwrite("_timeout", &Backend::Options::timeout)
      .def_readwrite("group_name", &Backend::Options::group_name)
      .def_readwrite("group_desc", &Backend::Options::group_desc)
      .def_readwrite("global_ranks_in_group", &Backend::Options::global_ranks_in_group)
      .def("__copy__", [](const Backend::Options& self) { return c10::make_intrusive<Backend::Options>(self); })
      .def("__deepcopy__",
           [](const Backend::Options& self, const py::dict&) { return c10::make_intrusive<Backend::Options>(self); });
  py::class_<Backend, c10d::Backend, c10::intrusive_ptr<Backend>>(module, "Backend")
      .def(py::init(&create), py::arg("store"), py::arg("rank"), py::arg("size"), py::arg("options"),
           py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("options", &Backend::getBackendOptions)
      .def("set_timeout", &Backend::setTimeout)
      .def("abort_because", &Backend::abort_because, py::call_guard<py::gil_scoped_release>())
      .def("perform_nocolor_split", [](Backend&, const py::object&) {})  // a split is the affair of its members
      .def("failure", [](Backend& self) {
        tutti::pytorch::Failure failure;
        {
          const py::gil_scoped_release released;
          failure = self.failure();
        }
        return py::make_tuple(tutti_status_name(failure.status), failure.text, failure.rank);
      });
  module.def(
      "shut_down_all", [] { tutti::pytorch::shut_down_all(kFarewell); }, py::call_guard<py::gil_scoped_release>());
}
