// Copies of the test's plug-in, each a library of its own for the linker, in which something can be made to go wrong.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace tutti {

inline std::string test_plugin(const std::string& which) {
  return TUTTI_TEST_NET_FOLDER "/libnccl-net-test_" + which + ".so";
}

// socket_plugin.cc says what can be asked for. `path` must not be loaded already for what the table lacks to be seen.
inline void break_plugin(const std::string& path, const std::string& what, int after = 0) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto* const break_it = reinterpret_cast<void (*)(const char*, int)>(dlsym(library, "tutti_test_net_break"));
  ASSERT_NE(break_it, nullptr);
  break_it(what.c_str(), after);
}

class PluginCopy {
 public:
  explicit PluginCopy(const std::string& which) {
    std::string name = std::filesystem::temp_directory_path() / "tutti-plugin-XXXXXX";
    folder_ = mkdtemp(name.data());
    std::filesystem::copy_file(test_plugin(which), path());
  }
  ~PluginCopy() { std::filesystem::remove_all(folder_); }
  PluginCopy(const PluginCopy&) = delete;
  PluginCopy& operator=(const PluginCopy&) = delete;

  std::string path() const { return folder_ / "libnccl-net-copy.so"; }
  std::string folder() const { return folder_.string(); }

 private:
  std::filesystem::path folder_;
};

}  // namespace tutti
