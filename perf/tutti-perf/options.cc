#include "perf/tutti-perf/options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <sstream>

#include "perf/tutti-perf/elements.h"

namespace tutti_perf {

namespace {

constexpr int kLaunchMax = 1024;
constexpr int kTimesMax = 1'000'000'000;

// What CLI11 fills in; Options are made of it.
struct Raw {
  std::string collective;
  std::string begin = "8";
  std::string end = "16M";
  double factor = 2;
  std::string step;
  std::string type = "float32";
  std::string op = "sum";
  int check = 1;
  int across = 1;
  int in_place = 1;
  std::string memory = "tutti";
};

std::string kind_names() {
  std::string names;
  for (std::size_t i = 0; i < kKinds; ++i) names += fmt::format("{} ", traits(static_cast<Kind>(i)).name);
  return names + "all";
}

void declare(CLI::App& app, Raw& raw, Options& options) {
  app.add_option("collective", raw.collective,
                 "One of, or several with commas: " + kind_names() +
                     " (all: all_reduce, all_gather, reduce_scatter, all_to_all)")
      ->required();
  app.add_option("-b,--begin", raw.begin, "Smallest size: bytes, or with k, M, G")->capture_default_str();
  app.add_option("-e,--end", raw.end, "Largest size")->capture_default_str();
  auto* factor =
      app.add_option("-f,--factor", raw.factor, "From one size to the next: times this")->capture_default_str();
  app.add_option("-i,--step", raw.step, "From one size to the next: plus so many bytes")->excludes(factor);
  app.add_option("-w,--warmup", options.warmups, "Operations before the clock starts")
      ->check(CLI::Range(0, kTimesMax))
      ->capture_default_str();
  app.add_option("-n,--iterations", options.iterations, "Operations that are timed")
      ->check(CLI::Range(1, kTimesMax))
      ->capture_default_str();
  app.add_option("-d,--type", raw.type, "Element type such as float32 or uint8, several with commas, or all")
      ->capture_default_str();
  app.add_option("-o,--op", raw.op, "Reduction such as sum or max, several with commas, or all")
      ->capture_default_str();
  app.add_option("-r,--root", options.root, "Root of reduce, broadcast, gather, scatter")
      ->check(CLI::Range(0, kTimesMax))
      ->capture_default_str();
  app.add_option("-c,--check", raw.check, "1: compare every result, bit for bit; 0: do not")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  app.add_option("-a,--across", raw.across, "Time shown: 0 of rank 0, 1 average, 2 minimum, 3 maximum over the ranks")
      ->check(CLI::Range(0, 3))
      ->capture_default_str();
  app.add_option("--in-place", raw.in_place, "1: measure in place too; 0: do not")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  app.add_option("--in-flight", options.in_flight, "Operations started before the first is waited for")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--latency", options.latency,
               "Time each operation: min, p50, p90, p99, max (of the rank where it is worst)");
  app.add_flag("--explain", options.explain, "Say for each size which plan Tutti chose, and why");
  app.add_option("--algorithm", options.algorithm, "Use this algorithm; --explain lists them");
  app.add_option("--transport", options.transports,
                 "Use only these transports, such as shm or tcp (TUTTI_TRANSPORTS)");
  app.add_option("--timeout", options.timeout_s, "Seconds after which an operation gives up; 0: TUTTI_TIMEOUT")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--memory", raw.memory, "Buffers by tutti_mem_alloc or by malloc")
      ->check(CLI::IsMember({"tutti", "malloc"}))
      ->capture_default_str();
  app.add_option("--json", options.json,
                 "Write the results as JSON to this file; - is standard output, instead of the table");
  app.add_option("--plot", options.plot,
                 "Draw bandwidth and time over size into this file (.svg, .png or .pdf; by tutti-plot)");
  app.add_option("--trace", options.trace,
                 "Write where the last operations of every rank spent their time into this file, for "
                 "ui.perfetto.dev or chrome://tracing");
  app.add_option("--launch", options.launch,
                 "Start so many ranks on this host. Otherwise rank and size come from the "
                 "environment (mpirun, srun, torchrun, TUTTI_RANK)")
      ->check(CLI::Range(1, kLaunchMax));
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

// The values that `text` names, "all" or names with commas, by the library's own names. Empty, with a sentence in
// `error`, if a name is none.
template <typename Value>
std::vector<Value> named(const std::string& text, int count, const char* (*name)(Value), std::string_view what,
                         std::string& error) {
  std::vector<Value> values;
  std::string known;
  for (int i = 0; i < count; ++i) known += fmt::format("{}{}", i == 0 ? "" : ", ", name(static_cast<Value>(i)));
  for (const std::string& part : split(text)) {
    const std::size_t before = values.size();
    for (int i = 0; i < count; ++i) {
      if (part == "all" || part == name(static_cast<Value>(i))) values.push_back(static_cast<Value>(i));
    }
    if (values.size() == before) error = fmt::format("{} is no {}; there are {} and all.", part, what, known);
  }
  if (values.empty() && error.empty()) error = fmt::format("There is no {} in \"{}\".", what, text);
  return values;
}

std::string read_kinds(const Raw& raw, Options& options) {
  for (const std::string& part : split(raw.collective)) {
    if (part == "all") {
      options.kinds.insert(options.kinds.end(),
                           {Kind::all_reduce, Kind::all_gather, Kind::reduce_scatter, Kind::all_to_all});
    } else if (const auto kind = kind_named(part)) {
      options.kinds.push_back(*kind);
    } else {
      return fmt::format("{} is no collective; there are {}.", part, kind_names());
    }
  }
  return options.kinds.empty() ? "Name a collective, such as all_reduce." : "";
}

std::string read_sweep(const Raw& raw, Sweep& sweep) {
  const auto read = [](const std::string& text, std::string_view option, std::uint64_t& bytes) -> std::string {
    const auto value = parse_bytes(text);
    if (!value) return fmt::format("{} is \"{}\"; expected bytes such as 65536, 64k or 4M.", option, text);
    bytes = *value;
    return "";
  };
  std::string error = read(raw.begin, "-b", sweep.begin);
  if (error.empty()) error = read(raw.end, "-e", sweep.end);
  if (error.empty() && !raw.step.empty()) error = read(raw.step, "-i", sweep.step);
  if (!error.empty()) return error;
  if (sweep.begin > sweep.end)
    return fmt::format("-b {} is more than -e {}: there is no size between.", raw.begin, raw.end);
  if (sweep.begin == 0) return "-b is 0; the smallest size is 1 byte (barrier has no size).";
  if (!raw.step.empty() && sweep.step == 0) return "-i is 0: the sizes would never end.";
  if (!(raw.factor > 1))
    return fmt::format("-f is {}; it must be more than 1, or the sizes would never end.", raw.factor);
  sweep.factor = raw.factor;
  return "";
}

std::string check_plot(const std::string& plot) {
  for (const std::string_view suffix : {".svg", ".png", ".pdf"}) {
    if (plot.empty() || plot.ends_with(suffix)) return "";
  }
  return fmt::format("--plot is \"{}\"; the name must end in .svg, .png or .pdf.", plot);
}

std::string read_raw(const Raw& raw, Options& options) {
  std::string error = read_kinds(raw, options);
  if (error.empty()) error = read_sweep(raw, options.sweep);
  if (error.empty())
    options.types = named<tutti_datatype>(raw.type, kTypes, tutti_datatype_name, "element type", error);
  if (error.empty()) options.ops = named<tutti_op>(raw.op, kOps, tutti_op_name, "reduction", error);
  if (error.empty()) error = check_plot(options.plot);
  if (error.empty() && options.launch > 0 && options.root >= options.launch) {
    error = fmt::format("-r is {}, but --launch {} makes ranks 0 to {}.", options.root, options.launch,
                        options.launch - 1);
  }
  if (error.empty() && options.latency && options.in_flight > 1) {
    error = "--latency times single operations; it does not go with --in-flight.";
  }
  options.check = raw.check != 0;
  options.in_place = raw.in_place != 0;
  options.across = static_cast<Across>(raw.across);
  options.own_memory = raw.memory == "tutti";
  return error;
}

}  // namespace

Parsed parse_options(int argc, const char* const* argv) {
  Parsed parsed;
  Raw raw;
  CLI::App app("Measures Tutti's collectives, and checks their results, with the habits of nccl-tests.",
               "tutti-perf");
  app.footer("Example: tutti-perf all_reduce --launch 4 -b 8 -e 128M -f 2");
  declare(app, raw, parsed.options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream trouble;
    parsed.done = true;
    parsed.exit_status = app.exit(error, out, trouble) == 0 ? 0 : kExitUsage;
    parsed.text = parsed.exit_status == 0 ? out.str() : "tutti-perf: " + trouble.str();
    return parsed;
  }
  const std::string error = read_raw(raw, parsed.options);
  if (!error.empty()) {
    parsed.done = true;
    parsed.exit_status = kExitUsage;
    parsed.text = fmt::format("tutti-perf: {}\nRun tutti-perf --help for the options.\n", error);
  }
  return parsed;
}

std::vector<std::string> arguments_of_rank(int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  for (int i = 0; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--launch") {
      ++i;
    } else if (!argument.starts_with("--launch=")) {
      arguments.push_back(argument);
    }
  }
  return arguments;
}

}  // namespace tutti_perf
