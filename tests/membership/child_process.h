// A program that a test starts, and ends at the latest with the test: by its process id, never by name.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace tutti {

class ChildProcess {
 public:
  // `environment` entries are NAME=VALUE and are added to this process's. Standard output and error go to the file
  // `output`. The child dies with this thread, so it is started by one that outlives it.
  ChildProcess(const std::vector<std::string>& command, std::string output,
               const std::vector<std::string>& environment = {});
  ~ChildProcess();  // SIGKILL if it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void signal(int number) const;
  int wait();  // until it has ended: its exit status, or minus the number of the signal that ended it
  bool has_ended();
  std::string output() const;

  // The first whole line that it prints; what it has printed when it ends without one.
  std::string first_line();

 private:
  bool collect(int options);

  pid_t pid_ = -1;
  bool ended_ = false;
  int status_ = 0;
  std::string output_;
};

}  // namespace tutti
