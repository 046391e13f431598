// Sources: the files of the project as text, for the tests that read them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tutti {

struct SourceFile {
  std::string path;  // relative to the root, with '/'
  std::string text;
};

// All C and C++ files in these folders of `root`, sorted by path. Folders that do not exist are passed over.
std::vector<SourceFile> read_sources(const std::string& root, const std::vector<std::string>& folders);

}  // namespace tutti
