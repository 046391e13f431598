#include "tests/process/job.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <new>
#include <sstream>
#include <thread>

#include "tests/sanitized.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

extern "C" __attribute__((weak)) std::size_t __sanitizer_get_current_allocated_bytes();

namespace tutti_test {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kFailuresPerRank = 8;
constexpr int kFinished = 0;
constexpr int kFailed = 3;

// The end of what a job's processes logged: the library's side of a failure.
std::string log_tail(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::string text;
  for (std::size_t i = lines.size() > 12 ? lines.size() - 12 : 0; i < lines.size(); ++i) text += "\n  " + lines[i];
  return text;
}

class Runner {
 public:
  Runner(const Job& job, const std::function<void(Rank&)>& function)
      : job_(job), function_(function), processes_(job.processes > 0 ? job.processes : job.ranks) {
    void* memory = mmap(nullptr, sizeof(SharedBlock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    shared_ = new (memory) SharedBlock;
    store_ = job.meeting == Meeting::file ? "file://" + directory_.path()
                                          : "tcp://127.0.0.1:" + std::to_string(free_port());
  }
  ~Runner() { munmap(shared_, sizeof(SharedBlock)); }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  Outcome run(const std::vector<int>& doomed) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::bad_alloc();
    std::fflush(nullptr);
    const pid_t parent = getpid();
    for (int p = 0; p < processes_; ++p) {
      const pid_t child = fork();
      if (child == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(kFailed);
        _exit(be_process(p, ends[1]));
      }
      children_.push_back(child);
    }
    close(ends[1]);
    Outcome outcome;
    watch(ends[0], outcome);
    close(ends[0]);
    judge(doomed, outcome);
    outcome.slots.assign(&shared_->slots[0][0], &shared_->slots[0][0] + SharedBlock::kSlots * SharedBlock::kRanksMax);
    for (const auto& counter : shared_->counters) outcome.counters.push_back(counter.load());
    if (!outcome.is_clean()) outcome.failures.push_back("log:" + log_tail(directory_.path() + "/log"));
    return outcome;
  }

 private:
  int be_process(int process, int pipe) {
    for (const auto& [name, value] : job_.environment) setenv(name.c_str(), value.c_str(), 1);
    setenv("TUTTI_RECORDER_DIRECTORY", directory_.path().c_str(), 0);
    setenv("TUTTI_LOG_FILE", (directory_.path() + "/log").c_str(), 0);
    if (!job_.namespaces.empty()) {
      const std::string& name = job_.namespaces[static_cast<std::size_t>(process) % job_.namespaces.size()];
      const int fd = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) return kFailed;
      close(fd);
    }
    std::vector<std::unique_ptr<Rank>> ranks;
    for (int r = 0; r < job_.ranks; ++r) {
      if (r * processes_ / job_.ranks == process)
        ranks.push_back(std::make_unique<Rank>(job_, *shared_, r, pipe, store_));
    }
    std::vector<std::thread> threads;
    for (std::size_t i = 1; i < ranks.size(); ++i) threads.emplace_back([&, i] { function_(*ranks[i]); });
    function_(*ranks[0]);
    for (std::thread& thread : threads) thread.join();
    for (const auto& rank : ranks) rank->note("has returned");
#if defined(__SANITIZE_ADDRESS__)
    if (__lsan_do_recoverable_leak_check() != 0) ranks[0]->fail("leaked memory; the report is on standard error");
#endif
    const bool failed = std::any_of(ranks.begin(), ranks.end(), [](const auto& rank) { return rank->has_failed(); });
    return failed ? kFailed : kFinished;
  }

  // Collects what ranks write until all have ended or the time is over.
  void watch(int pipe, Outcome& outcome) {
    const auto end = Clock::now() + job_.limit * patience();
    std::string text;
    outcome.wait_status.assign(children_.size(), -1);
    std::size_t running = children_.size();
    bool ended = false;
    while (running > 0) {
      pollfd watched{pipe, POLLIN, 0};
      if (poll(&watched, 1, 20) > 0) drain(pipe, text);
      for (std::size_t i = 0; i < children_.size(); ++i) {
        if (outcome.wait_status[i] != -1) continue;
        if (waitpid(children_[i], &outcome.wait_status[i], WNOHANG) == children_[i]) --running;
      }
      if (Clock::now() < end || ended || running == 0) continue;
      ended = true;
      for (std::size_t i = 0; i < children_.size(); ++i) {
        if (outcome.wait_status[i] != -1) continue;
        outcome.failures.push_back("process " + std::to_string(i) + " had not ended after " +
                                   std::to_string((job_.limit * patience()).count()) + " s:" + notes_of(i));
        kill(children_[i], SIGKILL);
      }
    }
    const int flags = fcntl(pipe, F_GETFL);
    fcntl(pipe, F_SETFL, flags | O_NONBLOCK);
    drain(pipe, text);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) outcome.failures.push_back(line);
  }

  static void drain(int pipe, std::string& text) {
    char buffer[4096];
    const ssize_t got = read(pipe, buffer, sizeof buffer);
    if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    if (got == static_cast<ssize_t>(sizeof buffer)) {
      pollfd watched{pipe, POLLIN, 0};
      if (poll(&watched, 1, 0) > 0) drain(pipe, text);
    }
  }

  std::string notes_of(std::size_t process) const {
    std::string text;
    for (int r = 0; r < job_.ranks; ++r) {
      if (r * processes_ / job_.ranks == static_cast<int>(process))
        text += "\n  rank " + std::to_string(r) + ": " + shared_->notes[r];
    }
    return text;
  }

