// The command line of tutti-limits, parsed and checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tutti_limits {

struct Options {
  int repetitions = 5;
  bool quick = false;  // smaller sizes and a few milliseconds a figure: proves that everything works, measures little
  std::vector<int> ranks = {2, 4, 8};  // of the bounds
  std::vector<std::uint64_t> sizes;    // of the bounds, in bytes
  std::string link_host;               // empty: no link is measured
  int link_port = 5201;
  std::string json;  // a file, "-" is standard output instead of the table
};

struct Parsed {
  Options options;
  bool done = false;  // there is nothing to run: help was asked for, or the command line is wrong
  int exit_status = 0;
  std::string text;  // for standard output if exit_status is 0, else for standard error
};

constexpr int kExitWrong = 1;
constexpr int kExitUsage = 2;

Parsed parse_options(int argc, const char* const* argv);

}  // namespace tutti_limits
