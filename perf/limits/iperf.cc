#include "perf/limits/iperf.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "perf/limits/pair.h"

namespace tutti_limits {

namespace {

// A server of our own has to start; one elsewhere may have to finish the test before.
constexpr int kTries = 50;
constexpr int kTriesElsewhere = 5;
constexpr auto kPause = std::chrono::milliseconds(20);

bool is_installed() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/iperf3").c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::vector<char*> argument_list(const std::vector<std::string>& arguments) {
  std::vector<char*> list;
  for (const std::string& argument : arguments) list.push_back(const_cast<char*>(argument.c_str()));
  list.push_back(nullptr);
  return list;
}

// A child that becomes iperf3 with these arguments and writes into `output`.
Child start(const std::vector<std::string>& arguments, int output) {
  return Child([&] {
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execvp("iperf3", argument_list(arguments).data());
  });
}

std::string output_of(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return "";
  std::string text;
  {
    const Child client = start(arguments, ends[1]);
    close(ends[1]);
    std::array<char, 4096> block;
    for (ssize_t got = 0; (got = read(ends[0], block.data(), block.size())) > 0;)
      text.append(block.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  return text;
}

// A port that was free a moment ago; 0 if there is none.
int free_port() {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  const bool found = bind(descriptor, plain, length) == 0 && getsockname(descriptor, plain, &length) == 0;
  close(descriptor);
  return found ? ntohs(address.sin_port) : 0;
}

struct Server {
  std::string host;
  int port = 0;
  int tries = kTries;
};

std::vector<std::string> client_arguments(const Server& server, std::uint64_t bytes, int streams, bool reverse) {
  std::vector<std::string> arguments = {"iperf3",
                                        "-c",
                                        server.host,
                                        "-p",
                                        std::to_string(server.port),
                                        "-n",
                                        std::to_string(bytes),
                                        "-P",
                                        std::to_string(streams),
                                        "--json",
                                        "--connect-timeout",
                                        "3000"};
  if (reverse) arguments.emplace_back("-R");
  return arguments;
}

// Runs the client until it measures: a server that was just started, or has just ended a test, refuses for a moment.
Figure measure(const Server& server, std::uint64_t bytes, int streams, bool reverse, int repetitions) {
  Figure figure;
  std::vector<double> rates;
  int refusals = 0;
  while (static_cast<int>(rates.size()) < repetitions) {
    std::string error;
    const auto rate = received_gbps(output_of(client_arguments(server, bytes, streams, reverse)), error);
    if (rate) {
      rates.push_back(*rate);
    } else if (++refusals == server.tries) {
      figure.missing = fmt::format("iperf3 to {}:{}: {}", server.host, server.port, error);
      return figure;
    } else {
      std::this_thread::sleep_for(kPause);
    }
  }
  figure.sample = sample_of(rates);
  return figure;
}

constexpr const char* kNotInstalled = "iperf3 is not installed (apt install iperf3)";

}  // namespace

std::optional<double> received_gbps(const std::string& json, std::string& error) {
  const auto report = nlohmann::json::parse(json, nullptr, false);
  if (report.is_discarded() || !report.is_object()) {
    error = "it wrote no JSON";
    return std::nullopt;
  }
  if (report.contains("error")) {
    error = report["error"].is_string() ? report["error"].get<std::string>() : "an error without words";
    return std::nullopt;
  }
  const auto rate = nlohmann::json::json_pointer("/end/sum_received/bits_per_second");
  if (!report.contains(rate) || !report[rate].is_number() || report[rate].get<double>() <= 0) {
    error = "its JSON has no rate of what was received";
    return std::nullopt;
  }
  return report[rate].get<double>() / 8e9;
}

std::vector<Named> measure_iperf_loopback(std::uint64_t bytes, const Effort& effort) {
  std::vector<Named> results = {{"1 stream", {}}, {"4 streams", {}}};
  const Server server{"127.0.0.1", free_port()};
  if (!is_installed() || server.port == 0) {
    for (Named& result : results)
      result.figure.missing = is_installed() ? "no port of 127.0.0.1 is free" : kNotInstalled;
    return results;
  }
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  const Child running = start({"iperf3", "-s", "-B", server.host, "-p", std::to_string(server.port)}, nowhere);
  close(nowhere);
  results[0].figure = measure(server, bytes, 1, false, effort.repetitions);
  results[1].figure = measure(server, bytes, 4, false, effort.repetitions);
  return results;
}

std::vector<Named> measure_iperf_link(const std::string& host, int port, std::uint64_t bytes, const Effort& effort) {
  std::vector<Named> results = {{"to " + host, {}}, {"from " + host, {}}};
  for (Named& result : results) {
    const bool reverse = &result == &results[1];
    if (is_installed()) {
      result.figure = measure({host, port, kTriesElsewhere}, bytes, 1, reverse, effort.repetitions);
    } else {
      result.figure.missing = kNotInstalled;
    }
  }
  return results;
}

}  // namespace tutti_limits
