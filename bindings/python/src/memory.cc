#include "bindings/python/src/memory.h"

#include <tutti/tutti.h>

#include <cstddef>

#include "bindings/python/src/errors.h"

namespace tutti::python {

namespace nb = nanobind;

namespace {

class Memory {
 public:
  explicit Memory(std::size_t bytes) : bytes_(bytes) { check(tutti_mem_alloc(&data_, bytes)); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { tutti_mem_free(data_); }

  std::size_t size() const { return bytes_; }
  // The view keeps this object alive, and with it the memory.
  static int give(PyObject* self, Py_buffer* view, int flags) {
    const Memory& memory = *nb::inst_ptr<Memory>(nb::handle(self));
    return PyBuffer_FillInfo(view, self, memory.data_, static_cast<Py_ssize_t>(memory.bytes_), 0, flags);
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

PyType_Slot kSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&Memory::give)}, {0, nullptr}};

}  // namespace

void bind_memory(nb::module_& module) {
  nb::class_<Memory>(
      module, "Memory", nb::type_slots(kSlots),
      "Memory that peers on this host read in place: the fastest for large data. Zeroed. Has the buffer "
      "protocol: numpy.frombuffer(tutti.Memory(4 * n), numpy.float32).")
      .def(nb::init<std::size_t>(), nb::arg("bytes"))
      .def("__len__", &Memory::size);
}

}  // namespace tutti::python
