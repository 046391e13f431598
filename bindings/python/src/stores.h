// Stores and the log, which call back into Python: see "A store of your own" in tutti.h.
#pragma once

#include <nanobind/nanobind.h>

namespace tutti::python {

void bind_stores(nanobind::module_& module);

}  // namespace tutti::python
