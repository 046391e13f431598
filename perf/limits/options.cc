#include "perf/limits/options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <optional>
#include <sstream>

namespace tutti_limits {

namespace {

constexpr int kRanksMax = 1024;

struct Raw {
  std::string ranks = "2,4,8";
  std::string sizes = "8,1K,64K,1M,16M,128M";
  std::string link;
};

std::optional<std::uint64_t> parse_whole(std::string_view text, std::string_view units) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || number == 0 || number > (std::uint64_t{1} << 40)) return std::nullopt;
  if (rest == end) return number;
  const std::size_t power = units.find(static_cast<char>(*rest | 0x20));
  if (rest + 1 != end || power == std::string_view::npos) return std::nullopt;
  return number << (10 * (power + 1));
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

std::string read_ranks(const std::string& text, std::vector<int>& ranks) {
  ranks.clear();
  for (const std::string& part : split(text)) {
    const auto number = parse_whole(part, "");
    if (!number || *number < 2 || *number > kRanksMax)
      return fmt::format("--ranks has \"{}\"; expected numbers from 2 to {} with commas, such as 2,4,8.", part,
                         kRanksMax);
    ranks.push_back(static_cast<int>(*number));
  }
  return ranks.empty() ? "--ranks names no number; expected for example 2,4,8." : "";
}

std::string read_sizes(const std::string& text, std::vector<std::uint64_t>& sizes) {
  sizes.clear();
  for (const std::string& part : split(text)) {
    const auto bytes = parse_whole(part, "kmg");
    if (!bytes) return fmt::format("--sizes has \"{}\"; expected bytes such as 8, 64K or 16M, with commas.", part);
    sizes.push_back(*bytes);
  }
  return sizes.empty() ? "--sizes names no size; expected for example 8,64K,16M." : "";
}

std::string read_link(const std::string& text, Options& options) {
  if (text.empty()) return "";
  const std::size_t colon = text.rfind(':');
  const auto port =
      colon == std::string::npos ? std::nullopt : parse_whole(std::string_view(text).substr(colon + 1), "");
  if (!port || *port > 65535 || colon == 0)
    return fmt::format("--link is \"{}\"; expected HOST:PORT of an iperf3 server, such as 10.0.0.2:5201.", text);
  options.link_host = text.substr(0, colon);
  options.link_port = static_cast<int>(*port);
  return "";
}

}  // namespace

Parsed parse_options(int argc, const char* const* argv) {
  Parsed parsed;
  Raw raw;
  CLI::App app("Measures the machine's own limits, and says how fast a collective can be at best.", "tutti-limits");
  app.add_option("-n,--repetitions", parsed.options.repetitions, "Measurements of each figure")
      ->check(CLI::Range(5, 1000))
      ->capture_default_str();
  app.add_flag("--quick", parsed.options.quick, "A few milliseconds a figure and small sizes only: a trial");
  app.add_option("--ranks", raw.ranks, "Numbers of ranks to give bounds for")->capture_default_str();
  app.add_option("--sizes", raw.sizes, "Sizes to give bounds for: bytes, or with K, M, G")->capture_default_str();
  app.add_option("--link", raw.link, "HOST:PORT of an iperf3 server at the other end of a link to measure");
  app.add_option("--json", parsed.options.json,
                 "Write the figures as JSON to this file; - is standard output, instead of the table");
  app.footer("Let nothing else run meanwhile. What the bounds mean: perf/limits/README.md");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, trouble;
    parsed.done = true;
    parsed.exit_status = app.exit(error, out, trouble) == 0 ? 0 : kExitUsage;
    parsed.text = parsed.exit_status == 0 ? out.str() : "tutti-limits: " + trouble.str();
    return parsed;
  }
  std::string error = read_ranks(raw.ranks, parsed.options.ranks);
  if (error.empty()) error = read_sizes(raw.sizes, parsed.options.sizes);
  if (error.empty()) error = read_link(raw.link, parsed.options);
  if (!error.empty()) {
    parsed.done = true;
    parsed.exit_status = kExitUsage;
    parsed.text = fmt::format("tutti-limits: {}\nRun tutti-limits --help for the options.\n", error);
  }
  return parsed;
}

}  // namespace tutti_limits
