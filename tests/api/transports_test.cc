// What TUTTI_TRANSPORTS=auto stands for, on hosts with invented devices.
#include "src/api/transports.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

namespace tutti {
namespace {

// A tree like /sys/class that goes with this object.
class Classes {
 public:
  Classes() {
    std::string name = std::filesystem::temp_directory_path() / "tutti-classes-XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~Classes() { std::filesystem::remove_all(path_); }
  Classes(const Classes&) = delete;
  Classes& operator=(const Classes&) = delete;
  void add(const std::string& of, const std::string& device, const std::string& driver) const {
    const std::filesystem::path folder = path_ / of / device / "device";
    std::filesystem::create_directories(folder);
    std::filesystem::create_symlink("../../drivers/" + driver, folder / "driver");
  }
  std::string path() const { return path_.string(); }
  std::vector<std::string> chosen(const std::vector<std::string_view>& built = {"verbs", "ucx", "ofi", "ncclnet"},
                                  const std::string& plugin = {}) const {
    return automatic_transports(path_.string(), built, plugin);
  }

 private:
  std::filesystem::path path_;
};

using Names = std::vector<std::string>;

TEST(Transports, WithoutADeviceNothingChanges) { EXPECT_EQ(Classes().chosen(), (Names{"self", "shm", "tcp"})); }

TEST(Transports, ADeviceBringsTheTransportThatDrivesIt) {
  const Classes infiniband;
  infiniband.add("infiniband", "mlx5_0", "mlx5_core");
  EXPECT_EQ(infiniband.chosen(), (Names{"self", "shm", "verbs", "tcp"}));
  EXPECT_EQ(infiniband.chosen({"ucx", "ofi"}), (Names{"self", "shm", "ucx", "tcp"}));
  EXPECT_EQ(infiniband.chosen({}), (Names{"self", "shm", "tcp"}));

  const Classes amazon;
  amazon.add("infiniband", "rdmap0s6", "efa");
  EXPECT_EQ(amazon.chosen(), (Names{"self", "shm", "ofi", "tcp"}));

  const Classes slingshot;
  slingshot.add("cxi", "cxi0", "cxi_ss1");
  EXPECT_EQ(slingshot.chosen(), (Names{"self", "shm", "ofi", "tcp"}));
}

TEST(Transports, APlugInOfNcclIsLoadedOnlyWhereOneIsNamed) {
  EXPECT_EQ(named_plugin("", nullptr), "");
  EXPECT_EQ(named_plugin("", ""), "");
  EXPECT_EQ(named_plugin("", "None"), "");
  EXPECT_EQ(named_plugin("", "ofi"), "ofi");
  EXPECT_EQ(named_plugin("uccl", "ofi"), "uccl");
  EXPECT_EQ(named_plugin("uccl", "none"), "uccl");

  const Classes infiniband;
  infiniband.add("infiniband", "mlx5_0", "mlx5_core");
  EXPECT_EQ(infiniband.chosen({"verbs", "ncclnet"}, "ofi"), (Names{"self", "shm", "verbs", "ncclnet", "tcp"}));
  EXPECT_EQ(Classes().chosen({"verbs", "ncclnet"}, "ofi"), (Names{"self", "shm", "ncclnet", "tcp"}));
}

// What auto has chosen for a device and cannot be used is left out, and a line says so; what was asked for by name is
// an error.
TEST(Transports, AutoGoesOnWithoutWhatCannotBeUsed) {
  Classes host;
  host.add("infiniband", "invented_0", "mlx5_core");
  host.add("cxi", "invented_1", "cxi_ss1");
  std::string log;
  const Log sink(LogLevel::warn,
                 [&](LogLevel, std::string_view, std::string_view text) { log += std::string(text) + "\n"; });
  EngineOptions options;
  options.process = *new_process_id();
  options.host = *this_host_id();
  Settings settings;
  settings.transports = {"auto"};
  settings.verbs_devices = {"no_such_device"};
  settings.ofi_provider = "no_such_provider";
  const auto made = make_transports(settings, options, sink, host.path());
  ASSERT_TRUE(made.is_ok()) << made.status().text();
  Names names;
  for (const auto& transport : *made) names.emplace_back(transport->capabilities().name);
  EXPECT_EQ(names, (Names{"self", "shm", "tcp"}));
  EXPECT_NE(log.find("there is a device for verbs, which cannot be used: verbs: "), std::string::npos) << log;
  EXPECT_NE(log.find(". Going on without"), std::string::npos) << log;

  settings.transports = {"verbs", "tcp"};
  const auto asked = make_transports(settings, options, sink, host.path());
  ASSERT_FALSE(asked.is_ok());
  EXPECT_EQ(asked.status().text().find("transport verbs (TUTTI_TRANSPORTS) cannot be used: verbs: "), 0u)
      << asked.status().text();
}

}  // namespace
}  // namespace tutti
