// tutti-recorder: shows what a process's flight recorder holds, while the process runs or after it died.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "perf/tutti-recorder/json.h"
#include "src/base/clock.h"
#include "src/base/format.h"
#include "src/diagnosis/recorder_directory.h"
#include "src/diagnosis/recorder_report.h"

namespace tutti {
namespace {

constexpr int kExitNothing = 1;
constexpr int kExitUsage = 2;

struct Options {
  std::string what;
  std::string directory;
  bool all = false;
  bool as_json = false;
  std::size_t last = 20;
};

std::vector<std::string> all_files(const std::string& directory) {
  std::vector<std::string> paths;
  for (const std::string& place : recorder_directories(directory)) {
    const std::vector<std::string> more = find_recorders(place);
    paths.insert(paths.end(), more.begin(), more.end());
  }
  return paths;
}

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string> chosen_files(const Options& options) {
  if (options.all) return all_files(options.directory);
  if (!is_number(options.what)) return {options.what};
  std::vector<std::string> paths;
  for (const std::string& path : all_files(options.directory)) {
    if (path.find("/recorder-" + options.what + "-") != std::string::npos) paths.push_back(path);
  }
  return paths;
}

void print_text(const std::string& path, const RecorderSnapshot& snapshot, std::size_t last) {
  const std::int64_t now_ns = reference_ns(snapshot, monotonic_now().time_since_epoch().count());
  const std::string pending = describe_pending(snapshot, now_ns);
  std::string text = format("{}\n{}\n", path, describe_process(snapshot, now_ns));
  text += snapshot.operations.empty() ? "No operations.\n" : describe_operations(snapshot, last, now_ns);
  if (const std::string lanes = describe_lanes(snapshot, last); !lanes.empty()) text += "\n" + lanes;
  text += pending.empty() ? "\nNothing is pending.\n" : "\n" + pending;
  if (snapshot.entries_torn > 0)
    text += format("\n{} entries were being written and are left out.\n", snapshot.entries_torn);
  std::fputs(text.c_str(), stdout);
}

int show(const Options& options) {
  const std::vector<std::string> paths = chosen_files(options);
  if (paths.empty()) {
    const std::vector<std::string> places = recorder_directories(options.directory);
    std::string where;
    for (const std::string& place : places) where += (where.empty() ? "" : " and ") + place;
    std::fprintf(stderr, "tutti-recorder: no recorder file%s in %s. A process that ends well removes its own.\n",
                 options.all ? "" : (" of process " + options.what).c_str(), where.c_str());
    return kExitNothing;
  }
  int exit_status = 0;
  nlohmann::json records = nlohmann::json::array();
  bool is_first = true;
  for (const std::string& path : paths) {
    const auto snapshot = read_recorder(path);
    if (!snapshot) {
      std::fprintf(stderr, "tutti-recorder: %s\n", snapshot.status().text().c_str());
      exit_status = kExitNothing;
    } else if (options.as_json) {
      records.push_back(to_json(*snapshot, options.last));
      records.back()["path"] = path;
    } else {
      if (!is_first) std::fputs("\n", stdout);
      print_text(path, *snapshot, options.last);
      is_first = false;
    }
  }
  if (options.as_json) std::printf("%s\n", records.dump(2).c_str());
  return exit_status;
}

}  // namespace
}  // namespace tutti

int main(int argc, char** argv) {
  tutti::Options options;
  CLI::App app(
      "Shows the flight record of a process that uses Tutti: its last operations, what is pending right now and "
      "on whom it waits.");
  auto* what = app.add_option("what", options.what, "A recorder file, or a process id");
  auto* all = app.add_flag("--all", options.all, "Every recorder file of this user on this host");
  app.add_option("--directory", options.directory, "Where to look first, as TUTTI_RECORDER_DIRECTORY")
      ->envname("TUTTI_RECORDER_DIRECTORY");
  app.add_flag("--json", options.as_json, "Print JSON: an array with one object a process");
  app.add_option("--last", options.last, "How many operations, and changes of lanes, to show")->capture_default_str();
  what->excludes(all);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : tutti::kExitUsage;
  }
  if (!options.all && options.what.empty()) {
    std::fputs("tutti-recorder: name a recorder file or a process id, or use --all.\n", stderr);
    return tutti::kExitUsage;
  }
  return tutti::show(options);
}
