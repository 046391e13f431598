#include "src/api/process_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "src/base/format.h"

namespace tutti {

std::uint64_t own_pid_namespace() {
  struct stat status = {};
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

namespace {

bool can_be_seen(const ProcessAddress& address, const HostId& own) {
  if (address.host != own || address.pid == 0) return false;
  return address.pid_namespace != 0 && address.pid_namespace == own_pid_namespace();
}

}  // namespace

char state_of_process(const ProcessAddress& address, const HostId& own) {
  if (!can_be_seen(address, own)) return '\0';
  const int file = open(format("/proc/{}/stat", address.pid).c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return '\0';
  char text[256];
  const ssize_t length = read(file, text, sizeof text);
  close(file);
  // "PID (NAME) STATE ...", where the name may hold anything, and is short.
  const std::string_view line(text, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  const auto end = line.rfind(") ");
  return end == std::string_view::npos || end + 2 >= line.size() ? '\0' : line[end + 2];
}

bool has_process_ended(const ProcessAddress& address, const HostId& own) {
  if (!can_be_seen(address, own)) return false;
  const auto descriptor = static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(address.pid), 0));
  if (descriptor < 0) return errno == ESRCH;
  pollfd end{descriptor, POLLIN, 0};
  const bool has_ended = poll(&end, 1, 0) == 1 && (end.revents & POLLIN) != 0;  // nobody has waited for it yet
  close(descriptor);
  return has_ended;
}

}  // namespace tutti
