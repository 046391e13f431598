// A fabric's library that cannot be loaded, is too old, or lacks a function is refused in one sentence that names it,
// the version and what to do; in a list with other transports, too, since it was asked for by name.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace tutti {
namespace {

struct Said {
  int status = -1;
  std::string text;
};

// What a program says that finds the libraries of this kind first.
Said run(const std::string& kind, const std::string& transports) {
  const std::string command = std::string("env LD_LIBRARY_PATH=" TUTTI_FAKE_LIBRARIES "/") + kind +
                              " TUTTI_SECRET=only-for-this-test TUTTI_TRANSPORTS=" + transports +
                              " timeout 60 " TUTTI_PERF " all_reduce --launch 2 -e 8 2>&1";
  Said said;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return said;
  for (int c = 0; (c = fgetc(pipe)) != EOF;) said.text += static_cast<char>(c);
  const int status = pclose(pipe);
  said.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return said;
}

void refuses(const std::string& kind, const std::string& transports, const std::string& sentence) {
  const Said said = run(kind, transports);
  EXPECT_NE(said.status, 0) << said.text;
  EXPECT_NE(said.text.find(sentence), std::string::npos) << said.text;
}

#ifdef TUTTI_HAS_UCX
TEST(FabricLibraries, OneThatCannotBeLoadedIsNamedWithTheLinkersWords) {
  refuses("broken", "ucx",
          "transport ucx (TUTTI_TRANSPORTS) cannot be used: libucp.so.0 cannot be loaded: " TUTTI_FAKE_LIBRARIES
          "/broken/libucp.so.0: ");
  refuses("broken", "ucx,tcp", "Install it, or leave it out of TUTTI_TRANSPORTS");
}

TEST(FabricLibraries, OneThatIsTooOldSaysWhichAndWhatWasExpected) {
  refuses("old", "ucx", "libucp.so.0 is UCX 1.9.0 and has no ucp_config_read; expected 1.13 or a later one of that");
}

TEST(FabricLibraries, OneThatLacksAFunctionNamesIt) {
  refuses("torn", "ucx", "libucp.so.0 is UCX 1.13.0 and has no ucp_config_read");
}
#endif

#ifdef TUTTI_HAS_OFI
TEST(FabricLibraries, OfLibfabricTheSame) {
  refuses("broken", "ofi", "libfabric.so.1 cannot be loaded: " TUTTI_FAKE_LIBRARIES "/broken/libfabric.so.1: ");
  refuses("old", "ofi", "libfabric.so.1 is libfabric 1.11 and has no fi_getinfo; expected 1.17 or later");
  refuses("torn", "ofi", "libfabric.so.1 is libfabric 1.17 and has no fi_getinfo");
}
#endif

TEST(FabricLibraries, WhoeverDoesNotAskForThemIsNotTroubled) {
  const Said said = run("broken", "auto");
  EXPECT_EQ(said.status, 0) << said.text;
}

}  // namespace
}  // namespace tutti
