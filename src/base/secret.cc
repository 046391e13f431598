#include "src/base/secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::size_t kLongestSecret = 4096;

Result<std::string> read_small_file(int fd, const std::string& path) {
  std::string text(kLongestSecret + 1, '\0');
  std::size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = read(fd, text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, format("TUTTI_SECRET_FILE: read {}", path));
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
  }
  text.resize(length);
  return text;
}

Status check_mode(int fd, const std::string& path) {
  struct stat facts = {};
  if (fstat(fd, &facts) != 0) return Status::from_errno(errno, format("TUTTI_SECRET_FILE: stat {}", path));
  if (!S_ISREG(facts.st_mode)) {
    return {Code::invalid, format("TUTTI_SECRET_FILE is \"{}\", which is not an ordinary file", path)};
  }
  if ((facts.st_mode & 077) != 0) {
    return {Code::invalid,
            format("TUTTI_SECRET_FILE is \"{}\", which others than its owner may use (mode {:03o}); run "
                   "chmod 600 on it",
                   path, static_cast<unsigned>(facts.st_mode & 0777))};
  }
  return {};
}

}  // namespace

Result<std::string> read_secret(const Settings& settings) {
  if (settings.secret_file.empty()) return settings.secret;
  const std::string& path = settings.secret_file;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe with no writer must not block here
  if (fd < 0) return Status::from_errno(errno, format("TUTTI_SECRET_FILE: open {}", path));
  const Status mode = check_mode(fd, path);
  auto text = mode ? read_small_file(fd, path) : Result<std::string>(mode);
  close(fd);
  if (!text) return text;
  if (text->size() > kLongestSecret) {
    return Status(Code::invalid,
                  format("TUTTI_SECRET_FILE is \"{}\", which is longer than {} bytes", path, kLongestSecret));
  }
  if (text->ends_with('\n')) text->pop_back();
  if (text->empty()) return Status(Code::invalid, format("TUTTI_SECRET_FILE is \"{}\", which is empty", path));
  return text;
}

}  // namespace tutti
