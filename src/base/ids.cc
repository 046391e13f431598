#include "src/base/ids.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti {

namespace {

// FNV-1a over the text, twice with different offsets: an identity, not a defence.
std::uint64_t hash_text(const std::string& text, std::uint64_t offset) {
  std::uint64_t hash = offset;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ull;
  return hash;
}

}  // namespace

Result<ProcessId> new_process_id() {
  ProcessId id;
  std::array<std::byte, sizeof(Id128)> bytes;
  TUTTI_RETURN_IF_ERROR(secure_random(bytes));
  std::memcpy(&id.high, bytes.data(), 8);
  std::memcpy(&id.low, bytes.data() + 8, 8);
  return id;
}

Result<HostId> this_host_id() {
  char boot[64] = {};
  const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Status::from_errno(errno, "open /proc/sys/kernel/random/boot_id");
  const ssize_t got = read(fd, boot, sizeof boot - 1);
  const int read_errno = errno;
  close(fd);
  if (got <= 0) return Status::from_errno(read_errno, "read /proc/sys/kernel/random/boot_id");
  struct stat net = {};
  if (stat("/proc/self/ns/net", &net) != 0) return Status::from_errno(errno, "stat /proc/self/ns/net");
  const std::string text = format("{}/{}/{}", boot, net.st_dev, net.st_ino);
  HostId id;
  id.high = hash_text(text, 0xcbf29ce484222325ull);
  id.low = hash_text(text, 0x84222325cbf29ce4ull);
  return id;
}

std::string host_name() {
  char buffer[256] = {};
  if (gethostname(buffer, sizeof buffer - 1) != 0) return "localhost";
  return buffer;
}

std::string to_string(const Id128& id) { return format("{:016x}{:016x}", id.high, id.low); }

}  // namespace tutti
