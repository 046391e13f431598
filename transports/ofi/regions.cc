#include "transports/ofi/regions.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <ctime>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "src/base/format.h"
#include "src/base/ids.h"

namespace tutti::ofi {

namespace {

constexpr std::string_view kScheme = "fi_shm://";
constexpr std::string_view kPrefix = "tutti-ofi-";
constexpr std::string_view kFolder = "/dev/shm/";
constexpr std::size_t kFileNameBytes = kPrefix.size() + 2 * sizeof(Id128);

bool is_used(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return errno != ENOENT;
  const bool is_locked = flock(file, LOCK_EX | LOCK_NB) != 0;
  close(file);
  return is_locked;
}

bool is_old(const std::string& path) {
  struct stat its {};
  return lstat(path.c_str(), &its) == 0 && its.st_uid == geteuid() &&
         std::time(nullptr) - its.st_mtime >= kUnlockedLimit.count();
}

// The files of this process. A forked child's end is not theirs.
class Held {
 public:
  static Held& all() {
    static Held all;
    return all;
  }
  ~Held() {
    for (const auto& [path, pid] : files_) {
      if (pid == getpid()) unlink(path.c_str());
    }
  }
  void add(const std::string& path) {
    const std::lock_guard lock(mutex_);
    files_.emplace_back(path, getpid());
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::string, pid_t>> files_;
};

}  // namespace

Result<std::string> new_region_name() {
  const auto id = new_process_id();
  if (!id) return id.status();
  return format("{}{}{}", kScheme, kPrefix, to_string(*id));
}

Status hold_region(std::string_view name) {
  const std::string path = format("{}{}", kFolder, name.substr(kScheme.size()));
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return Status::from_errno(errno, path);
  Held::all().add(path);
  if (flock(file, LOCK_SH | LOCK_NB) == 0) return {};
  const Status error = Status::from_errno(errno, format("locking {}", path));
  close(file);
  return error;
}

// The provider gives what it shares besides a name that begins with the endpoint's.
void remove_dead_regions() {
  std::error_code error;
  std::filesystem::directory_iterator each(kFolder, error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    const std::string name = each->path().filename();
    if (!name.starts_with(kPrefix) || name.size() < kFileNameBytes) continue;
    if (is_old(each->path()) && !is_used(format("{}{}", kFolder, name.substr(0, kFileNameBytes))))
      unlink(each->path().c_str());
  }
}

}  // namespace tutti::ofi
