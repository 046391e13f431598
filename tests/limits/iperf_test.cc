// What is read of iperf3's report.
#include "perf/limits/iperf.h"

#include <gtest/gtest.h>

namespace tutti_limits {
namespace {

TEST(Iperf, TheRateIsThatOfWhatWasReceived) {
  std::string error;
  const auto rate = received_gbps(R"({"end":{"sum_received":{"bits_per_second":8e9}}})", error);
  ASSERT_TRUE(rate) << error;
  EXPECT_EQ(*rate, 1);
}

TEST(Iperf, ItsOwnWordsArePassedOn) {
  std::string error;
  EXPECT_FALSE(received_gbps(R"({"error":"unable to connect to server: Connection refused"})", error));
  EXPECT_EQ(error, "unable to connect to server: Connection refused");
}

TEST(Iperf, ADamagedReportIsNoRate) {
  for (const char* text :
       {"", "iperf3: command not found", "[1]", "{}", R"({"end":{}})",
        R"({"end":{"sum_received":{"bits_per_second":"x"}}})", R"({"end":{"sum_received":{"bits_per_second":0}}})"}) {
    std::string error;
    EXPECT_FALSE(received_gbps(text, error)) << text;
    EXPECT_FALSE(error.empty()) << text;
  }
}

}  // namespace
}  // namespace tutti_limits
