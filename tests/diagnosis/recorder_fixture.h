// A directory of its own for each test, and recorders in it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "src/diagnosis/recorder.h"
#include "src/diagnosis/recorder_reader.h"

namespace tutti {

inline Instant at(std::int64_t ns) { return Instant(Nanoseconds(ns)); }

class RecorderTest : public ::testing::Test {
 protected:
  RecorderTest() {
    std::string name = (std::filesystem::temp_directory_path() / "tutti-recorder-test-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~RecorderTest() override { std::filesystem::remove_all(directory_); }

  RecorderOptions options() const {
    RecorderOptions options;
    options.directory = directory_;
    options.operations = 64;
    options.library_version = "1.2.3";
    options.process.high = 0xabcdef0112345678;
    options.process.low = 42;
    return options;
  }

  std::unique_ptr<Recorder> open() { return open(options()); }
  std::unique_ptr<Recorder> open(const RecorderOptions& options) {
    return Recorder::open(options, at(1000),
                          Log(LogLevel::warn, [this](LogLevel, std::string_view, std::string_view text) {
                            warnings_.emplace_back(text);
                          }));
  }

  static RecordedOperation all_reduce(std::uint64_t number) {
    RecordedOperation what;
    what.communicator = 1;
    what.number = number;
    what.kind = OperationKind::all_reduce;
    what.type = 10;
    what.count = number * 3;
    what.bytes = number * 12;
    return what;
  }

  static RecorderSnapshot read(const std::string& path) {
    auto snapshot = read_recorder(path);
    EXPECT_TRUE(snapshot.is_ok()) << snapshot.status().text();
    return snapshot.is_ok() ? *snapshot : RecorderSnapshot();
  }

  std::string directory_;
  std::vector<std::string> warnings_;
};

}  // namespace tutti