  void judge(const std::vector<int>& doomed, Outcome& outcome) const {
    for (std::size_t i = 0; i < children_.size(); ++i) {
      const int status = outcome.wait_status[i];
      const bool expected = std::find(doomed.begin(), doomed.end(), static_cast<int>(i)) != doomed.end();
      if (expected || (WIFEXITED(status) && WEXITSTATUS(status) == kFinished)) continue;
      const std::string how = WIFSIGNALED(status) ? "was ended by signal " + std::to_string(WTERMSIG(status))
                                                  : "exited with " + std::to_string(WEXITSTATUS(status));
      outcome.failures.push_back("process " + std::to_string(i) + " " + how + ":" + notes_of(i));
    }
  }

  const Job& job_;
  const std::function<void(Rank&)>& function_;
  const int processes_;
  TemporaryDirectory directory_;
  std::string store_;
  SharedBlock* shared_ = nullptr;
  std::vector<pid_t> children_;
};

}  // namespace

namespace {
std::mutex reporting;  // a rank may have several threads
}

void Rank::note(const std::string& text) {
  const std::lock_guard lock(reporting);
  std::snprintf(shared_.notes[rank_], SharedBlock::kNoteBytes, "%s", text.c_str());
}

void Rank::fail(const std::string& text) {
  const std::lock_guard lock(reporting);
  if (++failures_ > kFailuresPerRank) return;
  std::string line = "rank " + std::to_string(rank_) + ": " + text + " [" + shared_.notes[rank_] + "]";
  std::replace(line.begin(), line.end(), '\n', ' ');
  if (line.size() > 3000) line.resize(3000);
  line += '\n';
  if (write(pipe_, line.data(), line.size()) < 0) std::perror("pipe of a rank");
}

bool Rank::expect(tutti_status expected, tutti_status got, const std::string& what) {
  if (got == expected) return true;
  std::string text = what + " gave " + tutti_status_name(got) + ", expected " + tutti_status_name(expected);
  if (got != TUTTI_OK) text += std::string(": ") + tutti_last_error();
  fail(text);
  return false;
}

void Rank::expect_text(const std::string& text, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts)
    check(text.find(part) != std::string::npos, "\"" + part + "\" is not in the sentence \"" + text + "\"");
}

tutti_status Rank::try_create(tutti_comm** comm, const std::string& name, const std::string& settings,
                              std::int64_t timeout_ns) {
  const std::string all = job_.settings + " " + settings;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.name = name.c_str();
  options.settings = all.c_str();
  options.timeout_ns = timeout_ns;
  return tutti_comm_create_from_store(comm, job_.ranks, rank_, store_.c_str(), &options);
}

tutti_comm* Rank::create_of(int size) {
  tutti_comm* comm = nullptr;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = job().settings.c_str();
  ok(tutti_comm_create_from_store(&comm, size, rank(), store().c_str(), &options), "the creation of the first");
  return comm;
}

tutti_status Rank::try_join(tutti_comm** comm) {
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = job().settings.c_str();
  return tutti_comm_join(comm, store().c_str(), &options);
}

tutti_comm* Rank::join() {
  tutti_comm* comm = nullptr;
  ok(try_join(&comm), "join");
  return comm;
}

tutti_comm* Rank::create(const std::string& name, const std::string& settings) {
  tutti_comm* comm = nullptr;
  note("creates " + name);
  ok(try_create(&comm, name, settings), "the creation of " + name);
  return comm;
}

void Rank::meet(int ranks) {
  // Every rank that meets counts up; `met_` meetings of the same ranks came before.
  const int all = ranks > 0 ? ranks : job_.ranks;
  const std::int64_t target = ++met_ * all;
  shared_.meetings.fetch_add(1);
  const auto end = Clock::now() + job_.limit * patience();
  while (shared_.meetings.load() < target) {
    if (Clock::now() > end) return fail("the others did not come to a meeting of the test");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::string Outcome::text() const {
  std::string text;
  for (const std::string& failure : failures) text += failure + "\n";
  return text;
}

Outcome run_job(const Job& job, const std::function<void(Rank&)>& function, const std::vector<int>& doomed) {
  return Runner(job, function).run(doomed);
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "tutti-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::bad_alloc();
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  int port = 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0)
    port = ntohs(address.sin_port);
  close(fd);
  return port;
}

bool runs_long() {
  const char* text = std::getenv("TUTTI_TEST_LONG");
  return text != nullptr && std::strcmp(text, "1") == 0;
}

int patience() { return tutti::kIsSanitized ? 5 : 1; }

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* text = std::getenv("TUTTI_TEST_SEED");
    const std::uint64_t chosen = text != nullptr ? std::strtoull(text, nullptr, 10) : 20261121;
    std::printf("seed %llu; replay with TUTTI_TEST_SEED=%llu\n", static_cast<unsigned long long>(chosen),
                static_cast<unsigned long long>(chosen));
    std::fflush(stdout);
    return chosen;
  }();
  return value;
}

int open_descriptors() {
  int count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (directory != nullptr && readdir(directory) != nullptr) ++count;
  if (directory != nullptr) closedir(directory);
  return count;
}

std::int64_t memory_in_use() {
  if (__sanitizer_get_current_allocated_bytes != nullptr)
    return static_cast<std::int64_t>(__sanitizer_get_current_allocated_bytes());
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  in >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace tutti_test
