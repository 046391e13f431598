#include "perf/limits/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tutti_limits {

namespace {

// Three significant digits.
std::string number(double value) {
  if (value == 0) return "0";
  const int before = static_cast<int>(std::floor(std::log10(std::fabs(value)))) + 1;
  return fmt::format("{:.{}f}", value, std::clamp(3 - before, 0, 6));
}

std::string text(const Sample& sample) {
  return fmt::format("{} ({}-{})", number(sample.median), number(sample.min), number(sample.max));
}

std::string text(const Figure& figure) { return figure.is_there() ? text(figure.sample) : figure.missing; }

std::string memory_table(const Limits& limits) {
  std::vector<std::pair<Pass, int>> columns;
  std::vector<std::uint64_t> sizes;
  for (const MemoryRate& rate : limits.memory) {
    const std::pair column(rate.pass, rate.threads);
    if (std::find(columns.begin(), columns.end(), column) == columns.end()) columns.push_back(column);
    if (std::find(sizes.begin(), sizes.end(), rate.bytes) == sizes.end()) sizes.push_back(rate.bytes);
  }
  std::string lines = fmt::format("\nGB/s of payload\n{:>10}", "an array");
  for (const auto& [pass, threads] : columns)
    lines += fmt::format("  {:>18}", fmt::format("{} {} thr", pass_name(pass), threads));
  for (const std::uint64_t bytes : sizes) {
    lines += fmt::format("\n{:>10}", bytes_text(bytes));
    for (const auto& [pass, threads] : columns) {
      for (const MemoryRate& rate : limits.memory) {
        if (rate.bytes == bytes && rate.pass == pass && rate.threads == threads)
          lines += fmt::format("  {:>18}", text(rate.gbps));
      }
    }
  }
  return lines + "\n";
}

std::string list(const char* heading, const std::vector<Named>& figures) {
  if (figures.empty()) return "";
  std::string lines = fmt::format("\n{}\n", heading);
  for (const Named& figure : figures) lines += fmt::format("  {:<36} {}\n", figure.name, text(figure.figure));
  return lines;
}

std::string bound_table(const Options& options, const std::vector<Bound>& bounds) {
  std::string lines;
  for (const Bound& bound : bounds) {
    const bool is_first = bound.bytes == options.sizes.front();
    if (is_first && bound.ranks == options.ranks.front() && bound.collective == Collective::all_reduce) {
      lines += fmt::format("\nleast time in us, {}: ", way_name(bound.way)) + "t turns, m memory, w wire\n" +
               fmt::format("  {:<16}{:>6}", "", "ranks");
      for (const std::uint64_t size : options.sizes) lines += fmt::format("{:>14}", bytes_text(size));
    }
    if (is_first) lines += fmt::format("\n  {:<16}{:>6}", collective_name(bound.collective), bound.ranks);
    lines += fmt::format("{:>12} {}", number(bound.us), bound.limited_by.front());
    if (bound.bytes == options.sizes.back() && bound.ranks == options.ranks.back() &&
        bound.collective == Collective::broadcast)
      lines += "\n";
  }
  return lines;
}

nlohmann::json json_of(const Sample& sample) {
  return {{"median", sample.median}, {"min", sample.min}, {"max", sample.max}, {"repetitions", sample.repetitions}};
}

nlohmann::json json_of(const Figure& figure) {
  if (figure.is_there()) return json_of(figure.sample);
  return {{"missing", figure.missing}};
}

nlohmann::json json_of(const std::vector<Named>& figures) {
  nlohmann::json object = nlohmann::json::object();
  for (const Named& figure : figures) object[figure.name] = json_of(figure.figure);
  return object;
}

nlohmann::json json_of(const Bound& bound) {
  nlohmann::json object = {{"transport", way_name(bound.way)},
                           {"collective", collective_name(bound.collective)},
                           {"ranks", bound.ranks},
                           {"bytes", bound.bytes},
                           {"us", bound.us},
                           {"limited_by", bound.limited_by}};
  if (bound.two_phase_us) object["two_phase_us"] = *bound.two_phase_us;
  return object;
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  static constexpr std::array<const char*, 4> kUnits = {"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{} {}", bytes, kUnits[unit]);
}

std::string table(const Machine& machine, const Options& options, const Limits& limits,
                  const std::vector<Bound>& bounds) {
  std::string lines = fmt::format("# {}, {} cores, {:.0f} GiB, {}\n# median (min-max) of {} repetitions\n",
                                  machine.cpu, machine.cores, static_cast<double>(machine.memory_bytes) / 0x1p30,
                                  machine.kernel, options.repetitions);
  if (options.quick) lines += "# --quick: a trial, not figures to keep\n";
  lines += memory_table(limits);
  std::vector<Named> reads;
  for (const SizedRate& rate : limits.process_vm_readv) reads.push_back({bytes_text(rate.bytes), rate.gbps});
  lines += list("process_vm_readv from another process, GB/s", reads);
  lines += list("hand-over between two processes, us one way", limits.hand_over_us);
  lines += list("loopback TCP, 8 B, us one way", limits.loopback_us);
  lines += list("loopback TCP, bare pair of sockets, GB/s", limits.loopback_gbps);
  lines += list("loopback TCP, iperf3, GB/s", limits.iperf_gbps);
  lines += list("link, iperf3, GB/s", limits.link_gbps);
  return lines + bound_table(options, bounds);
}

nlohmann::json to_json(const Machine& machine, const Options& options, const Limits& limits,
                       const std::vector<Bound>& bounds) {
  nlohmann::json memory = nlohmann::json::array();
  for (const MemoryRate& rate : limits.memory)
    memory.push_back({{"pass", pass_name(rate.pass)},
                      {"threads", rate.threads},
                      {"bytes", rate.bytes},
                      {"gbps", json_of(rate.gbps)}});
  nlohmann::json reads = nlohmann::json::array();
  for (const SizedRate& rate : limits.process_vm_readv)
    reads.push_back({{"bytes", rate.bytes}, {"gbps", json_of(rate.gbps)}});
  nlohmann::json least = nlohmann::json::array();
  for (const Bound& bound : bounds) least.push_back(json_of(bound));
  return {{"tool", "tutti-limits"},
          {"format", 1},
          {"quick", options.quick},
          {"machine",
           {{"cpu", machine.cpu},
            {"cores", machine.cores},
            {"memory_bytes", machine.memory_bytes},
            {"kernel", machine.kernel}}},
          {"memory", memory},
          {"process_vm_readv", reads},
          {"hand_over_us", json_of(limits.hand_over_us)},
          {"loopback_us", json_of(limits.loopback_us)},
          {"loopback_gbps", json_of(limits.loopback_gbps)},
          {"iperf_gbps", json_of(limits.iperf_gbps)},
          {"link_gbps", json_of(limits.link_gbps)},
          {"bounds", least}};
}

}  // namespace tutti_limits
