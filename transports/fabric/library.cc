#include "transports/fabric/library.h"

#include <dlfcn.h>
#include <signal.h>

#include <array>

#include "src/base/format.h"

namespace tutti::fabric {

namespace {

// What the program does about fatal signals, now and again at the end.
class SignalHandlers {
 public:
  SignalHandlers() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], nullptr, &before_[i]);
  }
  ~SignalHandlers() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  SignalHandlers(const SignalHandlers&) = delete;
  SignalHandlers& operator=(const SignalHandlers&) = delete;

 private:
  static constexpr std::array kSignals = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGTERM, SIGINT, SIGHUP};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace

Result<Library> Library::load(std::span<const char* const> names) {
  const SignalHandlers handlers;
  std::string why;
  for (const char* const name : names) {
    if (void* const handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return Library(handle, name);
    const char* const words = dlerror();
    if (why.empty()) why = words != nullptr ? words : "the dynamic linker gives no reason";
  }
  return Status(Code::unsupported, format("{} cannot be loaded: {}. Install it, or leave it out of TUTTI_TRANSPORTS",
                                          names.front(), why));
}

void* Library::address_of(const char* name) {
  void* const address = dlsym(handle_, name);
  if (address == nullptr) missing_ = name;
  return address;
}

}  // namespace tutti::fabric
