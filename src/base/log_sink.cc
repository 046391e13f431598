#include "src/base/log_sink.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>

#include "src/base/format.h"
#include "src/base/ids.h"

namespace tutti {

namespace {

// A file descriptor that is closed with its last user; standard error is never closed.
class OutputFile {
 public:
  explicit OutputFile(int fd) : fd_(fd) {}
  ~OutputFile() {
    if (fd_ > STDERR_FILENO) close(fd_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write_line(const std::string& line) const {
    while (write(fd_, line.data(), line.size()) < 0 && errno == EINTR) {
    }
  }

 private:
  const int fd_;
};

using OutputPointer = std::shared_ptr<const OutputFile>;

Result<OutputPointer> open_output(const std::string& path, std::string_view setting) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return Status::from_errno(errno, format("{}: open {} for appending", setting, path));
  return OutputPointer(std::make_shared<OutputFile>(fd));
}

std::string utc_time() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts = {};
  gmtime_r(&now.tv_sec, &parts);
  return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000);
}

std::string without_control_characters(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

// The length of the well-formed UTF-8 character that `text` begins with, 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  std::uint32_t value = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return 0;
    value = value << 6 | (next & 0x3fu);
  }
  const bool too_long = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  const bool forbidden = (value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff;
  return too_long || forbidden ? 0 : length;
}

std::string json_text(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += "\\ufffd";
    } else if (text[0] == '"' || text[0] == '\\') {
      out += {'\\', text[0]};
    } else if (static_cast<unsigned char>(text[0]) < 0x20) {
      out += format("\\u{:04x}", static_cast<unsigned>(text[0]));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out + "\"";
}

// The sink proper: everything it holds is constant, so threads need no lock.
struct Outputs {
  OutputPointer lines;  // null when the hook takes them
  OutputPointer events;
  LogHook hook;
  std::string host = host_name();

  void operator()(LogLevel level, std::string_view area, std::string_view text) const {
    const std::string time = utc_time();
    const int pid = getpid();  // asked each time: a fork must not write its parent's number
    if (lines) {
      lines->write_line(
          format("{} {} {} {} {}: {}\n", time, host, pid, name(level), area, without_control_characters(text)));
    }
    if (events) {
      events->write_line(
          format("{{\"time\":\"{}\",\"host\":{},\"pid\":{},\"level\":\"{}\",\"area\":{},\"text\":{}}}\n", time,
                 json_text(host), pid, name(level), json_text(area), json_text(text)));
    }
    if (hook.function) {
      hook.function(hook.user, static_cast<int>(level), std::string(area).c_str(), std::string(text).c_str());
    }
  }
};

}  // namespace

std::string_view name(LogLevel level) {
  switch (level) {
    case LogLevel::error:
      return "error";
    case LogLevel::warn:
      return "warn";
    case LogLevel::info:
      return "info";
    case LogLevel::debug:
      return "debug";
    case LogLevel::trace:
      return "trace";
  }
  return "error";
}

Result<Log> make_log(const Settings& settings, LogHook hook) {
  Outputs outputs;
  outputs.hook = hook;
  if (!settings.log_file.empty()) {
    auto opened = open_output(settings.log_file, "TUTTI_LOG_FILE");
    if (!opened) return opened.status();
    outputs.lines = *opened;
  } else if (!hook.function) {
    outputs.lines = std::make_shared<OutputFile>(STDERR_FILENO);
  }
  if (!settings.events.empty()) {
    auto opened = open_output(settings.events, "TUTTI_EVENTS");
    if (!opened) return opened.status();
    outputs.events = *opened;
  }
  return Log(settings.log, std::move(outputs));
}

}  // namespace tutti
