// The command line of tutti-perf, parsed and checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/tutti-perf/collective.h"
#include "perf/tutti-perf/sizes.h"
#include "tutti/tutti.h"

namespace tutti_perf {

enum class Across { rank_0 = 0, average = 1, minimum = 2, maximum = 3 };

struct Options {
  std::vector<Kind> kinds;
  Sweep sweep;
  std::vector<tutti_datatype> types;
  std::vector<tutti_op> ops;
  int root = 0;
  int warmups = 5;
  int iterations = 20;
  bool check = true;
  bool in_place = true;
  Across across = Across::average;
  int in_flight = 1;
  bool latency = false;
  bool explain = false;
  std::string algorithm;   // empty: Tutti chooses
  std::string transports;  // empty: Tutti chooses
  double timeout_s = 0;    // of each operation; 0: TUTTI_TIMEOUT
  bool own_memory = true;  // tutti_mem_alloc; otherwise malloc
  std::string json;        // a file, "-" is standard output
  std::string plot;        // a file ending in .svg, .png or .pdf
  std::string trace;       // a file for chrome://tracing and ui.perfetto.dev
  int launch = 0;          // local ranks to start; 0: rank and size come from the environment
};

struct Parsed {
  Options options;
  bool done = false;  // there is nothing to run: help was asked for, or the command line is wrong
  int exit_status = 0;
  std::string text;  // for standard output if exit_status is 0, else for standard error
};

constexpr int kExitWrong = 1;  // wrong results, or an operation that failed
constexpr int kExitUsage = 2;

Parsed parse_options(int argc, const char* const* argv);

// The command line without --launch, for the processes that --launch starts.
std::vector<std::string> arguments_of_rank(int argc, const char* const* argv);

}  // namespace tutti_perf
