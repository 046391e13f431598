// Settings: what is accepted, what is refused and in which words, and that the page is the table's.
#include "src/base/settings.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "src/base/secret.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

// Reads an environment of the given entries.
Result<Settings> read(std::vector<std::string> entries, std::vector<std::string> overrides = {}) {
  std::vector<const char*> environment;
  for (const auto& entry : entries) environment.push_back(entry.c_str());
  environment.push_back(nullptr);
  return read_settings(environment.data(), overrides);
}

std::string refusal(const std::string& entry) {
  const auto settings = read({entry});
  EXPECT_FALSE(settings.is_ok()) << entry;
  EXPECT_EQ(settings.status().code(), Code::invalid);
  return settings.status().text();
}

TEST(Settings, AnEmptyEnvironmentGivesTheDefaultsOfTheTable) {
  const auto settings = read({});
  ASSERT_TRUE(settings.is_ok());
  EXPECT_EQ(settings->log, LogLevel::warn);
  EXPECT_EQ(settings->timeout, 300s);
  EXPECT_EQ(settings->connect_timeout, 60s);
  EXPECT_EQ(settings->transports, (std::vector<std::string>{"auto"}));
  EXPECT_EQ(settings->eager_bytes, 16384u);
  EXPECT_EQ(settings->shm_copy, ShmCopy::automatic);
  EXPECT_EQ(settings->verbs_connect, VerbsConnect::control);
  EXPECT_TRUE(settings->recorder);
  EXPECT_TRUE(settings->tcp_ports.any());
  EXPECT_EQ(settings->spin, 20us);
  EXPECT_TRUE(settings->warnings.empty());
}

TEST(Settings, EachTypeIsReadInItsForms) {
  const auto settings =
      read({"TUTTI_LOG=debug", "TUTTI_SEGMENT_BYTES=65536", "TUTTI_EAGER_BYTES=64k", "TUTTI_SHM_STAGING_BYTES=4M",
            "TUTTI_TCP_BUFFER_BYTES=1G", "TUTTI_SPIN=0us", "TUTTI_YIELD=5ms", "TUTTI_TIMEOUT=30s",
            "TUTTI_RECORDER=off", "TUTTI_SHM_COPY=cma", "TUTTI_TRANSPORTS=tcp,shm", "TUTTI_TCP_INTERFACES=^docker0",
            "TUTTI_TCP_PORTS=40000-41000", "TUTTI_TCP_CONNECTIONS=8", "HOME=/root", "TUTTI_RANK=0"});
  ASSERT_TRUE(settings.is_ok()) << settings.status().text();
  EXPECT_EQ(settings->log, LogLevel::debug);
  EXPECT_EQ(settings->segment_bytes, 65536u);
  EXPECT_EQ(settings->eager_bytes, 65536u);
  EXPECT_EQ(settings->shm_staging_bytes, 4u << 20);
  EXPECT_EQ(settings->tcp_buffer_bytes, 1u << 30);
  EXPECT_EQ(settings->spin, 0us);
  EXPECT_EQ(settings->yield, 5ms);
  EXPECT_EQ(settings->timeout, 30s);
  EXPECT_FALSE(settings->recorder);
  EXPECT_EQ(settings->shm_copy, ShmCopy::cma);
  EXPECT_EQ(settings->transports, (std::vector<std::string>{"tcp", "shm"}));
  EXPECT_EQ(settings->tcp_interfaces, std::vector<std::string>{"^docker0"});
  EXPECT_EQ(settings->tcp_ports, (PortRange{40000, 41000}));
  EXPECT_EQ(settings->tcp_connections, 8);
  EXPECT_TRUE(settings->warnings.empty());
}

