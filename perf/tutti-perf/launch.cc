#include "perf/tutti-perf/launch.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "perf/tutti-perf/options.h"

namespace tutti_perf {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kGrace = std::chrono::seconds(3);      // for the others to report what they see of a rank's end
constexpr auto kTermGrace = std::chrono::seconds(2);  // between SIGTERM and SIGKILL
constexpr auto kPause = std::chrono::milliseconds(5);

volatile std::sig_atomic_t interrupted = 0;
void note_signal(int signal) { interrupted = signal; }

std::optional<std::string> random_secret() {
  std::array<unsigned char, 16> bytes;
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

class Launcher {
 public:
  Launcher(int ranks, const std::vector<std::string>& arguments) : ranks_(ranks), arguments_(arguments) {}
  ~Launcher() {
    std::error_code ignored;
    if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
  }
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  int run() {
    if (!prepare()) return kExitWrong;
    for (int rank = 0; rank < ranks_; ++rank) {
      const pid_t child = start(rank);
      if (child < 0) {
        say(fmt::format("rank {} could not be started: {} ({}); the ranks started so far are ended", rank,
                        std::strerror(errno), errno));
        exit_status_ = kExitWrong;
        deadline_ = Clock::now();
        break;
      }
      children_.push_back(child);
    }
    watch();
    return exit_status_;
  }

 private:
  static void say(const std::string& sentence) { fmt::print(stderr, "tutti-perf: {}.\n", sentence); }

  bool prepare() {
    std::string name = (std::filesystem::temp_directory_path() / "tutti-perf-XXXXXX").string();
    const auto secret = random_secret();
    if (!secret || !mkdtemp(name.data())) {
      say(fmt::format("a directory for the ranks to meet could not be made at {}: {} ({})", name,
                      std::strerror(errno), errno));
      return false;
    }
    directory_ = name;
    // In the parent: the children inherit them, and nothing is allocated between fork and exec.
    setenv("TUTTI_SIZE", std::to_string(ranks_).c_str(), 1);
    setenv("TUTTI_STORE", ("file://" + directory_).c_str(), 1);
    setenv("TUTTI_SECRET", secret->c_str(), 1);
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, note_signal);
    return true;
  }

  pid_t start(int rank) {
    setenv("TUTTI_RANK", std::to_string(rank).c_str(), 1);
    std::vector<char*> argv;
    for (const std::string& argument : arguments_) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kExitWrong);
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    execv("/proc/self/exe", argv.data());
    _exit(127);
  }

  void watch() {
    std::size_t running = children_.size();
    while (running > 0) {
      bool news = false;
      for (std::size_t rank = 0; rank < children_.size(); ++rank) {
        int status = 0;
        if (children_[rank] == 0 || waitpid(children_[rank], &status, WNOHANG) == 0) continue;
        --running;
        news = true;
        note_end(static_cast<int>(rank), children_[rank], status);
        children_[rank] = 0;
      }
      if (interrupted != 0 && !deadline_) {
        say(fmt::format("ended by signal {}, and the ranks with it", static_cast<int>(interrupted)));
        exit_status_ = 128 + interrupted;
        deadline_ = Clock::now();
      }
      if (deadline_ && Clock::now() >= *deadline_) {
        for (const pid_t child : children_) {
          if (child != 0) kill(child, terminated_ ? SIGKILL : SIGTERM);
        }
        terminated_ = true;
        deadline_ = Clock::now() + kTermGrace;
      }
      if (!news) std::this_thread::sleep_for(kPause);
    }
  }

  void note_end(int rank, pid_t pid, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    if (terminated_ || (exit_status_ != 0 && WIFEXITED(status))) return;  // a consequence of another's end
    // Wrong results are counted over all ranks, so all end the same way and have said so.
    const bool said = WIFEXITED(status) && WEXITSTATUS(status) <= kExitUsage;
    if (!said) say(fmt::format("rank {} (pid {}) {}; the other ranks are ended", rank, pid, how_it_ended(status)));
    exit_status_ = said ? WEXITSTATUS(status) : kExitWrong;
    deadline_ = Clock::now() + kGrace;
  }

  const int ranks_;
  const std::vector<std::string>& arguments_;
  std::string directory_;
  std::vector<pid_t> children_;                // by rank; 0: ended
  std::optional<Clock::time_point> deadline_;  // when the ranks that still run are ended
  bool terminated_ = false;                    // they got SIGTERM
  int exit_status_ = 0;
};

}  // namespace

std::string how_it_ended(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return fmt::format("was killed by signal {} ({})", signal, strsignal(signal));
  }
  return fmt::format("ended with exit status {}", WEXITSTATUS(wait_status));
}

int launch(int ranks, const std::vector<std::string>& arguments) { return Launcher(ranks, arguments).run(); }

}  // namespace tutti_perf
