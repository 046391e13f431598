// The program tutti-store, as a process of its own: what it prints, how it ends, and what its clients are told.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "src/membership/stores.h"
#include "tests/membership/child_process.h"
#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

class TuttiStore : public testing::Test {
 protected:
  ~TuttiStore() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<ChildProcess> start(std::vector<std::string> arguments,
                                      const std::vector<std::string>& environment = {"TUTTI_SECRET=secret"}) {
    arguments.insert(arguments.begin(), TUTTI_STORE_PROGRAM);
    return std::make_unique<ChildProcess>(arguments, format("{}/output{}", directory_, ++started_), environment);
  }

  std::unique_ptr<Store> open(const std::string& address, std::string_view secret = "secret") {
    auto store = open_store(address, {std::string(secret)}, later());
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return *std::move(store);
  }

  std::string write_secret(mode_t mode) {
    std::string path = directory_ + "/secret";
    std::ofstream(path) << "from a file\n";
    chmod(path.c_str(), mode);
    return path;
  }

  const std::string directory_ = make_directory();
  int started_ = 0;
};

TEST_F(TuttiStore, PrintsItsAddressFirstAndServesThere) {
  const auto program = start({"--host", "127.0.0.1"});
  const std::string address = program->first_line();
  ASSERT_TRUE(address.starts_with("tcp://127.0.0.1:")) << address;
  const auto one = open(address);
  const auto other = open(address);
  ASSERT_TRUE(one->set("key", "value", later()).is_ok());
  EXPECT_EQ(*other->get("key", later()), "value");
  const Status stranger = open(address, "another")->set("key", "value", later());
  EXPECT_NE(stranger.text().find("TUTTI_SECRET"), std::string::npos) << stranger.text();
}

TEST_F(TuttiStore, EndsWithStatus0OnEitherSignal) {
  for (const int number : {SIGTERM, SIGINT}) {
    const auto program = start({"--host", "127.0.0.1"});
    const auto store = open(program->first_line());
    ASSERT_TRUE(store->set("key", "value", later()).is_ok());
    program->signal(number);
    EXPECT_EQ(program->wait(), 0) << program->output();
  }
}

TEST_F(TuttiStore, TakesTheSecretFromAFileRatherThanTheEnvironment) {
  const auto program = start({"--host", "127.0.0.1", "--secret-file", write_secret(0600)});
  EXPECT_TRUE(open(program->first_line(), "from a file")->set("key", "value", later()).is_ok());
}

TEST_F(TuttiStore, SaysWhenThereIsNoSecret) {
  const auto program = start({"--host", "127.0.0.1"}, {"TUTTI_SECRET="});
  EXPECT_TRUE(open(program->first_line(), "")->set("key", "value", later()).is_ok());
  program->signal(SIGTERM);
  EXPECT_EQ(program->wait(), 0);
  EXPECT_NE(program->output().find("there is no secret (TUTTI_SECRET)"), std::string::npos) << program->output();
}

TEST_F(TuttiStore, RefusesASecretFileThatOthersMayRead) {
  const std::string path = write_secret(0644);
  const auto program = start({"--secret-file", path});
  EXPECT_EQ(program->wait(), 2);
  EXPECT_NE(program->output().find(path), std::string::npos) << program->output();
  EXPECT_NE(program->output().find("chmod 600"), std::string::npos) << program->output();
}

TEST_F(TuttiStore, SaysThatThePortIsTaken) {
  const auto first = start({"--host", "127.0.0.1"});
  const std::string port = first->first_line().substr(std::string("tcp://127.0.0.1:").size());
  const auto second = start({"--host", "127.0.0.1", "--port", port});
  EXPECT_EQ(second->wait(), 1);
  EXPECT_NE(second->output().find("listen at 127.0.0.1:" + port + ": Address already in use (EADDRINUSE, 98)"),
            std::string::npos)
      << second->output();
}

TEST_F(TuttiStore, RefusesArgumentsThatAreNone) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--port", "70000"}, {"--port", "x"}, {"--nonsense"}}) {
    const auto program = start(arguments);
    EXPECT_EQ(program->wait(), 2) << program->output();
  }
}

TEST_F(TuttiStore, KilledItIsLostToThoseWhoWaitAndToThoseWhoCallLater) {
  const auto program = start({"--host", "127.0.0.1"});
  const std::string address = program->first_line();
  const auto store = open(address);
  ASSERT_TRUE(store->set("key", "value", later()).is_ok());
  std::thread waiter([&] {
    const Status status = store->get("never", later()).status();
    EXPECT_EQ(status.code(), Code::peer_lost) << status.text();
    EXPECT_TRUE(status.text().starts_with("store " + address + ": ")) << status.text();
  });
  std::this_thread::sleep_for(50ms);
  program->signal(SIGKILL);
  EXPECT_EQ(program->wait(), -SIGKILL);
  waiter.join();
  const Status status = store->set("key", "value", later());
  EXPECT_EQ(status.code(), Code::peer_lost) << status.text();
  EXPECT_TRUE(status.text().starts_with("store " + address + ": connect to ")) << status.text();
}

}  // namespace
}  // namespace tutti
