// State: what every rank should have with the same bits, as Python programs hold it ("Shared state" in tutti.h).
// Keeps its tensors' memory where it is.
#pragma once

#include <nanobind/nanobind.h>
#include <tutti/tutti.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "bindings/python/src/buffers.h"
#include "bindings/python/src/errors.h"

namespace tutti::python {

class State {
 public:
  explicit State(const std::optional<std::string>& name);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  void add(const std::string& name, nb::handle tensor, const std::optional<std::string>& datatype);
  void remove(const std::string& name);
  std::uint64_t revision();
  void set_revision(std::uint64_t revision);

  // Calls a function of the C API that takes some time with the state, which nobody else uses meanwhile, and the GIL
  // released by it. Raises what it returns.
  template <typename Function>
  void call(const Function& function) {
    tutti_state* const state = use();
    is_used_ = true;
    try {
      function(state);
    } catch (...) {
      is_used_ = false;
      throw;
    }
    is_used_ = false;
  }

 private:
  tutti_state* use() const;

  tutti_state* state_ = nullptr;
  std::map<std::string, Buffer> tensors_;
  bool is_used_ = false;  // by a thread that has released the GIL
};

void bind_states(nb::module_& module);

}  // namespace tutti::python
