#include "perf/tutti-perf/report.h"

#include <fmt/core.h>

namespace tutti_perf {

namespace {

// Three to four significant digits in a narrow column.
std::string number(double value) {
  if (value == 0) return "0";
  if (value < 9.9995) return fmt::format("{:.3f}", value);
  if (value < 99.995) return fmt::format("{:.2f}", value);
  return value < 999.95 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value);
}

std::string measurement_text(const Measurement& m, bool with_latency) {
  std::string text = fmt::format("  {:>8}  {:>7}  {:>7}  {:>6}", number(m.time_us), number(m.algorithm_gbps),
                                 number(m.bus_gbps), m.wrong ? fmt::format("{}", *m.wrong) : "N/A");
  if (with_latency) {
    const Latency latency = m.latency.value_or(Latency());
    text += fmt::format("  {:>8} {:>8} {:>8} {:>8} {:>8}", number(latency.min_us), number(latency.p50_us),
                        number(latency.p90_us), number(latency.p99_us), number(latency.max_us));
  }
  return text;
}

const char* type_name(const Row& row) {
  return row.what.kind == Kind::barrier ? "-" : tutti_datatype_name(row.what.type);
}
const char* op_name(const Row& row) { return traits(row.what.kind).reduces ? tutti_op_name(row.what.op) : "-"; }

nlohmann::json to_json(const Measurement& m) {
  nlohmann::json object = {{"time_us", m.time_us}, {"algbw_gbps", m.algorithm_gbps}, {"busbw_gbps", m.bus_gbps}};
  object["wrong"] = m.wrong ? nlohmann::json(*m.wrong) : nlohmann::json();
  if (m.latency) {
    object["latency_us"] = {{"min", m.latency->min_us},
                            {"p50", m.latency->p50_us},
                            {"p90", m.latency->p90_us},
                            {"p99", m.latency->p99_us},
                            {"max", m.latency->max_us}};
  }
  return object;
}

bool is_checked(const std::vector<Row>& rows) { return !rows.empty() && rows.front().out_of_place.wrong.has_value(); }

}  // namespace

std::string heading(const Options& options, const RunInfo& info) {
  std::string text = fmt::format("# Tutti {}.{}.{}, {} ranks, {} memory{}{}{}\n", tutti_version() / 10000,
                                 tutti_version() / 100 % 100, tutti_version() % 100, info.ranks,
                                 options.own_memory ? "tutti_mem_alloc" : "malloc",
                                 info.transports.empty() ? "" : ", transports " + info.transports,
                                 options.algorithm.empty() ? "" : ", algorithm " + options.algorithm,
                                 options.in_flight > 1 ? fmt::format(", {} in flight", options.in_flight) : "");
  text += fmt::format("# {} warm-ups, {} iterations, results {}\n", options.warmups, options.iterations,
                      options.check ? "checked bit for bit" : "not checked");
  for (std::size_t r = 0; r < info.processes.size(); ++r)
    text += fmt::format("# rank {} on {}\n", r, info.processes[r]);
  return text;
}

std::string table_heading(const Options& options, Kind kind) {
  const bool in_place = options.in_place && traits(kind).has_in_place;
  const std::string names = "      time    algbw    busbw  #wrong";
  const std::string units = "        us     GB/s     GB/s        ";
  const std::string latency_names = options.latency ? "       min      p50      p90      p99      max" : "";
  const std::string latency_units = options.latency ? "        us       us       us       us       us" : "";
  const std::size_t width = names.size() + latency_names.size();
  std::string text = fmt::format("#\n# {}\n# {:>12} {:>12} {:>11} {:>17} {:>4}{:^{}}", traits(kind).name, "", "", "",
                                 "", "", in_place ? "out of place" : "", width);
  if (in_place) text += fmt::format("{:^{}}", "in place", width);
  text.erase(text.find_last_not_of(' ') + 1);
  text += fmt::format("\n# {:>12} {:>12} {:>11} {:>17} {:>4}{}{}", "size", "count", "type", "redop", "root", names,
                      latency_names);
  if (in_place) text += names + latency_names;
  text += fmt::format("\n# {:>12} {:>12} {:>11} {:>17} {:>4}{}{}", "B", "elements", "", "", "", units, latency_units);
  if (in_place) text += units + latency_units;
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string table_row(const Options& options, const Row& row) {
  const int root = traits(row.what.kind).has_root ? row.what.root : -1;
  std::string text = fmt::format("  {:>12} {:>12} {:>11} {:>17} {:>4}", row.what.size_bytes, row.count,
                                 type_name(row), op_name(row), root);
  text += measurement_text(row.out_of_place, options.latency);
  if (row.in_place) text += measurement_text(*row.in_place, options.latency);
  return text + "\n";
}

std::uint64_t wrong_total(const std::vector<Row>& rows) {
  std::uint64_t wrong = 0;
  for (const Row& row : rows) {
    wrong += row.out_of_place.wrong.value_or(0);
    if (row.in_place) wrong += row.in_place->wrong.value_or(0);
  }
  return wrong;
}

std::string summary(const std::vector<Row>& rows) {
  double sum = 0;
  std::size_t count = 0;
  for (const Row& row : rows) {
    sum += row.out_of_place.bus_gbps;
    ++count;
    if (!row.in_place) continue;
    sum += row.in_place->bus_gbps;
    ++count;
  }
  std::string text =
      fmt::format("#\n# average bus bandwidth: {} GB/s\n", number(count == 0 ? 0 : sum / static_cast<double>(count)));
  return text + (is_checked(rows) ? fmt::format("# wrong elements: {}\n", wrong_total(rows))
                                  : "# results were not checked\n");
}

nlohmann::json to_json(const Options& options, const RunInfo& info, const std::vector<Row>& rows) {
  nlohmann::json results = nlohmann::json::array();
  for (const Row& row : rows) {
    nlohmann::json result = {{"collective", traits(row.what.kind).name},
                             {"size", row.what.size_bytes},
                             {"count", row.count},
                             {"type", type_name(row)},
                             {"op", op_name(row)},
                             {"root", traits(row.what.kind).has_root ? row.what.root : -1},
                             {"out_of_place", to_json(row.out_of_place)}};
    result["in_place"] = row.in_place ? to_json(*row.in_place) : nlohmann::json();
    results.push_back(std::move(result));
  }
  return {{"tool", "tutti-perf"},
          {"format", 1},
          {"version",
           fmt::format("{}.{}.{}", tutti_version() / 10000, tutti_version() / 100 % 100, tutti_version() % 100)},
          {"command", info.command},
          {"started_utc", info.started_utc},
          {"ranks", info.ranks},
          {"processes", info.processes},
          {"transports", info.transports},
          {"algorithm", options.algorithm},
          {"memory", options.own_memory ? "tutti" : "malloc"},
          {"in_flight", options.in_flight},
          {"warmups", options.warmups},
          {"iterations", options.iterations},
          {"checked", options.check},
          {"wrong", wrong_total(rows)},
          {"results", std::move(results)}};
}

}  // namespace tutti_perf
