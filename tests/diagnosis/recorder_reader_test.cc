// The reader against files that are not what they should be.
#include "src/diagnosis/recorder_reader.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "src/base/random.h"
#include "src/diagnosis/recorder_report.h"
#include "tests/diagnosis/recorder_fixture.h"

namespace tutti {
namespace {

class ReaderTest : public RecorderTest {
 protected:
  // A good file, as bytes.
  std::string good() {
    const auto recorder = open();
    const RecordedMember members[] = {{"a", {}, 1}, {"b", {}, 2}};
    recorder->open_communicator({{1, 1}, "world", 0, 2, members}, at(1));
    for (std::uint64_t i = 1; i <= 10; ++i) {
      const auto operation = recorder->begin_operation(all_reduce(i), at(2));
      recorder->begin_peer(operation, {1, 0, Direction::receive, 0, 8}, at(3));
      if (i % 2 == 0) recorder->end_operation(operation, Code::ok, Status::kNobody, at(4));
      recorder->note_lane({"b", 2, 1, LaneChange::lost, 0, "a cable"}, at(4));
    }
    std::ifstream file(recorder->path(), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  Result<RecorderSnapshot> read_bytes(const std::string& bytes) {
    const int fd = memfd_create("record", MFD_CLOEXEC);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    auto snapshot = read_recorder(fd, "record");
    close(fd);
    return snapshot;
  }

  void expect_refused(const std::string& bytes, const std::string& why) {
    const auto snapshot = read_bytes(bytes);
    ASSERT_FALSE(snapshot.is_ok());
    EXPECT_EQ(snapshot.status().code(), Code::invalid);
    EXPECT_NE(snapshot.status().text().find(why), std::string::npos) << snapshot.status().text();
  }

  template <typename Change>
  std::string changed(Change change) {
    std::string bytes = good();
    RecorderHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    change(header);
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
  }
};

TEST_F(ReaderTest, RefusesWhatIsNoRecorderFileAndSaysWhy) {
  expect_refused("", "it has 0 bytes");
  expect_refused(std::string(5000, 'x'), "TUTTIREC");
  expect_refused(changed([](RecorderHeader& h) { h.version = 9; }), "its version is 9, this program reads 2");
  expect_refused(good().substr(0, 10000), "it has 10000 bytes where");
}

TEST_F(ReaderTest, RefusesTablesThatDoNotFit) {
  expect_refused(changed([](RecorderHeader& h) { h.operations.entries = 1u << 26; }), "table of operations");
  expect_refused(changed([](RecorderHeader& h) { h.operations.entries = ~0u; }), "table of operations");
  expect_refused(changed([](RecorderHeader& h) { h.peers.offset = ~0ull; }), "table of peers");
  expect_refused(changed([](RecorderHeader& h) { h.members.entry_bytes = 0; }), "table of members");
  expect_refused(changed([](RecorderHeader& h) { h.lanes.entries = 0x8000; }), "table of lanes");
  expect_refused(changed([](RecorderHeader& h) { h.communicators.offset = 0; }), "table of communicators");
}

TEST_F(ReaderTest, RefusesDirectoriesAndMissingFiles) {
  EXPECT_EQ(read_recorder(directory_).status().code(), Code::invalid);
  const Status missing = read_recorder(directory_ + "/nobody").status();
  EXPECT_EQ(missing.code(), Code::system);
  EXPECT_NE(missing.text().find("ENOENT"), std::string::npos) << missing.text();
}

TEST_F(ReaderTest, DoesNotWaitAtAPipe) {
  const std::string path = directory_ + "/pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(read_recorder(path).status().code(), Code::invalid);
}

TEST_F(ReaderTest, CountsEntriesThatAreBeingWritten) {
  const auto recorder = open();
  recorder->begin_operation(all_reduce(1), at(2));
  recorder->begin_operation(all_reduce(2), at(2));
  // Given that a writer was killed inside the second entry
  std::fstream file(recorder->path(), std::ios::binary | std::ios::in | std::ios::out);
  RecorderHeader header;
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  file.seekp(static_cast<std::streamoff>(header.operations.offset + sizeof(OperationEntry)));
  const std::uint32_t odd = 3;
  file.write(reinterpret_cast<const char*>(&odd), sizeof odd);
  file.close();
  const RecorderSnapshot snapshot = read(recorder->path());
  EXPECT_EQ(snapshot.operations.size(), 1u);
  EXPECT_EQ(snapshot.entries_torn, 1u);
}

TEST_F(ReaderTest, MakesTextPrintable) {
  const auto snapshot = read_bytes(changed([](RecorderHeader& h) { std::memcpy(h.host, "a\033[2Jb\n", 8); }));
  ASSERT_TRUE(snapshot.is_ok());
  EXPECT_EQ(snapshot->host, "a?[2Jb?");
}

TEST_F(ReaderTest, SurvivesRandomDamage) {
  const std::string original = good();
  Random random(20261121);
  const int rounds = std::getenv("TUTTI_TEST_LONG") != nullptr ? 50'000 : 500;
  for (int round = 0; round < rounds; ++round) {
    std::string bytes = original;
    const std::uint64_t changes = 1 + random.below(40);
    for (std::uint64_t i = 0; i < changes; ++i) {
      // Half of the damage in the header and the first entries, where it matters most.
      const std::uint64_t range = random.chance(0.5) ? 512 : bytes.size();
      bytes[random.below(range)] = static_cast<char>(random.next());
    }
    // Damage to the first words is found at once; this goes for what lies behind.
    if (round % 4 != 0) std::memcpy(bytes.data(), original.data(), 24);
    const auto snapshot = read_bytes(bytes);
    if (!snapshot) continue;
    const std::int64_t now_ns = reference_ns(*snapshot, 5);
    EXPECT_FALSE(describe_process(*snapshot, now_ns).empty());
    EXPECT_FALSE(describe_operations(*snapshot, 100, now_ns).empty());
    describe_pending(*snapshot, now_ns);
    describe_lanes(*snapshot, 100);
  }
}

}  // namespace
}  // namespace tutti
