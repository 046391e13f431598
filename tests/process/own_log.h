// OwnLog: what one process of a test's job logs, in a file of its own. To be made before its first communicator.
#pragma once

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/process/job.h"

namespace tutti_test {

class OwnLog {
 public:
  OwnLog() : path_(directory_.path() + "/log") { setenv("TUTTI_LOG_FILE", path_.c_str(), 1); }

  std::string text() const {
    std::ifstream in(path_);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

 private:
  TemporaryDirectory directory_;
  std::string path_;
};

inline int lines_with(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace tutti_test
