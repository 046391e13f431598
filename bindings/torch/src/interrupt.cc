#include "bindings/torch/src/interrupt.h"

#include <pybind11/pybind11.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace tutti::pytorch {

void check_interrupt() {
  if (syscall(SYS_gettid) != getpid() || Py_IsInitialized() == 0) return;
  const pybind11::gil_scoped_acquire held;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

}  // namespace tutti::pytorch