TEST(Settings, ABadValueIsNamedWithWhatWasExpected) {
  EXPECT_EQ(refusal("TUTTI_SEGMENT_BYTES=4x"),
            "TUTTI_SEGMENT_BYTES is \"4x\"; expected bytes such as 65536, 64k or 4M");
  EXPECT_EQ(refusal("TUTTI_RECORDER=1"), "TUTTI_RECORDER is \"1\"; expected on or off");
  EXPECT_EQ(refusal("TUTTI_TIMEOUT=30"), "TUTTI_TIMEOUT is \"30\"; expected a duration such as 20us, 5ms or 30s");
  EXPECT_EQ(refusal("TUTTI_TCP_CONNECTIONS=65"), "TUTTI_TCP_CONNECTIONS is \"65\"; expected a value from 0 to 64");
  EXPECT_EQ(refusal("TUTTI_TCP_CONNECTIONS=abc"), "TUTTI_TCP_CONNECTIONS is \"abc\"; expected a whole number");
  EXPECT_EQ(refusal("TUTTI_LOG=loud"), "TUTTI_LOG is \"loud\"; expected error, warn, info, debug or trace");
  EXPECT_EQ(refusal("TUTTI_TRANSPORTS=shm,rdma"),
            "TUTTI_TRANSPORTS is \"shm,rdma\"; expected a list of auto, self, shm, verbs, ucx, ofi, ncclnet or tcp "
            "separated by commas");
  EXPECT_EQ(refusal("TUTTI_TRANSPORTS=shm,shm"),
            "TUTTI_TRANSPORTS is \"shm,shm\"; expected each name once, not shm twice");
  EXPECT_EQ(refusal("TUTTI_TCP_PORTS=41000-40000"),
            "TUTTI_TCP_PORTS is \"41000-40000\"; expected ports such as 40000-41000");
}

TEST(Settings, NothingIsGuessedClampedOrCutOff) {
  for (const char* entry : {"TUTTI_SEGMENT_BYTES=",
                            "TUTTI_SEGMENT_BYTES= 64k",
                            "TUTTI_SEGMENT_BYTES=64kb",
                            "TUTTI_SEGMENT_BYTES=-1",
                            "TUTTI_SEGMENT_BYTES=k",
                            "TUTTI_SEGMENT_BYTES=18446744073709551616",
                            "TUTTI_SEGMENT_BYTES=99999999999G",
                            "TUTTI_SEGMENT_BYTES=2G",
                            "TUTTI_TIMEOUT=1.5s",
                            "TUTTI_TIMEOUT=s",
                            "TUTTI_TIMEOUT=0us",
                            "TUTTI_TIMEOUT=99999999999999999999s",
                            "TUTTI_RECORDER=",
                            "TUTTI_RECORDER=ON",
                            "TUTTI_TRANSPORTS=",
                            "TUTTI_TCP_INTERFACES=eth0,,eth1",
                            "TUTTI_TCP_INTERFACES=eth0,",
                            "TUTTI_TCP_PORTS=0",
                            "TUTTI_TCP_PORTS=1-2-3",
                            "TUTTI_TCP_PORTS=70000",
                            "TUTTI_RECORDER_ENTRIES=+100",
                            "TUTTI_RECORDER_ENTRIES=0x100"}) {
    refusal(entry);
  }
}

TEST(Settings, AnUnknownVariableIsAWarningWithTheNearestName) {
  const auto settings = read({"TUTTI_TCP_CONNECTION=4", "TUTTI_ENTIRELY_DIFFERENT_THING=1", "TUTTI_TEST_LONG=1"});
  ASSERT_TRUE(settings.is_ok());
  ASSERT_EQ(settings->warnings.size(), 2u);
  EXPECT_EQ(settings->warnings[0],
            "TUTTI_TCP_CONNECTION is not a setting of Tutti 0.1; did you mean TUTTI_TCP_CONNECTIONS? Ignored.");
  EXPECT_EQ(settings->warnings[1], "TUTTI_ENTIRELY_DIFFERENT_THING is not a setting of Tutti 0.1. Ignored.");
  EXPECT_EQ(settings->tcp_connections, 0);
}

