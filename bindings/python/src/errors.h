// Errors of the C API as Python exceptions (tutti/errors.py has the classes).
#pragma once

#include <tutti/tutti.h>

#include <string>

namespace tutti::python {

// Raises the exception for what a C call has just returned on this thread. REQUIRES: the GIL; status != TUTTI_OK
[[noreturn]] void raise_last(tutti_status status);
[[noreturn]] void raise(tutti_status status, const std::string& text, int rank = -1);
[[noreturn]] void raise_invalid(const std::string& text);

inline void check(tutti_status status) {
  if (status != TUTTI_OK) raise_last(status);
}

}  // namespace tutti::python
