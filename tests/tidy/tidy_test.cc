// The sources keep the project's habits, and the check that says so sees what it should.
#include "tests/tidy/tidy.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/tidy/sources.h"

namespace tutti {
namespace {

using Sentences = std::vector<std::string>;

TEST(Tidy, HoldsInTheTree) {
  const std::vector<SourceFile> files = read_sources(
      TUTTI_ROOT, {"include", "src", "transports", "algorithms", "perf", "bindings", "examples", "tests"});
  std::set<std::string> paths;
  for (const SourceFile& file : files) paths.insert(file.path);
  ASSERT_GT(files.size(), 300u) << "the tree was not found";

  Sentences wrong;
  for (const SourceFile& file : files) {
    const std::string header = file.path.substr(0, file.path.rfind('.')) + ".h";
    for (const std::string& one : breaches(file.path, file.text, header != file.path && paths.contains(header))) {
      wrong.push_back(one);
    }
  }
  std::string all;
  for (const std::string& one : wrong) all += one + "\n";
  EXPECT_TRUE(wrong.empty()) << all;
}

// A file that has nothing wrong but what `line` brings.
Sentences judge(const std::string& path, const std::string& line) {
  const std::string once = path.ends_with(".h") ? "#pragma once\n" : "";
  return breaches(path, "// What it is.\n" + once + line + "\n", false);
}

TEST(Tidy, PassesWhatIsRight) {
  EXPECT_EQ(judge("src/base/a.cc", "int f() { return 0; }"), Sentences());
  EXPECT_EQ(judge("src/base/a.h", "int f();"), Sentences());
  EXPECT_EQ(judge("src/base/a.cc", std::string(120, '/')), Sentences());
  EXPECT_EQ(judge("src/base/a.cc", "// \xc3\xa9" + std::string(116, '-')), Sentences()) << "120 columns, 121 bytes";
  EXPECT_EQ(judge("src/base/a.cc", "// clang-format off\n" + std::string(150, '/') + "\n// clang-format on"),
            Sentences());
  EXPECT_EQ(judge("src/base/a.cc", "// clang-format off\n" + std::string(150, '/') + "\n// clang-format on"),
            Sentences());
}

TEST(Tidy, SeesWhatIsWrongWithALine) {
  const std::string to_do = std::string("// TO") + "DO: later";
  EXPECT_EQ(judge("src/base/a.cc", std::string(121, '/')),
            Sentences{"src/base/a.cc:2: 121 columns; 120 are allowed"});
  EXPECT_EQ(judge("src/base/a.cc", "\tint i;"), Sentences{"src/base/a.cc:2: a tab"});
  EXPECT_EQ(judge("src/base/a.cc", "int i; "), Sentences{"src/base/a.cc:2: blanks at the end"});
  EXPECT_EQ(judge("src/base/a.cc", "int i;\r"), Sentences{"src/base/a.cc:2: a carriage return"});
  EXPECT_EQ(judge("src/base/a.cc", to_do).size(), 1u);
  EXPECT_EQ(breaches("src/base/a.cc", "// What it is.", false), Sentences{"src/base/a.cc:1: no newline at the end"});
}

TEST(Tidy, SeesAFileThatIsTooLong) {
  std::string text = "// What it is.\n";
  for (int i = 0; i < 600; ++i) text += "\n";
  EXPECT_EQ(breaches("src/base/a.cc", text, false), Sentences{"src/base/a.cc:601: 601 lines; 600 are allowed"});
}

TEST(Tidy, WantsAnOpening) {
  EXPECT_EQ(breaches("src/base/a.cc", "int i;\n", false),
            Sentences{"src/base/a.cc:1: does not open with a comment that says what it is"});
  EXPECT_EQ(breaches("src/base/a.cc", "int i;\n", true),
            Sentences{"src/base/a.cc:1: does not open with a comment that says what it is, nor with a.h"});
  EXPECT_EQ(breaches("src/base/a.cc", "#include \"src/base/a.h\"\n", true), Sentences());
  EXPECT_EQ(breaches("src/base/a.cc", "/* What it is. */\n", false), Sentences());
}

TEST(Tidy, WantsHeadersThatCanBeIncluded) {
  EXPECT_EQ(breaches("src/base/a.h", "// What it is.\nint i;\n", false),
            Sentences{"src/base/a.h:1: a header without #pragma once"});
  EXPECT_EQ(judge("src/base/a.h", "using namespace std;"), Sentences{"src/base/a.h:3: using namespace in a header"});
  EXPECT_EQ(judge("src/base/a.cc", "using namespace std::chrono_literals;"), Sentences());
}

struct Call {
  const char* line;
  bool is_allowed;
};

TEST(Tidy, SeesCallsThatALibraryDoesNotMake) {
  const Call calls[] = {
      {"int i = atoi(text);", false},
      {"std::abort();", false},
      {"::exit(1);", false},
      {"if (x) return system(command);", false},
      {"  printf (text);", false},
      {"std::cerr << 1;", false},
      {"engine.abort(why);", true},
      {"engine->abort(why);", true},
      {"void Engine::abort(Status why) {}", true},
      {"void abort(Status why);", true},
      {"// atoi(text) would not do", true},
      {"/* atoi(text)\n atoi(text) */", true},
      {"auto text = \"use atoi(text)\";", true},
      {"auto text = \"a \\\" atoi(text)\";", true},
      {"int big = 1'000; int i = atoi(text);", false},
      {"char c = '\"'; int i = atoi(text);", false},
      {"my_atoi(text);", true},
      {"snprintf(text, 3, format);", true},
  };
  for (const Call& call : calls) {
    EXPECT_EQ(judge("transports/tcp/a.cc", call.line).empty(), call.is_allowed) << call.line;
    EXPECT_EQ(judge("perf/tutti-perf/a.cc", call.line), Sentences()) << call.line;
  }
}

TEST(Tidy, SeesClocksWhereTimeIsAnArgument) {
  EXPECT_EQ(judge("src/engine/a.cc", "const Instant now = monotonic_now();"),
            Sentences{"src/engine/a.cc:2: time and chance are arguments here; this calls monotonic_now"});
  EXPECT_EQ(judge("transports/sim/a.cc", "const Instant now = network.time();"), Sentences());
  EXPECT_EQ(judge("src/api/a.cc", "const Instant now = monotonic_now();"), Sentences());
}

}  // namespace
}  // namespace tutti
