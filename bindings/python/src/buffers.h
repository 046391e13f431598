// Buffers: what Python programs keep elements in, as Tutti sees them: an address, a number of elements, their type.
// Taken are objects with the buffer protocol (NumPy arrays, bytearray, array.array, memoryview), with DLPack on the
// CPU (torch tensors, JAX arrays), and NumPy arrays of ml_dtypes' types by __array_interface__. Nothing is ever
// copied: elements must lie one after the other in memory.
#pragma once

#include <nanobind/nanobind.h>
#include <tutti/tutti.h>

#include <cstddef>
#include <optional>
#include <string_view>

namespace tutti::python {

namespace nb = nanobind;

// Keeps the object's memory where it is, until the last copy is gone. To be dropped with the GIL held.
struct Buffer {
  void* data = nullptr;
  std::size_t count = 0;
  tutti_datatype type = TUTTI_UINT8;
  bool is_bool = false;  // of type TUTTI_UINT8, with elements that are 0 or 1 and must stay so
  nb::object owner;
};

// `what` is the argument's name, for the sentences. `datatype` (may be null) says what the elements are where the
// object cannot: any type of the same size. Throws InvalidError: nothing of the kind, not contiguous, read-only where
// `writable`, of a type that Tutti has not, on a device.
Buffer buffer_of(nb::handle object, const char* what, bool writable, const char* datatype = nullptr);

// InvalidError, listing what there is, when the name is none.
tutti_datatype datatype_of(std::string_view name);
tutti_op op_of(std::string_view name);

}  // namespace tutti::python
