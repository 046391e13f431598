// What launchers put into the environment, and Slurm's lists of hosts. Either it is refused with a sentence, or the
// rank lies in the job.
//
// Lines of NAME=VALUE; what is no such line is a list of hosts.
#include <string>
#include <vector>

#include "src/membership/environment.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> lines(1);
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == '\n') {
      lines.emplace_back();
    } else if (data[i] != 0) {
      lines.back() += static_cast<char>(data[i]);
    }
  }
  std::vector<const char*> environment;
  for (const std::string& line : lines) {
    environment.push_back(line.c_str());
    const std::string host = tutti::first_slurm_host(line);
    FUZZ_CHECK(host.size() <= line.size() && host.find_first_of("[],") == std::string::npos);
  }
  environment.push_back(nullptr);
  tutti::LaunchFacts facts;
  facts.user = 1000;
  facts.launcher_pid = 4242;
  facts.host_id = std::string(32, 'a');
  const auto launch = tutti::read_launch_environment(environment.data(), facts);
  if (!launch) {
    FUZZ_CHECK(!launch.status().text().empty());
    return 0;
  }
  FUZZ_CHECK(launch->size >= 1 && launch->rank >= 0 && launch->rank < launch->size);
  FUZZ_CHECK(launch->size == 1 || !launch->store.empty());
  return 0;
}