TEST(Settings, AnOptionWinsOverTheEnvironmentAndEachRemembersItsOrigin) {
  const auto settings = read({"TUTTI_TIMEOUT=10s", "TUTTI_LOG=info"}, split_overrides(" TUTTI_TIMEOUT=20s; ;"));
  ASSERT_TRUE(settings.is_ok()) << settings.status().text();
  EXPECT_EQ(settings->timeout, 20s);
  const std::string listing = describe(*settings);
  EXPECT_NE(listing.find("TUTTI_TIMEOUT              20.0 s                   option\n"), std::string::npos)
      << listing;
  EXPECT_NE(listing.find("TUTTI_LOG                  info                     environment\n"), std::string::npos);
  EXPECT_NE(listing.find("TUTTI_EAGER_BYTES          16 KiB                   default\n"), std::string::npos);
}

TEST(Settings, AnUnknownOrMalformedOptionIsAnError) {
  EXPECT_EQ(read({}, {"TUTTI_TIMEOUTS=1s"}).status().text(),
            "TUTTI_TIMEOUTS is not a setting of Tutti 0.1; did you mean TUTTI_TIMEOUT?");
  EXPECT_EQ(read({}, {"TUTTI_TIMEOUT"}).status().text(),
            "option \"TUTTI_TIMEOUT\" has no value; expected NAME=VALUE");
  EXPECT_FALSE(read({}, {"TUTTI_RANK=3"}).is_ok());
}

TEST(Settings, TheSecretIsNeverListed) {
  const auto settings = read({"TUTTI_SECRET=hunter2"});
  ASSERT_TRUE(settings.is_ok());
  EXPECT_EQ(describe(*settings).find("hunter2"), std::string::npos);
  EXPECT_EQ(*read_secret(*settings), "hunter2");
}

TEST(Settings, ASecretFileMustBelongToItsOwnerAlone) {
  const std::string path = testing::TempDir() + "tutti_secret_" + std::to_string(getpid());
  std::ofstream(path) << "correct horse\n";
  const auto settings = read({"TUTTI_SECRET_FILE=" + path});
  ASSERT_TRUE(settings.is_ok());
  chmod(path.c_str(), 0644);
  EXPECT_EQ(read_secret(*settings).status().code(), Code::invalid);
  chmod(path.c_str(), 0600);
  EXPECT_EQ(*read_secret(*settings), "correct horse");
  std::ofstream(path, std::ios::trunc) << "\n";
  EXPECT_FALSE(read_secret(*settings).is_ok());
  unlink(path.c_str());
  EXPECT_EQ(read_secret(*settings).status().code(), Code::system);
  EXPECT_FALSE(read({"TUTTI_SECRET=a", "TUTTI_SECRET_FILE=" + path}).is_ok());
}

TEST(Settings, StragglersAreExcludedFromElasticCommunicatorsAlone) {
  const auto rigid = read({"TUTTI_STRAGGLER_POLICY=exclude"});
  ASSERT_FALSE(rigid.is_ok());
  EXPECT_NE(rigid.status().text().find("needs TUTTI_ELASTIC=on"), std::string::npos) << rigid.status().text();
  const auto elastic = read({"TUTTI_STRAGGLER_POLICY=exclude", "TUTTI_ELASTIC=on"});
  ASSERT_TRUE(elastic.is_ok()) << elastic.status().text();
  EXPECT_EQ(elastic->straggler_policy, StragglerAction::exclude);
}

TEST(Settings, NamesAreUniqueAndDescribed) {
  for (const Setting& row : settings_table()) {
    int same = 0;
    for (const Setting& other : settings_table()) same += other.name == row.name ? 1 : 0;
    EXPECT_EQ(same, 1) << row.name;
    EXPECT_TRUE(row.name.starts_with("TUTTI_"));
    EXPECT_TRUE(row.sentence.ends_with('.')) << row.name;
  }
}

// TUTTI_TEST_REWRITE=1 test_settings writes the page.
TEST(Settings, ThePageIsTheOneRenderedFromTheTable) {
  if (std::getenv("TUTTI_TEST_REWRITE")) std::ofstream(TUTTI_SETTINGS_PAGE) << settings_page();
  std::ifstream file(TUTTI_SETTINGS_PAGE);
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_EQ(page.str(), settings_page())
      << TUTTI_SETTINGS_PAGE << " is out of date; run: TUTTI_TEST_REWRITE=1 test_settings";
}

}  // namespace
}  // namespace tutti
