#include "tests/membership/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

namespace tutti {

ChildProcess::ChildProcess(const std::vector<std::string>& command, std::string output,
                           const std::vector<std::string>& environment)
    : output_(std::move(output)) {
  // Everything that allocates comes before the fork: another thread may hold the allocator's lock.
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  variables.insert(variables.end(), environment.begin(), environment.end());
  std::vector<char*> arguments;
  std::vector<char*> all;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : variables) all.push_back(const_cast<char*>(entry.c_str()));
  arguments.push_back(nullptr);
  all.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(126);
  const int fd = open(output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  execve(arguments[0], arguments.data(), all.data());
  _exit(127);
}

ChildProcess::~ChildProcess() {
  if (has_ended()) return;
  signal(SIGKILL);
  wait();
}

void ChildProcess::signal(int number) const {
  if (!ended_) kill(pid_, number);
}

bool ChildProcess::collect(int options) {
  if (!ended_ && waitpid(pid_, &status_, options) == pid_) ended_ = true;
  return ended_;
}

int ChildProcess::wait() {
  collect(0);
  return WIFSIGNALED(status_) ? -WTERMSIG(status_) : WEXITSTATUS(status_);
}

bool ChildProcess::has_ended() { return collect(WNOHANG); }

std::string ChildProcess::output() const {
  std::ifstream in(output_);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string ChildProcess::first_line() {
  while (true) {
    const bool ended = has_ended();
    const std::string text = output();
    if (const auto end = text.find('\n'); end != std::string::npos) return text.substr(0, end);
    if (ended) return text;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace tutti
