// Any environment and any options are read or refused, and what was read is listed and bounded. The input is lines:
// those that begin with '+' are options, the others environment entries.
#include <string>
#include <vector>

#include "src/base/settings.h"
#include "tests/fuzz/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> entries;
  std::vector<std::string> options;
  std::string line;
  for (std::size_t i = 0; i <= size; ++i) {
    if (i < size && data[i] != '\n') {
      line += static_cast<char>(data[i]);
      continue;
    }
    if (line.starts_with('+')) {
      options.push_back(line.substr(1));
    } else {
      entries.push_back(line);
    }
    line.clear();
  }
  std::vector<const char*> environment;
  for (const auto& entry : entries) environment.push_back(entry.c_str());
  environment.push_back(nullptr);
  const auto settings = tutti::read_settings(environment.data(), options);
  if (!settings) {
    FUZZ_CHECK(settings.status().code() == tutti::Code::invalid);
    FUZZ_CHECK(!settings.status().text().empty());
    return 0;
  }
  FUZZ_CHECK(settings->tcp_connections >= 0 && settings->tcp_connections <= 64);
  FUZZ_CHECK(settings->timeout.count() > 0);
  FUZZ_CHECK(settings->eager_bytes <= 1u << 20);
  FUZZ_CHECK(settings->tcp_ports.first <= settings->tcp_ports.last);
  FUZZ_CHECK(!settings->transports.empty());
  FUZZ_CHECK(settings->warnings.size() <= entries.size());
  FUZZ_CHECK(!tutti::describe(*settings).empty());
  return 0;
}
