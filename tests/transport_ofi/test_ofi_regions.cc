// The shared memory of libfabric's provider shm: what other processes have left behind is no obstacle, and does not
// stay. Everything happens in children, since libfabric keeps what it has until its process ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/format.h"
#include "tests/transport_ofi/node.h"
#include "transports/ofi/regions.h"

namespace tutti::ofi {
namespace {

constexpr const char* kFolder = "/dev/shm/";

std::string file_of(const Node& node) {
  const auto address = node.port->address().subspan(sizeof(std::uint64_t));
  const std::string name(reinterpret_cast<const char*>(address.data()));
  return kFolder + name.substr(name.rfind('/') + 1);
}

bool is_there(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void make_old(const std::string& path) {
  const timespec long_ago{.tv_sec = time(nullptr) - 2 * kUnlockedLimit.count(), .tv_nsec = 0};
  const timespec times[] = {long_ago, long_ago};
  EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0) << path;
}

// Whether all expectations of `what` held.
bool holds_in_a_child(const std::function<void()>& what) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      what();
    } catch (...) {
      std::exit(1);  // and not with the tests that are left
    }
    std::exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A process with an endpoint, until it is told to end or killed.
class Holder {
 public:
  Holder() {
    int to_child[2];
    int from_child[2];
    EXPECT_EQ(pipe2(to_child, O_CLOEXEC) + pipe2(from_child, O_CLOEXEC), 0);
    child_ = fork();
    if (child_ == 0) {
      close(to_child[1]);
      hold(to_child[0], from_child[1]);
    }
    close(to_child[0]);
    close(from_child[1]);
    control_ = to_child[1];
    char bytes[256];
    const ssize_t count = read(from_child[0], bytes, sizeof bytes);
    if (count > 0) file_.assign(bytes, static_cast<std::size_t>(count));
    close(from_child[0]);
  }
  ~Holder() {
    kill();
    close(control_);
    unlink(file_.c_str());
  }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = 0;
  }
  // Returns its exit status.
  int end() {
    EXPECT_EQ(write(control_, "", 1), 1);
    int status = -1;
    waitpid(std::exchange(child_, 0), &status, 0);
    return WEXITSTATUS(status);
  }
  const std::string& file() const { return file_; }

 private:
  // When it is told to end, it first has a child that ends.
  [[noreturn]] static void hold(int from, int to) {
    const Node node("shm");
    const std::string file = file_of(node);
    char byte = 0;
    if (write(to, file.data(), file.size()) < 0 || read(from, &byte, 1) != 1) std::exit(2);
    const bool is_harmless = holds_in_a_child([] {}) && is_there(file);
    std::exit(is_harmless ? 0 : 3);
  }

  pid_t child_ = 0;
  int control_ = -1;
  std::string file_;
};

TEST(OfiRegions, WhatAProcessOfTheSameNumberHasLeftIsNoObstacle) {
  EXPECT_TRUE(holds_in_a_child([] {
    // The names that libfabric would choose, and files that it did not write.
    std::vector<std::string> files;
    for (int i = 0; i < 8; ++i) {
      files.push_back(format("{}{}:{}:{}", kFolder, getpid(), getuid(), i));
      std::ofstream(files.back()) << std::string(4096, '\0');
    }
    Node a("shm");
    Node b("shm");
    const Status met = meet(a, b);
    EXPECT_TRUE(met.is_ok()) << met.text();
    for (const std::string& each : files) unlink(each.c_str());
  }));
}

TEST(OfiRegions, WhatAProcessUsesGoesWithItAndNotWithAChild) {
  Holder holder;
  EXPECT_TRUE(is_there(holder.file())) << holder.file();
  EXPECT_EQ(holder.end(), 0);
  EXPECT_FALSE(is_there(holder.file())) << holder.file();
}

TEST(OfiRegions, WhatAKilledProcessHasLeftIsRemovedAndNothingElse) {
  const Holder living;
  Holder killed;
  Holder just_killed;
  ASSERT_NE(killed.file(), living.file());
  killed.kill();
  just_killed.kill();
  make_old(living.file());
  make_old(killed.file());
  EXPECT_TRUE(is_there(killed.file())) << killed.file();
  // What is shared besides has a name that begins with the endpoint's.
  const std::string its_more = killed.file() + "_17";
  std::ofstream(its_more) << "more";
  make_old(its_more);
  EXPECT_TRUE(holds_in_a_child([] { const Node node("shm"); }));
  EXPECT_TRUE(is_there(living.file())) << living.file();
  EXPECT_TRUE(is_there(just_killed.file())) << "it might be one that is not locked yet";
  EXPECT_FALSE(is_there(killed.file())) << killed.file();
  EXPECT_FALSE(is_there(its_more));
}

}  // namespace
}  // namespace tutti::ofi
