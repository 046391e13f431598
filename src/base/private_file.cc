#include "src/base/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/format.h"

namespace tutti {

namespace {

Result<std::string> read_up_to(int fd, std::size_t bytes, std::string_view context) {
  std::string text(bytes, '\0');
  std::size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = read(fd, text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, context);
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
  }
  text.resize(length);
  return text;
}

Status check_mode(std::string_view setting, int fd, const std::string& path, Readers readers) {
  struct stat facts = {};
  if (fstat(fd, &facts) != 0) return Status::from_errno(errno, format("{}: stat {}", setting, path));
  if (!S_ISREG(facts.st_mode)) {
    return {Code::invalid, format("{} is \"{}\", which is not an ordinary file", setting, path)};
  }
  if (readers == Readers::owner_only && (facts.st_mode & 077) != 0) {
    return {Code::invalid, format("{} is \"{}\", which others than its owner may use (mode {:03o}); run "
                                  "chmod 600 on it",
                                  setting, path, static_cast<unsigned>(facts.st_mode & 0777))};
  }
  return {};
}

}  // namespace

Result<std::string> read_small_file(std::string_view setting, const std::string& path, std::size_t longest,
                                    Readers readers) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe with no writer must not block here
  if (fd < 0) return Status::from_errno(errno, format("{}: open {}", setting, path));
  const Status mode = check_mode(setting, fd, path, readers);
  auto text = mode ? read_up_to(fd, longest + 1, format("{}: read {}", setting, path)) : Result<std::string>(mode);
  close(fd);
  if (text && text->size() > longest) {
    return Status(Code::invalid, format("{} is \"{}\", which is longer than {} bytes", setting, path, longest));
  }
  return text;
}

}  // namespace tutti
