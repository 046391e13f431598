// tutti-limits itself, with so little time for each figure that the figures mean nothing.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace tutti_limits {
namespace {

struct Ended {
  int exit_status = -1;
  std::string output;
};

Ended run(const std::string& arguments) {
  Ended ended;
  std::FILE* pipe = popen((std::string(TUTTI_LIMITS) + " " + arguments + " 2>&1").c_str(), "r");
  if (!pipe) return ended;
  std::array<char, 4096> block;
  for (std::size_t got = 0; (got = std::fread(block.data(), 1, block.size(), pipe)) > 0;)
    ended.output.append(block.data(), got);
  const int status = pclose(pipe);
  ended.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

// A figure of at least five repetitions in order, or a reason.
void expect_figure(const nlohmann::json& figure, const std::string& where) {
  if (figure.contains("missing")) {
    EXPECT_FALSE(figure["missing"].get<std::string>().empty()) << where;
    return;
  }
  ASSERT_TRUE(figure.contains("median")) << where << figure;
  EXPECT_GE(figure["repetitions"], 5) << where;
  EXPECT_GT(figure["min"], 0) << where;
  EXPECT_LE(figure["min"], figure["median"]) << where;
  EXPECT_LE(figure["median"], figure["max"]) << where;
}

TEST(LimitsTool, WritesEveryFigureAsJson) {
  const Ended ended = run("--quick --ranks 2,4 --sizes 8,1M --json -");
  ASSERT_EQ(ended.exit_status, 0) << ended.output;
  const auto report = nlohmann::json::parse(ended.output, nullptr, false);
  ASSERT_FALSE(report.is_discarded()) << ended.output;
  EXPECT_TRUE(report["quick"].get<bool>());
  EXPECT_GE(report["machine"]["cores"], 1);
  EXPECT_GT(report["machine"]["memory_bytes"], 0);
  const std::size_t threads = report["machine"]["cores"] > 1 ? 2 : 1;
  EXPECT_EQ(report["memory"].size(), 4 * 2 * threads) << "passes, sizes, threads";
  for (const auto& rate : report["memory"]) expect_figure(rate["gbps"], "memory");
  EXPECT_EQ(report["process_vm_readv"].size(), 2u);
  for (const auto& rate : report["process_vm_readv"]) expect_figure(rate["gbps"], "process_vm_readv");
  const std::pair<const char*, std::size_t> groups[] = {
      {"hand_over_us", 4}, {"loopback_us", 3}, {"loopback_gbps", 2}, {"iperf_gbps", 2}};
  for (const auto& [group, count] : groups) {
    EXPECT_EQ(report[group].size(), count) << group;
    for (const auto& [name, figure] : report[group].items()) expect_figure(figure, name);
  }
  EXPECT_EQ(report["bounds"].size(), 2u * 5 * 2 * 2) << "transports, collectives, ranks, sizes";
  for (const auto& bound : report["bounds"]) EXPECT_GT(bound["us"], 0) << bound;
}

TEST(LimitsTool, ALinkWithoutAServerIsSaidAndDoesNotSpoilTheRest) {
  const Ended ended = run("--quick --sizes 1M --ranks 2 --link 127.0.0.1:1");
  ASSERT_EQ(ended.exit_status, 0) << ended.output;
  EXPECT_NE(ended.output.find("iperf3"), std::string::npos) << ended.output;
  EXPECT_NE(ended.output.find("least time in us, shm"), std::string::npos) << ended.output;
  EXPECT_EQ(ended.output.find("least time in us, link"), std::string::npos) << ended.output;
}

TEST(LimitsTool, BadArgumentsGiveExitStatus2AndASentence) {
  const Ended ended = run("--sizes 4x");
  EXPECT_EQ(ended.exit_status, 2);
  EXPECT_NE(ended.output.find("--sizes has \"4x\""), std::string::npos) << ended.output;
}

TEST(LimitsTool, AFileThatCannotBeWrittenIsNamed) {
  const Ended ended = run("--quick --sizes 1M --ranks 2 --json /no/such/folder/limits.json");
  EXPECT_EQ(ended.exit_status, 1);
  EXPECT_NE(ended.output.find("/no/such/folder/limits.json could not be written: No such file or directory (2)"),
            std::string::npos)
      << ended.output;
}

}  // namespace
}  // namespace tutti_limits
