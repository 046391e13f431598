#include "bindings/python/src/stores.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <tutti/tutti.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "bindings/python/src/errors.h"

namespace tutti::python {

namespace nb = nanobind;

namespace {

struct PythonStore {
  nb::callable get;
  nb::callable set_if_absent;
};

// By name, under the GIL. Never destroyed: Python may be gone by then.
std::map<std::string, std::unique_ptr<PythonStore>>& stores() {
  static auto* const all = new std::map<std::string, std::unique_ptr<PythonStore>>;
  return *all;
}

nb::object seconds(std::int64_t timeout_ns) {
  return timeout_ns < 0 ? nb::none() : nb::object(nb::float_(static_cast<double>(timeout_ns) / 1e9));
}

// Hands over what the Python function gives, or says why there is nothing.
template <typename Call>
tutti_status answer(tutti_store_reply* reply, const Call& call) {
  const nb::gil_scoped_acquire held;
  try {
    const nb::object value = call();
    const auto bytes = nb::cast<nb::bytes>(value);
    return tutti_store_reply_set(reply, bytes.c_str(), bytes.size());
  } catch (nb::python_error& error) {
    const bool is_late = error.matches(PyExc_TimeoutError) || error.matches(PyExc_KeyError);
    const bool has_gone = error.matches(PyExc_ConnectionError);
    const std::string text = error.what();
    tutti_store_reply_set(reply, text.data(), text.size());
    return is_late ? TUTTI_TIMEOUT : has_gone ? TUTTI_PEER_LOST : TUTTI_SYSTEM;
  } catch (const nb::cast_error&) {
    constexpr std::string_view kText = "the store's function did not return bytes";
    tutti_store_reply_set(reply, kText.data(), kText.size());
    return TUTTI_SYSTEM;
  }
}

tutti_status get(void* user, const char* key, std::int64_t timeout_ns, tutti_store_reply* reply) {
  return answer(reply, [&] { return static_cast<PythonStore*>(user)->get(key, seconds(timeout_ns)); });
}

tutti_status set_if_absent(void* user, const char* key, const void* value, std::size_t value_size,
                           std::int64_t timeout_ns, tutti_store_reply* reply) {
  return answer(reply, [&] {
    return static_cast<PythonStore*>(user)->set_if_absent(key, nb::bytes(static_cast<const char*>(value), value_size),
                                                          seconds(timeout_ns));
  });
}

void register_store(const std::string& name, nb::callable get_function, nb::callable set_function) {
  auto store = std::make_unique<PythonStore>(PythonStore{std::move(get_function), std::move(set_function)});
  tutti_store_callbacks callbacks = TUTTI_STORE_CALLBACKS_INIT;
  callbacks.user = store.get();
  callbacks.get = get;
  callbacks.set_if_absent = set_if_absent;
  check(tutti_store_register(name.c_str(), &callbacks));
  stores()[name] = std::move(store);
}

void unregister_store(const std::string& name) {
  tutti_status status;
  {
    const nb::gil_scoped_release released;  // it waits for calls that are under way
    status = tutti_store_unregister(name.c_str());
  }
  check(status);
  stores().erase(name);
}

// Held under the GIL; null: the default.
PyObject* log_function = nullptr;

void log_line(int level, const char* area, const char* text, void*) {
  static constexpr const char* kLevels[] = {"error", "warn", "info", "debug", "trace"};
  if (Py_IsInitialized() == 0) return;
  const nb::gil_scoped_acquire held;
  if (log_function == nullptr) return;
  try {
    const nb::handle function(log_function);
    function(kLevels[level], area, text);
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("a function given to tutti.set_log_hook");
  }
}

void set_log_hook(std::optional<nb::callable> function) {
  {
    const nb::gil_scoped_release released;  // a line on its way may wait for the GIL
    tutti_set_log_hook(nullptr, nullptr);
  }
  Py_XDECREF(std::exchange(log_function, nullptr));
  if (!function) return;
  log_function = function->release().ptr();
  check(tutti_set_log_hook(log_line, nullptr));
}

}  // namespace

void bind_stores(nb::module_& module) {
  module.def(
      "register_store", register_store, nb::arg("name"), nb::arg("get"), nb::arg("set_if_absent"),
      nb::sig("def register_store(name: str, get: collections.abc.Callable[[str, float | None], bytes], "
              "set_if_absent: collections.abc.Callable[[str, bytes, float | None], bytes]) -> None"),
      "Makes \"callback://NAME\" the address of a store of your own in this process. get(key, timeout) waits until "
      "the key is there, for timeout seconds (None: without a limit), and returns its value, or raises "
      "TimeoutError or KeyError; set_if_absent(key, value, timeout) returns what the key holds now. "
      "ConnectionError says that the store has gone. Both are called from several threads at once.");
  module.def("unregister_store", unregister_store, nb::arg("name"));
  module.def(
      "set_log_hook", set_log_hook, nb::arg("function").none(),
      nb::sig("def set_log_hook(function: collections.abc.Callable[[str, str, str], object] | None) -> None"),
      "Where log lines go: function(level, area, text), with level \"error\", \"warn\", \"info\", \"debug\" or "
      "\"trace\". None restores the default, stderr.");
}

}  // namespace tutti::python
