#include "src/membership/name_service.h"

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "src/base/format.h"

namespace tutti {

namespace {

// One look-up, of whoever waits for it and of the thread that makes it, whichever lives longer.
struct LookUp {
  std::mutex mutex;
  std::condition_variable done;
  bool is_done = false;
  int error = 0;
  int system_error = 0;
  AddressList list{nullptr, freeaddrinfo};
};

void ask(LookUp& look_up, const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), format("{}", port).c_str(), &hints, &list);
  const int system_error = errno;
  const std::lock_guard lock(look_up.mutex);
  look_up.error = error;
  look_up.system_error = system_error;
  if (error == 0) look_up.list.reset(list);
  look_up.is_done = true;
  look_up.done.notify_all();
}

}  // namespace

Result<AddressList> look_up(const HostPort& address, int flags, Instant deadline) {
  const auto made = std::make_shared<LookUp>();
  ask(*made, address.host, address.port, flags | AI_NUMERICHOST);
  if (made->error == EAI_NONAME) {
    made->is_done = false;
    try {
      std::thread([made, address, flags] { ask(*made, address.host, address.port, flags); }).detach();
    } catch (const std::system_error& error) {
      return Status::from_errno(error.code().value(), format("start a thread to look up host {}", address.host));
    }
    std::unique_lock lock(made->mutex);
    // Bounded, as not every clock can add up to the end of time.
    const Nanoseconds left = std::min<Nanoseconds>(deadline - monotonic_now(), std::chrono::hours(1));
    if (!made->done.wait_for(lock, left, [&] { return made->is_done; }))
      return Status(Code::again, format("look up host {}: the name service has not answered in time", address.host));
  }
  const std::lock_guard lock(made->mutex);
  if (made->error == EAI_SYSTEM)
    return Status::from_errno(made->system_error, format("look up host {}", address.host));
  if (made->error != 0) {
    // A name may appear only when its container does, so even "not known" may pass.
    return Status(Code::again, format("look up host {}: {} (getaddrinfo {})", address.host, gai_strerror(made->error),
                                      made->error));
  }
  return std::move(made->list);
}

}  // namespace tutti
