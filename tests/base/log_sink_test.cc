// The log's two forms, who gets them, and that threads and strangers cannot spoil them.
#include "src/base/log_sink.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

namespace tutti {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

class LogSink : public testing::Test {
 protected:
  LogSink() {
    settings_.log_file = path_ + ".log";
    settings_.events = path_ + ".json";
  }
  ~LogSink() override {
    unlink((path_ + ".log").c_str());
    unlink((path_ + ".json").c_str());
  }

  const std::string path_ = testing::TempDir() + "tutti_log_" + std::to_string(getpid());
  Settings settings_;
};

TEST_F(LogSink, ALineHasTimeHostProcessLevelAreaAndSentence) {
  const auto log = make_log(settings_);
  ASSERT_TRUE(log.is_ok()) << log.status().text();
  log->write(LogLevel::warn, "tcp", "{} carries {} Gbit/s", "eth1", 1.1);
  const auto lines = lines_of(settings_.log_file);
  ASSERT_EQ(lines.size(), 1u);
  int year = 0;
  int micros = 0;
  int pid = 0;
  int end = 0;
  char host[256] = {};
  EXPECT_EQ(std::sscanf(lines[0].c_str(), "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%6dZ %255s %d warn tcp: %n", &year, &micros,
                        host, &pid, &end),
            4)
      << lines[0];
  EXPECT_GE(year, 2026);
  EXPECT_EQ(pid, getpid());
  EXPECT_EQ(lines[0].substr(static_cast<std::size_t>(end)), "eth1 carries 1.1 Gbit/s");
}

TEST_F(LogSink, TheSameEventIsOneJsonObject) {
  const auto log = make_log(settings_);
  ASSERT_TRUE(log.is_ok());
  log->write(LogLevel::error, "store", "quote \" slash \\ line\n tab\t bad {} good {}", "\xff\xc0\xaf", "é");
  const auto lines = lines_of(settings_.events);
  ASSERT_EQ(lines.size(), 1u);
  const std::string expected =
      "\"level\":\"error\",\"area\":\"store\",\"text\":\"quote \\\" slash \\\\ line\\u000a tab\\u0009 bad "
      "\\ufffd\\ufffd\\ufffd good é\"}";
  EXPECT_TRUE(lines[0].starts_with("{\"time\":\"2")) << lines[0];
  EXPECT_TRUE(lines[0].ends_with(expected)) << lines[0];
}

TEST_F(LogSink, LinesBelowTheLevelAreNotWritten) {
  settings_.log = LogLevel::error;
  const auto log = make_log(settings_);
  ASSERT_TRUE(log.is_ok());
  log->write(LogLevel::warn, "tcp", "quiet");
  EXPECT_TRUE(lines_of(settings_.log_file).empty());
}

TEST_F(LogSink, WhatAStrangerSendsCannotForgeALine) {
  const auto log = make_log(settings_);
  ASSERT_TRUE(log.is_ok());
  log->write(LogLevel::warn, "store", "{}", "x\n2026-01-01T00:00:00Z host 1 error tcp: forged\x1b[2J");
  const auto lines = lines_of(settings_.log_file);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("x\\x0a2026"), std::string::npos);
  EXPECT_NE(lines[0].find("\\x1b[2J"), std::string::npos);
}

TEST_F(LogSink, TheHookGetsEveryEvent) {
  std::vector<std::string> heard;
  const LogHook hook{[](void* user, int level, const char* area, const char* text) {
                       static_cast<std::vector<std::string>*>(user)->push_back(std::to_string(level) + area + text);
                     },
                     &heard};
  const auto log = make_log(settings_, hook);
  ASSERT_TRUE(log.is_ok());
  log->write(LogLevel::error, "tcp", "gone");
  EXPECT_EQ(heard, (std::vector<std::string>{"0tcpgone"}));
  EXPECT_EQ(lines_of(settings_.log_file).size(), 1u);
}

TEST_F(LogSink, AFileThatCannotBeOpenedIsNamed) {
  settings_.events = "/nonexistent/events";
  const auto log = make_log(settings_);
  ASSERT_FALSE(log.is_ok());
  EXPECT_EQ(log.status().text(),
            "TUTTI_EVENTS: open /nonexistent/events for appending: No such file or directory (ENOENT, 2)");
}

TEST_F(LogSink, LinesOfManyThreadsDoNotMix) {
  const auto log = make_log(settings_);
  ASSERT_TRUE(log.is_ok());
  constexpr int kThreads = 4;
  constexpr int kLines = 200;
  const std::string body(300, 'x');
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kLines; ++i) log->write(LogLevel::warn, "area", "{}", body);
    });
  }
  for (auto& thread : threads) thread.join();
  const auto lines = lines_of(settings_.log_file);
  ASSERT_EQ(lines.size(), static_cast<std::size_t>(kThreads * kLines));
  for (const auto& line : lines) EXPECT_TRUE(line.ends_with("warn area: " + body)) << line;
}

}  // namespace
}  // namespace tutti
