// tutti._tutti: the C API for Python. The package around it (../tutti) is what users import.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <tutti/tutti.h>

#include "bindings/python/src/communicator.h"
#include "bindings/python/src/memory.h"
#include "bindings/python/src/requests.h"
#include "bindings/python/src/states.h"
#include "bindings/python/src/stores.h"

NB_MODULE(_tutti, module) {
  namespace nb = nanobind;
  // Objects that live until the interpreter's end are its own affair: communicators are closed by then.
  nb::set_leak_warnings(false);
  tutti::python::bind_requests(module);
  tutti::python::bind_communicator(module);
  tutti::python::bind_memory(module);
  tutti::python::bind_states(module);
  tutti::python::bind_stores(module);
  module.def(
      "version",
      [] {
        const int version = tutti_version();
        return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
               std::to_string(version % 100);
      },
      "The version of the library that is loaded.");
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] { tutti::python::close_all(); }));
}
