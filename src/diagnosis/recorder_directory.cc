#include "src/diagnosis/recorder_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "src/base/format.h"
#include "src/diagnosis/recorder_format.h"

namespace tutti {

namespace {

constexpr std::size_t kKeptFiles = 16;
constexpr std::int64_t kKeptNs = 24ll * 3600 * 1'000'000'000;
// Between its creation and its lock a new file looks like a dead one; nothing this young is removed.
constexpr std::int64_t kYoungNs = 60ll * 1'000'000'000;

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000ll + time.tv_nsec; }

// The last sign of life in UTC: what the record says, if it can be right, and never before the file was made.
std::int64_t last_seen_ns(int fd, const struct stat& info, std::int64_t utc_now_ns) {
  const std::int64_t made_ns = nanoseconds(info.st_mtim);
  RecorderHeader header;
  if (pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return made_ns;
  std::int64_t since_start_ns = 0;
  std::int64_t seen_ns = 0;
  if (header.magic != kRecorderMagic ||
      __builtin_sub_overflow(header.heartbeat_ns, header.started_ns, &since_start_ns) ||
      __builtin_add_overflow(header.started_utc_ns, since_start_ns, &seen_ns) || seen_ns > utc_now_ns) {
    return made_ns;
  }
  return std::max(made_ns, seen_ns);
}

}  // namespace

std::vector<std::string> recorder_directories(const std::string& given) {
  std::vector<std::string> directories;
  if (!given.empty()) directories.push_back(given);
  directories.push_back(format("/dev/shm/tutti-{}", geteuid()));
  directories.push_back(format("/tmp/tutti-{}", geteuid()));
  return directories;
}

std::string recorder_file_name(std::uint32_t pid, const ProcessId& process) {
  return format("recorder-{}-{:08x}.tutti", pid, process.high >> 32);
}

bool is_recorder_file_name(const char* name) {
  unsigned pid = 0;
  unsigned prefix = 0;
  int end = 0;
  return std::sscanf(name, "recorder-%10u-%8x.tutti%n", &pid, &prefix, &end) == 2 && end > 0 && name[end] == '\0';
}

bool recorder_is_locked(int fd) {
  if (flock(fd, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  flock(fd, LOCK_UN);
  return false;
}

Result<RecorderDirectory> RecorderDirectory::open(const std::string& path, bool is_private) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return Status::from_errno(errno, format("make directory {}", path));
  const int follow = is_private ? O_NOFOLLOW : 0;
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
  if (fd < 0) return Status::from_errno(errno, format("open directory {}", path));
  RecorderDirectory directory(fd);
  if (!is_private) return directory;
  struct stat info;
  if (fstat(fd, &info) != 0) return Status::from_errno(errno, format("look at directory {}", path));
  if (info.st_uid != geteuid()) {
    return Status(Code::system, format("directory {} belongs to user {}, not to this process's user {}", path,
                                       info.st_uid, geteuid()));
  }
  if ((info.st_mode & 077) != 0 && fchmod(fd, 0700) != 0) {
    return Status::from_errno(errno, format("make directory {} private", path));
  }
  return directory;
}

RecorderDirectory::RecorderDirectory(RecorderDirectory&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

RecorderDirectory::~RecorderDirectory() {
  if (fd_ >= 0) close(fd_);
}

Result<int> RecorderDirectory::create(const std::string& name, std::uint64_t bytes) const {
  rlimit limit;  // the system would answer a longer file with the signal SIGXFSZ
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) {
    return Status::from_errno(EFBIG, format("reserve {} for {}", format_bytes(bytes), name));
  }
  const int fd = openat(fd_, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return Status::from_errno(errno, format("create {}", name));
  int error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  if (error == 0) error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  if (error == 0) return fd;
  close(fd);
  remove(name);
  return Status::from_errno(error, format("reserve {} for {}", format_bytes(bytes), name));
}

void RecorderDirectory::remove(const std::string& name) const { unlinkat(fd_, name.c_str(), 0); }

void RecorderDirectory::prune(std::int64_t utc_now_ns) const {
  struct Dead {
    std::int64_t seen_ns;
    std::string name;
  };
  std::vector<Dead> dead;
  const int listing_fd = openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = listing_fd < 0 ? nullptr : fdopendir(listing_fd);
  if (!listing) {
    if (listing_fd >= 0) close(listing_fd);
    return;
  }
  while (const dirent* entry = readdir(listing)) {
    if (!is_recorder_file_name(entry->d_name)) continue;
    const int fd = openat(fd_, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
        nanoseconds(info.st_mtim) < utc_now_ns - kYoungNs && !recorder_is_locked(fd)) {
      dead.push_back({last_seen_ns(fd, info, utc_now_ns), entry->d_name});
    }
    close(fd);
  }
  closedir(listing);
  std::sort(dead.begin(), dead.end(), [](const Dead& a, const Dead& b) { return a.seen_ns > b.seen_ns; });
  for (std::size_t i = 0; i < dead.size(); ++i) {
    if (i >= kKeptFiles || dead[i].seen_ns < utc_now_ns - kKeptNs) remove(dead[i].name);
  }
}

}  // namespace tutti
