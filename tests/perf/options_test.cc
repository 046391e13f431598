// The command line: what is understood, and which sentence answers what is not.
#include "perf/tutti-perf/options.h"

#include <gtest/gtest.h>

namespace tutti_perf {
namespace {

Parsed parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tutti-perf");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

void expect_refused(const std::vector<const char*>& arguments, const std::string& sentence) {
  const Parsed parsed = parse(arguments);
  EXPECT_TRUE(parsed.done);
  EXPECT_EQ(parsed.exit_status, kExitUsage);
  EXPECT_NE(parsed.text.find(sentence), std::string::npos) << parsed.text;
}

TEST(Options, TheHabitsOfNcclTestsAreUnderstood) {
  const Parsed parsed = parse({"all_reduce", "-b",    "8",  "-e",  "128M", "-f", "4",  "-w", "3",  "-n", "7",
                               "-d",         "uint8", "-o", "max", "-r",   "2",  "-c", "0",  "-a", "3"});
  ASSERT_FALSE(parsed.done) << parsed.text;
  const Options& o = parsed.options;
  EXPECT_EQ(o.kinds, std::vector{Kind::all_reduce});
  EXPECT_EQ(o.sweep.begin, 8u);
  EXPECT_EQ(o.sweep.end, 128u << 20);
  EXPECT_EQ(o.sweep.factor, 4);
  EXPECT_EQ(o.warmups, 3);
  EXPECT_EQ(o.iterations, 7);
  EXPECT_EQ(o.types, std::vector{TUTTI_UINT8});
  EXPECT_EQ(o.ops, std::vector{TUTTI_MAX});
  EXPECT_EQ(o.root, 2);
  EXPECT_FALSE(o.check);
  EXPECT_EQ(o.across, Across::maximum);
}

TEST(Options, AllStandsForAll) {
  const Parsed parsed = parse({"all", "-d", "all", "-o", "all"});
  ASSERT_FALSE(parsed.done) << parsed.text;
  EXPECT_EQ(parsed.options.kinds,
            (std::vector{Kind::all_reduce, Kind::all_gather, Kind::reduce_scatter, Kind::all_to_all}));
  EXPECT_EQ(parsed.options.types.size(), 14u);
  EXPECT_EQ(parsed.options.ops.size(), 11u);
}

TEST(Options, ListsHaveCommas) {
  const Parsed parsed = parse({"broadcast,gather_v", "-d", "int8,float64"});
  ASSERT_FALSE(parsed.done) << parsed.text;
  EXPECT_EQ(parsed.options.kinds, (std::vector{Kind::broadcast, Kind::gather_v}));
  EXPECT_EQ(parsed.options.types, (std::vector{TUTTI_INT8, TUTTI_FLOAT64}));
}

TEST(Options, WhatIsWrongIsNamed) {
  expect_refused({}, "collective is required");
  expect_refused({"all_reduse"}, "all_reduse is no collective; there are all_reduce");
  expect_refused({"all_reduce", "-b", "4x"}, "-b is \"4x\"; expected bytes such as 65536, 64k or 4M");
  expect_refused({"all_reduce", "-b", "0"}, "-b is 0");
  expect_refused({"all_reduce", "-b", "2M", "-e", "1M"}, "-b 2M is more than -e 1M");
  expect_refused({"all_reduce", "-f", "1"}, "-f is 1; it must be more than 1");
  expect_refused({"all_reduce", "-i", "0"}, "-i is 0");
  expect_refused({"all_reduce", "-i", "8", "-f", "2"}, "excludes");
  expect_refused({"all_reduce", "-d", "float33"}, "float33 is no element type; there are int8, uint8");
  expect_refused({"all_reduce", "-o", "mean"}, "mean is no reduction; there are sum, product");
  expect_refused({"all_reduce", "-n", "0"}, "--iterations: Value 0 not in range 1 to");
  expect_refused({"all_reduce", "-n", "many"}, "many");
  expect_refused({"all_reduce", "-c", "2"}, "-c");
  expect_refused({"all_reduce", "--memory", "gpu"}, "gpu");
  expect_refused({"all_reduce", "--plot", "out.txt"}, "must end in .svg, .png or .pdf");
  expect_refused({"reduce", "--launch", "2", "-r", "2"}, "-r is 2, but --launch 2 makes ranks 0 to 1");
  expect_refused({"all_reduce", "--launch", "0"}, "--launch");
  expect_refused({"all_reduce", "--latency", "--in-flight", "4"}, "does not go with --in-flight");
  expect_refused({"all_reduce", "--no-such"}, "--no-such");
}

TEST(Options, HelpIsNoError) {
  const Parsed parsed = parse({"--help"});
  EXPECT_TRUE(parsed.done);
  EXPECT_EQ(parsed.exit_status, 0);
  EXPECT_NE(parsed.text.find("--launch"), std::string::npos);
}

TEST(Options, ALaunchedRankGetsTheCommandLineWithoutLaunch) {
  const char* argv[] = {"tutti-perf", "all_reduce", "--launch", "4", "-b", "8", "--launch=2"};
  EXPECT_EQ(arguments_of_rank(7, argv), (std::vector<std::string>{"tutti-perf", "all_reduce", "-b", "8"}));
}

}  // namespace
}  // namespace tutti_perf
