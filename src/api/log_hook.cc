#include "src/api/log_hook.h"

#include <mutex>
#include <string>

#include "include/tutti/tutti.h"

namespace tutti {

namespace {

struct Hook {
  std::mutex mutex;
  tutti_log_hook function = nullptr;
  void* user = nullptr;
};

Hook& hook() {
  static Hook* const instance = new Hook;  // lines may come while the program ends
  return *instance;
}

}  // namespace

bool give_to_log_hook(LogLevel level, std::string_view area, std::string_view text) {
  Hook& current = hook();
  const std::lock_guard lock(current.mutex);
  if (current.function == nullptr) return false;
  current.function(static_cast<int>(level), std::string(area).c_str(), std::string(text).c_str(), current.user);
  return true;
}

}  // namespace tutti

tutti_status tutti_set_log_hook(tutti_log_hook function, void* user) {
  tutti::Hook& current = tutti::hook();
  const std::lock_guard lock(current.mutex);
  current.function = function;
  current.user = user;
  return TUTTI_OK;
}
