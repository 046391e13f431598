// The command line of tutti-limits.
#include "perf/limits/options.h"

#include <gtest/gtest.h>

namespace tutti_limits {
namespace {

Parsed parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tutti-limits");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

void expect_refused(const std::vector<const char*>& arguments, const std::string& sentence) {
  const Parsed parsed = parse(arguments);
  EXPECT_TRUE(parsed.done);
  EXPECT_EQ(parsed.exit_status, kExitUsage);
  EXPECT_NE(parsed.text.find(sentence), std::string::npos) << parsed.text;
}

TEST(LimitsOptions, WithoutAnyTheSweepOfThePeersIsBounded) {
  const Parsed parsed = parse({});
  ASSERT_FALSE(parsed.done) << parsed.text;
  EXPECT_EQ(parsed.options.repetitions, 5);
  EXPECT_EQ(parsed.options.ranks, (std::vector<int>{2, 4, 8}));
  EXPECT_EQ(parsed.options.sizes, (std::vector<std::uint64_t>{8, 1024, 65536, 1 << 20, 16 << 20, 128 << 20}));
}

TEST(LimitsOptions, SizesHaveUnitsAndALinkHasAPort) {
  const Parsed parsed = parse({"--sizes", "8,2k,3M,1G", "--ranks", "3", "--link", "10.0.0.2:5300", "--quick"});
  ASSERT_FALSE(parsed.done) << parsed.text;
  EXPECT_EQ(parsed.options.sizes, (std::vector<std::uint64_t>{8, 2048, 3 << 20, 1 << 30}));
  EXPECT_EQ(parsed.options.ranks, std::vector<int>{3});
  EXPECT_EQ(parsed.options.link_host, "10.0.0.2");
  EXPECT_EQ(parsed.options.link_port, 5300);
  EXPECT_TRUE(parsed.options.quick);
}

TEST(LimitsOptions, HelpIsNoError) {
  const Parsed parsed = parse({"--help"});
  EXPECT_TRUE(parsed.done);
  EXPECT_EQ(parsed.exit_status, 0);
  EXPECT_NE(parsed.text.find("--link"), std::string::npos);
}

TEST(LimitsOptions, ErrorsNameTheOptionAndWhatWasExpected) {
  expect_refused({"--sizes", "8,4x"}, "--sizes has \"4x\"; expected bytes");
  expect_refused({"--sizes", "0"}, "--sizes has \"0\"");
  expect_refused({"--sizes", "99999999999999999999G"}, "--sizes has");
  expect_refused({"--ranks", "2,1"}, "--ranks has \"1\"; expected numbers from 2");
  expect_refused({"--ranks", "2k"}, "--ranks has \"2k\"");
  expect_refused({"--link", "host"}, "--link is \"host\"; expected HOST:PORT");
  expect_refused({"--link", "host:70000"}, "expected HOST:PORT");
  expect_refused({"--link", ":5201"}, "expected HOST:PORT");
  expect_refused({"--repetitions", "4"}, "--repetitions");
  expect_refused({"--no-such"}, "--no-such");
}

}  // namespace
}  // namespace tutti_limits
