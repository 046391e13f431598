#include "transports/fabric/devices.h"

#include <algorithm>
#include <numeric>

#include "src/base/format.h"

namespace tutti::fabric {

namespace {

std::string list(const Devices& devices) {
  std::string text;
  for (std::size_t i = 0; i < devices.names.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += devices.are_numbered ? format("{} ({})", i, devices.names[i]) : devices.names[i];
  }
  return text;
}

}  // namespace

Result<std::vector<std::size_t>> pick(const Devices& devices, const std::vector<std::string>& wanted) {
  std::vector<std::size_t> picked;
  if (wanted.empty()) return std::vector<std::size_t>{0};
  if (wanted.size() == 1 && wanted.front() == "all") {
    picked.resize(devices.names.size());
    std::iota(picked.begin(), picked.end(), std::size_t{0});
    return picked;
  }
  for (const std::string& each : wanted) {
    std::size_t index = 0;
    const auto is_it = [&] {
      return each == devices.names[index] || (devices.are_numbered && each == format("{}", index));
    };
    while (index < devices.names.size() && !is_it()) ++index;
    if (index == devices.names.size()) {
      return Status(Code::invalid, format("{} has no {} {} ({}); there are {}", devices.owner, devices.noun, each,
                                          devices.setting, list(devices)));
    }
    if (std::find(picked.begin(), picked.end(), index) != picked.end()) {
      return Status(Code::invalid, format("{} {} is named twice ({}); give each once", devices.noun,
                                          devices.names[index], devices.setting));
    }
    picked.push_back(index);
  }
  return picked;
}

}  // namespace tutti::fabric
