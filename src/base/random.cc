#include "src/base/random.h"

#include <sys/random.h>

#include <cerrno>

namespace tutti {

Status secure_random(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return Status::from_errno(errno, "getrandom");
    }
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace tutti
