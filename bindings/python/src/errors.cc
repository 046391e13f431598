#include "bindings/python/src/errors.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

namespace tutti::python {

namespace nb = nanobind;

void raise(tutti_status status, const std::string& text, int rank) {
  const nb::object exception =
      nb::module_::import_("tutti.errors")
          .attr("from_status")(tutti_status_name(status), text, rank >= 0 ? nb::object(nb::int_(rank)) : nb::none());
  PyErr_SetObject(exception.type().ptr(), exception.ptr());
  throw nb::python_error();
}

void raise_last(tutti_status status) { raise(status, tutti_last_error(), tutti_last_error_rank()); }

void raise_invalid(const std::string& text) { raise(TUTTI_INVALID, text); }

}  // namespace tutti::python
