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

}  // namespace
}  // namespace tutti
