// Where recorder files live, and which of them may go. A living process holds a lock (flock) on its file, so who is
// alive is known across pid namespaces and whatever numbers are used again.
//
// The directories Tutti chooses by itself, /dev/shm/tutti-UID and /tmp/tutti-UID, are private: mode 0700, owned by
// this user; one that somebody else made is refused, since others could replace its files. A directory that the user
// named is taken as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/base/status.h"

namespace tutti {

// The directories to try, in order. `given` may be empty.
std::vector<std::string> recorder_directories(const std::string& given);

// A directory's descriptor; closes it.
class RecorderDirectory {
 public:
  // Makes the directory if it is not there.
  static Result<RecorderDirectory> open(const std::string& path, bool is_private);
  RecorderDirectory(RecorderDirectory&& other) noexcept;
  ~RecorderDirectory();

  // Makes "recorder-PID-XXXXXXXX.tutti" with `bytes` reserved and locks it. The caller closes the descriptor.
  Result<int> create(const std::string& name, std::uint64_t bytes) const;
  void remove(const std::string& name) const;

  // Removes files of processes that are dead: those whose last sign of life is more than a day old, and all but the
  // newest 16. Files of other users, of living processes and of any other name stay.
  void prune(std::int64_t utc_now_ns) const;

 private:
  explicit RecorderDirectory(int fd) : fd_(fd) {}
  int fd_;
};

std::string recorder_file_name(std::uint32_t pid, const ProcessId& process);
bool is_recorder_file_name(const char* name);

// Whether the process that writes the file of this descriptor lives.
bool recorder_is_locked(int fd);

}  // namespace tutti
