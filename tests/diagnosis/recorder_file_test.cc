// When the recorder's file is made, kept and removed: orderly and violent ends, full filesystems, old files.
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>

#include "src/diagnosis/recorder_directory.h"
#include "tests/diagnosis/recorder_fixture.h"

namespace tutti {
namespace {

constexpr int kSkipped = 77;

// Runs `body` in a forked child and returns its exit status, -1 if a signal ended it.
int in_child(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(RecorderTest, AnOrderlyEndRemovesTheFile) {
  {
    const auto recorder = open();
    recorder->end_operation(recorder->begin_operation(all_reduce(1), at(2)), Code::ok, Status::kNobody, at(3));
    EXPECT_TRUE(std::filesystem::exists(recorder->path()));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(RecorderTest, AnErrorKeepsTheFile) {
  std::string path;
  {
    const auto recorder = open();
    path = recorder->path();
    recorder->end_operation(recorder->begin_operation(all_reduce(1), at(2)), Code::timeout, 4, at(3));
  }
  const RecorderSnapshot snapshot = read(path);
  EXPECT_TRUE(snapshot.closed);
  EXPECT_FALSE(snapshot.alive);
  ASSERT_EQ(snapshot.operations.size(), 1u);
  EXPECT_EQ(snapshot.operations[0].culprit, 4);
}

TEST_F(RecorderTest, AForkedChildThatEndsLeavesItsParentsFile) {
  auto recorder = open();
  EXPECT_EQ(in_child([&] {
              recorder.reset();
              return 0;
            }),
            0);
  EXPECT_TRUE(std::filesystem::exists(recorder->path()));
}

TEST_F(RecorderTest, TheFileIsPrivateAndFullyReserved) {
  const auto recorder = open();
  struct stat info;
  ASSERT_EQ(stat(recorder->path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_GE(info.st_blocks * 512, info.st_size);
}

TEST_F(RecorderTest, AKilledProcessLeavesWhatItWasDoing) {
  // Given a process in the middle of an operation
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto recorder = open();
    const auto operation = recorder->begin_operation(all_reduce(77), at(2000));
    recorder->begin_peer(operation, {3, 0, Direction::receive, 0, 64}, at(2000));
    if (write(ready[1], "x", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::vector<std::string> files = find_recorders(directory_);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_TRUE(read(files[0]).alive);

  // When it is killed
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);

  // Then its file says so, and what was pending
  const RecorderSnapshot snapshot = read(files[0]);
  EXPECT_FALSE(snapshot.alive);
  EXPECT_FALSE(snapshot.closed);
  EXPECT_EQ(snapshot.pid, static_cast<std::uint32_t>(child));
  ASSERT_EQ(snapshot.operations.size(), 1u);
  EXPECT_EQ(snapshot.operations[0].number, 77u);
  ASSERT_EQ(snapshot.operations[0].peers.size(), 1u);
  EXPECT_EQ(snapshot.operations[0].peers[0].rank, 3);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(RecorderTest, AReaderInAnotherProcessSeesABusyWriterUntilItIsKilled) {
  const pid_t child = fork();
  if (child == 0) {
    const auto recorder = open();
    for (std::uint64_t i = 1;; ++i) {
      const auto operation = recorder->begin_operation(all_reduce(i), at(static_cast<std::int64_t>(i)));
      recorder->end_operation(operation, Code::ok, Status::kNobody, at(static_cast<std::int64_t>(i)));
    }
  }
  std::vector<std::string> files;
  std::uint64_t newest = 0;
  for (int reads = 0; reads < 100;) {
    files = find_recorders(directory_);
    auto snapshot = files.empty() ? Result<RecorderSnapshot>(Status(Code::again, "")) : read_recorder(files[0]);
    if (!snapshot || snapshot->operations.empty()) continue;
    for (const OperationRecord& operation : snapshot->operations) {
      ASSERT_EQ(operation.count, operation.number * 3);
      ASSERT_EQ(operation.posted_ns, static_cast<std::int64_t>(operation.number));
    }
    EXPECT_GE(snapshot->operations.back().number, newest);
    newest = snapshot->operations.back().number;
    ++reads;
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_GE(read(files[0]).operations.back().number, newest);
}

TEST_F(RecorderTest, AFileSizeLimitIsAWarningAndNoSignal) {
  const int status = in_child([&] {
    const rlimit limit{100'000, 100'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    RecorderOptions large = options();
    large.operations = 4096;
    const auto recorder = open(large);
    recorder->end_operation(recorder->begin_operation(all_reduce(1), at(2)), Code::ok, Status::kNobody, at(3));
    const bool good = recorder->path().empty() && warnings_.size() == 1 && contains(warnings_[0], "EFBIG") &&
                      contains(warnings_[0], "no flight recorder") && std::filesystem::is_empty(directory_);
    return good ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(RecorderTest, AFullFilesystemMakesItGoToTheNextDirectory) {
  // In a mount namespace of its own, with a filesystem too small for the file.
  const int status = in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return kSkipped;
    if (mount("tmpfs", directory_.c_str(), "tmpfs", 0, "size=64k") != 0) return kSkipped;
    if (mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=16m") != 0) return kSkipped;
    const auto recorder = open();
    return recorder->path().starts_with("/dev/shm/tutti-") && warnings_.size() == 1 &&
                   contains(warnings_[0], "ENOSPC") && contains(warnings_[0], recorder->path())
               ? 0
               : 1;
  });
  if (status == kSkipped) GTEST_SKIP() << "mounting is not allowed here";
  EXPECT_EQ(status, 0);
}

TEST_F(RecorderTest, AFilesystemThatFillsUpLaterDoesNotDisturbTheRecorder) {
  const int status = in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return kSkipped;
    if (mount("tmpfs", directory_.c_str(), "tmpfs", 0, "size=512k") != 0) return kSkipped;
    const auto recorder = open();
    if (!recorder->path().starts_with(directory_)) return 1;
    std::ofstream(directory_ + "/filler") << std::string(1 << 20, 'x');  // takes what is left
    for (std::uint64_t i = 0; i < 1000; ++i) {
      recorder->begin_peer(recorder->begin_operation(all_reduce(i), at(2)), {}, at(2));
    }
    return 0;
  });
  if (status == kSkipped) GTEST_SKIP() << "mounting is not allowed here";
  EXPECT_EQ(status, 0);
}

TEST_F(RecorderTest, APrivateDirectoryOfSomebodyElseIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to give a directory away";
  ASSERT_EQ(chown(directory_.c_str(), 65534, 65534), 0);
  const auto directory = RecorderDirectory::open(directory_, true);
  ASSERT_FALSE(directory.is_ok());
  EXPECT_TRUE(contains(directory.status().text(), "belongs to user 65534")) << directory.status().text();
  EXPECT_TRUE(RecorderDirectory::open(directory_, false).is_ok());
}

TEST_F(RecorderTest, APrivateDirectoryMayNotBeALinkAndIsClosedToOthers) {
  const std::string link = directory_ + "/link";
  std::filesystem::create_directory(directory_ + "/real");
  std::filesystem::create_directory_symlink(directory_ + "/real", link);
  EXPECT_FALSE(RecorderDirectory::open(link, true).is_ok());
  ASSERT_EQ(chmod((directory_ + "/real").c_str(), 0777), 0);
  EXPECT_TRUE(RecorderDirectory::open(directory_ + "/real", true).is_ok());
  struct stat info;
  ASSERT_EQ(stat((directory_ + "/real").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

class PruneTest : public RecorderTest {
 protected:
  static constexpr std::int64_t kSecond = 1'000'000'000;
  static constexpr std::int64_t kHour = 3600 * kSecond;

  // A file of a dead process, last seen so long before `now_ns_`.
  std::string make_dead(int pid, std::int64_t age_ns) {
    ProcessId process;
    process.high = static_cast<std::uint64_t>(pid) << 32;
    const std::string path = directory_ + "/" + recorder_file_name(static_cast<std::uint32_t>(pid), process);
    std::ofstream(path) << "x";
    const std::int64_t when_ns = now_ns_ - age_ns;
    const timespec times[2] = {{when_ns / kSecond, when_ns % kSecond}, {when_ns / kSecond, when_ns % kSecond}};
    EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
    return path;
  }

  void prune() {
    const auto directory = RecorderDirectory::open(directory_, false);
    ASSERT_TRUE(directory.is_ok());
    directory->prune(now_ns_);
  }

  const std::int64_t now_ns_ = 1'800'000'000ll * kSecond;
};

TEST_F(PruneTest, KeepsTheNewestSixteenOfTheDead) {
  std::vector<std::string> paths;
  for (int i = 1; i <= 20; ++i) paths.push_back(make_dead(i, i * kHour / 2));
  prune();
  for (std::size_t i = 0; i < paths.size(); ++i) EXPECT_EQ(std::filesystem::exists(paths[i]), i < 16) << i;
}

TEST_F(PruneTest, RemovesWhatIsOlderThanADay) {
  const std::string old = make_dead(1, 25 * kHour);
  const std::string recent = make_dead(2, 23 * kHour);
  prune();
  EXPECT_FALSE(std::filesystem::exists(old));
  EXPECT_TRUE(std::filesystem::exists(recent));
}

TEST_F(PruneTest, NeverTouchesTheLivingTheNewAndOtherNames) {
  const std::string living = make_dead(1, 100 * kHour);
  const int fd = ::open(living.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  std::vector<std::string> young;
  for (int i = 10; i < 40; ++i) young.push_back(make_dead(i, 30 * kSecond));
  const std::string other = directory_ + "/recorder-1-00000000.tutti.copy";
  std::filesystem::copy(living, other);
  std::filesystem::create_directory(directory_ + "/recorder-99-00000000.tutti");
  prune();
  EXPECT_TRUE(std::filesystem::exists(living));
  EXPECT_TRUE(std::filesystem::exists(other));
  for (const std::string& path : young) EXPECT_TRUE(std::filesystem::exists(path)) << path;
  close(fd);
}

TEST_F(PruneTest, LeavesFilesOfOtherUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to give a file away";
  const std::string path = make_dead(1, 100 * kHour);
  ASSERT_EQ(chown(path.c_str(), 65534, 65534), 0);
  prune();
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(PruneTest, ARecordThatRanForDaysAndDiedTodayIsKept) {
  // Given a file made four days ago whose process wrote to it until an hour ago
  const std::string path = make_dead(5, 96 * kHour);
  RecorderHeader header{};
  header.magic = kRecorderMagic;
  header.started_utc_ns = now_ns_ - 96 * kHour;
  header.started_ns = 50;
  header.heartbeat_ns = 50 + 95 * kHour;
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&header), sizeof header);
  const timespec times[2] = {{(now_ns_ - 96 * kHour) / kSecond, 0}, {(now_ns_ - 96 * kHour) / kSecond, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  prune();
  EXPECT_TRUE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace tutti
