// tutti-perf: measures the collectives of Tutti and checks their results. This file goes through the sizes; what one
// measurement is stands in measure.cc.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "perf/tutti-perf/launch.h"
#include "perf/tutti-perf/measure.h"
#include "perf/tutti-perf/options.h"
#include "perf/tutti-perf/plot.h"
#include "perf/tutti-perf/report.h"
#include "perf/tutti-perf/session.h"
#include "perf/tutti-perf/trace.h"

namespace tutti_perf {
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

std::string this_process() {
  std::array<char, 64> host{};
  gethostname(host.data(), host.size() - 1);
  return fmt::format("{} pid {}", host.data(), getpid());
}

// One rank's run over all collectives, types, reductions and sizes.
class Run {
 public:
  Run(const Options& options, Session& session, RunInfo info)
      : options_(options),
        session_(session),
        info_(std::move(info)),
        shows_(session.rank() == 0 && options.json != "-"),
        shows_progress_(session.rank() == 0 && isatty(STDERR_FILENO) != 0) {}

  Error run_all() {
    if (Error error = session_.gather(this_process(), info_.processes)) return error;
    show(heading(options_, info_));
    if (Error error = allocate()) return error;
    for (const Kind kind : options_.kinds) {
      show(table_heading(options_, kind));
      if (Error error = run_kind(kind)) return error;
    }
    show(summary(rows_));
    if (!options_.trace.empty()) {
      std::string waits;
      if (Error error = write_trace(session_, options_.trace, waits)) return error;
      show(waits);
    }
    return session_.finalize();
  }

  bool any_wrong() const { return wrong_total(rows_) > 0; }
  nlohmann::json json() const { return to_json(options_, info_, rows_); }

