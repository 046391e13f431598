// The programs themselves: real processes, real exit statuses.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "perf/tutti-perf/launch.h"

namespace tutti_perf {
namespace {

struct Ended {
  int exit_status = -1;
  std::string output;  // standard output and standard error
};

Ended run(const std::string& command) {
  Ended ended;
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return ended;
  std::array<char, 4096> block;
  for (std::size_t got = 0; (got = std::fread(block.data(), 1, block.size(), pipe)) > 0;)
    ended.output.append(block.data(), got);
  const int status = pclose(pipe);
  ended.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

const std::string kPerf = TUTTI_PERF;
const std::string kRecorder = TUTTI_RECORDER;

void expect_text(const Ended& ended, const std::string& text) {
  EXPECT_NE(ended.output.find(text), std::string::npos) << "missing: " << text << "\nin: " << ended.output;
}

TEST(PerfTool, BadArgumentsGiveExitStatus2AndASentence) {
  const Ended ended = run(kPerf + " all_reduce -b 4x");
  EXPECT_EQ(ended.exit_status, 2);
  expect_text(ended, "-b is \"4x\"; expected bytes");
}

TEST(PerfTool, ChecksEveryCollectiveOnThreeRanks) {
  const Ended ended = run(kPerf +
                          " all_reduce,reduce,broadcast,all_gather,reduce_scatter,all_to_all,gather,scatter,barrier,"
                          "send_receive,all_gather_v,reduce_scatter_v,all_to_all_v,gather_v,scatter_v "
                          "--launch 3 -b 64 -e 256k -f 64 -n 3 -w 1 -r 1");
  EXPECT_EQ(ended.exit_status, 0) << ended.output;
  expect_text(ended, "# wrong elements: 0");
  expect_text(ended, "# scatter_v");
}

TEST(PerfTool, ChecksEveryTypeAndReduction) {
  const Ended ended = run(kPerf + " all_reduce --launch 2 -b 4k -e 4k -n 1 -w 0 -d all -o all --memory malloc");
  EXPECT_EQ(ended.exit_status, 0) << ended.output;
  expect_text(ended, "# wrong elements: 0");
  expect_text(ended, "float8_e5m2");
  expect_text(ended, "premultiplied_sum");
}

TEST(PerfTool, WritesATraceOfEveryRankAndSaysWhoWaitedForWhom) {
  const std::string path = std::filesystem::temp_directory_path() / ("tutti-trace-" + std::to_string(getpid()));
  const Ended ended = run(kPerf + " all_reduce --launch 3 -b 1M -e 1M -n 2 -w 1 --trace " + path);
  EXPECT_EQ(ended.exit_status, 0) << ended.output;
  for (const char* const rank :
       {"# rank 0: all_reduce 1 MiB", "# rank 1: all_reduce 1 MiB", "# rank 2: all_reduce 1 MiB"})
    expect_text(ended, rank);
  std::ifstream in(path);
  const nlohmann::json trace = nlohmann::json::parse(in, nullptr, false);
  ASSERT_TRUE(trace.is_object() && trace["traceEvents"].is_array());
  std::array<int, 3> operations{};
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] == "X" && event["name"] == "all_reduce 1 MiB") ++operations[event["pid"].get<std::size_t>()];
  }
  EXPECT_GE(operations[0], 3);
  EXPECT_EQ(operations[0], operations[1]);
  EXPECT_EQ(operations[0], operations[2]);
  std::filesystem::remove(path);
  expect_text(run("TUTTI_RECORDER=off " + kPerf + " all_reduce --launch 2 -b 8 -e 8 -n 1 --trace " + path),
              "--trace needs the flight recorder's file");
}

TEST(PerfTool, WritesJson) {
  const Ended ended = run(kPerf + " all_gather --launch 2 -b 1k -e 4k -n 2 -w 1 --latency --json -");
  ASSERT_EQ(ended.exit_status, 0) << ended.output;
  const auto results = nlohmann::json::parse(ended.output, nullptr, false);
  ASSERT_FALSE(results.is_discarded()) << ended.output;
  EXPECT_EQ(results["ranks"], 2);
  ASSERT_EQ(results["results"].size(), 3u);
  EXPECT_EQ(results["results"][2]["size"], 4096);
  EXPECT_GT(results["results"][2]["out_of_place"]["time_us"], 0);
  EXPECT_EQ(results["results"][2]["out_of_place"]["wrong"], 0);
  EXPECT_LE(results["results"][2]["out_of_place"]["latency_us"]["min"],
            results["results"][2]["out_of_place"]["latency_us"]["max"]);
}

