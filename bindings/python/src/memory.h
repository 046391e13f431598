// Memory that peers on this host read in place (tutti_mem_alloc), as a Python object with the buffer protocol.
#pragma once

#include <nanobind/nanobind.h>

namespace tutti::python {

void bind_memory(nanobind::module_& module);

}  // namespace tutti::python