 private:
  void show(const std::string& text) const {
    if (!shows_) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  void show_progress(const std::string& text) const {
    if (shows_progress_) fmt::print(stderr, "\r\033[K{}", text);
  }

  std::vector<std::uint64_t> sizes(Kind kind, tutti_datatype type) const {
    if (kind == Kind::barrier) return {0};
    const std::uint64_t blocks = traits(kind).has_blocks ? static_cast<std::uint64_t>(session_.ranks()) : 1;
    return sizes_of(options_.sweep, tutti_datatype_size(type) * blocks);
  }

  // Room for the largest size, twice for each operation in flight.
  Error allocate() {
    std::uint64_t largest = 1;
    for (const Kind kind : options_.kinds) {
      for (const tutti_datatype type : options_.types) {
        for (const std::uint64_t size : sizes(kind, type)) largest = std::max(largest, size);
      }
    }
    for (int i = 0; i < options_.in_flight; ++i) {
      Buffers buffers;
      for (std::byte** place : {&buffers.input, &buffers.output}) {
        memory_.emplace_back();
        if (Error error = memory_.back().allocate(largest, options_.own_memory)) return error;
        *place = memory_.back().data();
      }
      buffers_.push_back(buffers);
    }
    return Error();
  }

  Error run_kind(Kind kind) {
    const std::vector<tutti_datatype> types = kind == Kind::barrier ? std::vector{TUTTI_UINT8} : options_.types;
    const std::vector<tutti_op> ops = traits(kind).reduces ? options_.ops : std::vector{TUTTI_SUM};
    for (const tutti_datatype type : types) {
      for (const tutti_op op : ops) {
        if (traits(kind).reduces && !is_defined(op, type)) continue;
        for (const std::uint64_t size : sizes(kind, type)) {
          if (Error error = run_case({kind, type, op, options_.root, size})) return error;
        }
      }
    }
    return Error();
  }

  Error run_case(const Case& what) {
    if (options_.explain) {
      if (Error error = explain(what)) return error;
    }
    Row row;
    row.what = what;
    row.count = Operation(what, session_.rank(), session_.ranks(), session_.comm(), TUTTI_CALL_INIT).count();
    const std::string progress = fmt::format("{} {}", traits(what.kind).name, bytes_text(what.size_bytes));
    show_progress(progress);
    if (Error error = measure(session_, options_, what, false, buffers_, row.out_of_place)) return error;
    if (options_.in_place && traits(what.kind).has_in_place) {
      show_progress(progress + " in place");
      row.in_place.emplace();
      if (Error error = measure(session_, options_, what, true, buffers_, *row.in_place)) return error;
    }
    show_progress("");
    show(table_row(options_, row));
    rows_.push_back(row);
    return Error();
  }

  // The plan and why, each line after a '#'.
  Error explain(const Case& what) {
    if (session_.rank() != 0 || what.kind > Kind::scatter) return Error();
    const Operation operation(what, 0, session_.ranks(), session_.comm(), TUTTI_CALL_INIT);
    std::vector<char> text(1 << 14);
    if (Error error =
            check_call("explain", tutti_comm_explain(session_.comm(), static_cast<tutti_collective>(what.kind),
                                                     operation.count(), what.type, what.op, text.data(), text.size(),
                                                     nullptr))) {
      return error;
    }
    std::string lines = "#   ";
    for (const char* c = text.data(); *c != '\0'; ++c) {
      lines += *c;
      if (*c == '\n' && c[1] != '\0') lines += "#   ";
    }
    show(lines.ends_with('\n') ? lines : lines + "\n");
    return Error();
  }

  const Options& options_;
  Session& session_;
  RunInfo info_;
  const bool shows_;
  const bool shows_progress_;
  std::vector<Memory> memory_;
  std::vector<Buffers> buffers_;
  std::vector<Row> rows_;
};

Error write_json(const nlohmann::json& results, const std::string& path) {
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  if (!file) return Error(fmt::format("{} cannot be written: {} ({})", path, std::strerror(errno), errno));
  const std::string text = results.dump(2) + "\n";
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = path == "-" ? std::fflush(file) == 0 : std::fclose(file) == 0;
  if (!written || !closed)
    return Error(fmt::format("{} could not be written in full: {} ({})", path, std::strerror(errno), errno));
  return Error();
}

Error deliver(const Options& options, const nlohmann::json& results) {
  if (!options.json.empty()) {
    if (Error error = write_json(results, options.json)) return error;
  }
  return options.plot.empty() ? Error() : draw_plot(results, options.plot);
}

int complain(const Error& error, int rank) {
  fmt::print(stderr, "tutti-perf: rank {}: {}\n", rank, error.text());
  return kExitWrong;
}

int run_rank(const Options& options, const std::string& command) {
  Session session;
  if (Error error = session.open(options.transports)) {
    fmt::print(stderr, "tutti-perf: {}\n", error.text());
    return kExitWrong;
  }
  if (options.root >= session.ranks()) {
    if (session.rank() == 0)
      fmt::print(stderr, "tutti-perf: -r is {}, but there are {} ranks.\n", options.root, session.ranks());
    return kExitUsage;
  }
  RunInfo info;
  info.ranks = session.ranks();
  info.transports = options.transports;
  info.command = command;
  info.started_utc = utc_now();
  Run run(options, session, std::move(info));
  if (Error error = run.run_all()) return complain(error, session.rank());
  if (session.rank() == 0) {
    if (Error error = deliver(options, run.json())) return complain(error, 0);
  }
  return run.any_wrong() ? kExitWrong : 0;
}

}  // namespace
}  // namespace tutti_perf

int main(int argc, char** argv) {
  using namespace tutti_perf;
  const Parsed parsed = parse_options(argc, argv);
  if (parsed.done) {
    std::fputs(parsed.text.c_str(), parsed.exit_status == 0 ? stdout : stderr);
    return parsed.exit_status;
  }
  if (parsed.options.launch > 0) return launch(parsed.options.launch, arguments_of_rank(argc, argv));
  std::string command = "tutti-perf";
  for (int i = 1; i < argc; ++i) command += fmt::format(" {}", argv[i]);
  return run_rank(parsed.options, command);
}