TEST(PerfTool, KeepsManyOperationsInFlight) {
  const Ended ended = run(kPerf + " all_reduce,send_receive --launch 2 -b 1k -e 64k -f 8 -n 20 -w 2 --in-flight 4");
  EXPECT_EQ(ended.exit_status, 0) << ended.output;
  expect_text(ended, "# wrong elements: 0");
}

TEST(PerfTool, ExplainsItsChoice) {
  const Ended ended = run(kPerf + " all_reduce --launch 2 -b 1M -e 1M -n 1 -w 0 --explain");
  EXPECT_EQ(ended.exit_status, 0) << ended.output;
  expect_text(ended, "#   ");
}

TEST(PerfTool, ARootThatIsNoRankIsRefusedByAllRanks) {
  std::string store = (std::filesystem::temp_directory_path() / "tutti-perf-test-XXXXXX").string();
  ASSERT_NE(mkdtemp(store.data()), nullptr);
  const Ended ended =
      run("TUTTI_RANK=0 TUTTI_SIZE=1 TUTTI_STORE=file://" + store + " " + kPerf + " reduce -r 1 -b 8 -e 8");
  std::filesystem::remove_all(store);
  EXPECT_EQ(ended.exit_status, 2) << ended.output;
  expect_text(ended, "-r is 1, but there are 1 ranks");
}

// The pid of some rank of a launched run, found by its output ("# rank R on HOST pid PID").
pid_t pid_of_rank(const std::string& output, int rank) {
  const std::string before = "# rank " + std::to_string(rank) + " on ";
  const std::size_t line = output.find(before);
  const std::size_t pid = output.find(" pid ", line);
  return line == std::string::npos || pid == std::string::npos ? 0 : std::atoi(output.c_str() + pid + 5);
}

TEST(PerfTool, ARankThatIsKilledEndsTheRunAndIsNamed) {
  // Given a run that would take very long
  std::string name = (std::filesystem::temp_directory_path() / "tutti-perf-test-XXXXXX").string();
  const std::filesystem::path directory = mkdtemp(name.data());
  const std::string file = (directory / "out").string();
  std::thread runner;
  Ended ended;
  runner =
      std::thread([&] { ended = run(kPerf + " all_reduce --launch 3 -b 1k -e 1k -n 1000000000 -w 0 > " + file); });

  // When one rank is killed
  pid_t victim = 0;
  for (int tries = 0; tries < 2000 && victim == 0; ++tries) {
    std::ifstream stream(file);
    victim = pid_of_rank(std::string(std::istreambuf_iterator<char>(stream), {}), 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (victim != 0) kill(victim, SIGKILL);
  runner.join();

  // Then the run ends, with an exit status and a sentence
  ASSERT_NE(victim, 0) << ended.output;
  EXPECT_EQ(ended.exit_status, 1);
  std::ifstream stream(file);
  ended.output += std::string(std::istreambuf_iterator<char>(stream), {});
  std::filesystem::remove_all(directory);
  expect_text(ended, "rank 1 (pid " + std::to_string(victim) + ") was killed by signal 9");
}

TEST(PerfTool, EndsAreDescribed) {
  EXPECT_EQ(how_it_ended(9), "was killed by signal 9 (Killed)");
  EXPECT_EQ(how_it_ended(3 << 8), "ended with exit status 3");
}

TEST(RecorderTool, BadArgumentsGiveExitStatus2AndASentence) {
  EXPECT_EQ(run(kRecorder).exit_status, 2);
  EXPECT_EQ(run(kRecorder + " --nonsense").exit_status, 2);
  expect_text(run(kRecorder), "name a recorder file or a process id");
}

TEST(RecorderTool, AProcessWithoutARecordIsNotFound) {
  const Ended ended = run(kRecorder + " 999999999");
  EXPECT_EQ(ended.exit_status, 1);
  expect_text(ended, "no recorder file of process 999999999");
}

TEST(RecorderTool, AFileThatIsNoRecordIsRefused) {
  const Ended ended = run(kRecorder + " " + kRecorder);
  EXPECT_EQ(ended.exit_status, 1);
  expect_text(ended, "does not begin with TUTTIREC");
}

}  // namespace
}  // namespace tutti_perf
