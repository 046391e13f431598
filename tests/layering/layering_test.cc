// The order of the folders holds in the whole tree, and the check that says so refuses what it should.
#include "tests/layering/layering.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/tidy/sources.h"

namespace tutti {
namespace {

using Sentences = std::vector<std::string>;

TEST(Layering, HoldsInTheTree) {
  const std::vector<SourceFile> files =
      read_sources(TUTTI_ROOT, {"include", "src", "transports", "algorithms", "perf", "bindings", "examples"});
  Sentences wrong;
  for (const SourceFile& file : files) {
    for (const std::string& sentence : wrong_arrows(file.path, file.text)) wrong.push_back(sentence);
  }
  EXPECT_GT(files.size(), 200u) << "the tree was not found";
  EXPECT_EQ(wrong, Sentences());
}

TEST(Layering, EveryFolderOfTheTableExistsOrIsStillToCome) {
  for (const Layer& layer : layers()) {
    if (layer.folder == "bindings") continue;  // comes with the first binding
    EXPECT_TRUE(std::filesystem::is_directory(std::filesystem::path(TUTTI_ROOT) / layer.folder)) << layer.folder;
  }
}

TEST(Layering, HasNoCircle) {
  // Folders stand in the table from the bottom up, so whoever uses only folders above it in the list ends no circle.
  std::vector<std::string_view> listed;
  for (const Layer& layer : layers()) {
    for (const std::string_view used : layer.may_include) {
      EXPECT_NE(std::find(listed.begin(), listed.end(), used), listed.end()) << layer.folder << " uses " << used;
    }
    listed.push_back(layer.folder);
  }
}

struct Case {
  const char* description;
  const char* path;
  const char* line;
  bool is_allowed;
};

TEST(Layering, JudgesSingleArrows) {
  const Case cases[] = {
      {"a transport knows the contract", "transports/tcp/link.cc", "#include \"src/transport/transport.h\"", true},
      {"a transport knows memory", "transports/shm/link.cc", "#include \"src/memory/shared_regions.h\"", true},
      {"a transport knows itself", "transports/tcp/link.cc", "#include \"transports/tcp/socket.h\"", true},
      {"a transport knows no schedule", "transports/tcp/link.cc", "#include \"src/schedule/schedule.h\"", false},
      {"a transport knows no engine", "transports/shm/link.cc", "#include \"src/engine/frame.h\"", false},
      {"a transport knows no other", "transports/tcp/link.cc", "#include \"transports/shm/shm.h\"", false},
      {"an algorithm knows schedules", "algorithms/ring.cc", "#include \"src/schedule/builder.h\"", true},
      {"an algorithm knows no memory", "algorithms/ring.cc", "#include \"src/memory/reduce.h\"", false},
      {"an algorithm knows no transport", "algorithms/ring.h", "#include \"src/transport/transport.h\"", false},
      {"base knows nobody", "src/base/status.cc", "#include \"src/memory/datatype.h\"", false},
      {"base knows itself", "src/base/status.cc", "#include \"src/base/status.h\"", true},
      {"schedules know no memory", "src/schedule/view.h", "#include \"src/memory/datatype.h\"", false},
      {"planning knows the catalogue", "src/planning/plan.h", "#include \"algorithms/catalog.h\"", true},
      {"planning knows no engine", "src/planning/plan.h", "#include \"src/engine/engine.h\"", false},
      {"the engine knows no transport by name", "src/engine/engine.cc", "#include \"transports/tcp/tcp.h\"", false},
      {"the engine knows no C API", "src/engine/engine.cc", "#include \"tutti/tutti.h\"", false},
      {"membership knows no engine", "src/membership/store.h", "#include \"src/engine/engine.h\"", false},
      {"the API names transports", "src/api/runtime.cc", "#include \"transports/tcp/tcp.h\"", true},
      {"the API ships no test transport", "src/api/runtime.cc", "#include \"transports/sim/sim_network.h\"", false},
      {"the product knows no test", "src/api/runtime.cc", "#include \"tests/engine/cluster.h\"", false},
      {"tools use the public header", "perf/tutti-perf/main.cc", "#include <tutti/tutti.h>", true},
      {"tools do not look behind it", "perf/tutti-perf/main.cc", "#include \"src/api/runtime.h\"", false},
      {"bindings do not look behind it", "bindings/nccl/nccl.cc", "#include \"src/engine/engine.h\"", false},
      {"the public header needs nobody", "include/tutti/tutti.h", "#include \"src/base/status.h\"", false},
      {"spaces do not hide an arrow", "src/base/status.cc", "  #  include  \"src/engine/engine.h\"", false},
      {"relative paths are refused", "src/engine/wire.cc", "#include \"../transport/transport.h\"", false},
      {"a new folder needs its place", "src/novelty/novelty.cc", "#include <vector>", false},
      {"other people's headers are free", "algorithms/ring.cc", "#include <openssl/evp.h>", true},
      {"comments are not read", "algorithms/ring.cc", "// not #include \"src/memory/reduce.h\"", true},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(wrong_arrows(one.path, one.line).empty(), one.is_allowed) << one.description;
  }
}

TEST(Layering, SaysWhereTheArrowIs) {
  EXPECT_EQ(wrong_arrows("algorithms/ring.cc", "// Ring.\n#include \"src/memory/reduce.h\"\n"),
            Sentences{"algorithms/ring.cc:2: algorithms may not include src/memory/reduce.h"});
}

}  // namespace
}  // namespace tutti
