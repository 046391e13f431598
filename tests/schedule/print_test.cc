// The text format: what it looks like, that it keeps everything, and that wrong text is refused by line.
#include "src/schedule/print.h"

#include <gtest/gtest.h>

#include "src/base/random.h"
#include "tests/schedule/cases.h"

namespace tutti {
namespace {

TEST(Print, ReadsAsDocumented) {
  const Program program =
      make_program(*find_algorithm(Collective::all_reduce, "ring"), {Collective::all_reduce, 2, 1, 0, true});
  EXPECT_EQ(print(program),
            "program all_reduce rank 1 of 2 root 0 in_place\n"
            "0 send input[0](0..1)/2 to 0\n"
            "1 reduce output[0](1..2)/2 of rank 0, input[0](1..2)/2 finish\n"
            "2 send output[0](1..2)/2 to 0 after 1\n"
            "3 receive output[0](0..1)/2 from 0 after 0\n");
}

TEST(Print, ParseGivesBackEveryAlgorithmsSchedule) {
  for (const Algorithm& algorithm : all_algorithms()) {
    for (const Rank ranks : {1, 2, 3, 5, 8, 13}) {
      for_each_call(algorithm.what, ranks, 4, [&](const Call& call) {
        const Schedule schedule = make_schedule(algorithm, call);
        const auto parsed = parse(print(schedule));
        ASSERT_TRUE(parsed.is_ok()) << describe(algorithm, call) << ": " << parsed.status().text();
        EXPECT_TRUE(*parsed == schedule) << describe(algorithm, call);
      });
    }
  }
}

TEST(Parse, TakesBlanksCommentsAndNoLastNewline) {
  const auto schedule = parse(
      "# a comment\n\n  tutti   schedule 1\r\n"
      "program reduce rank 0 of 1 root 0 in_place\n"
      "scratch input[0](1..2)/2\n"
      "  # another\n"
      "0\tcopy output[0] of input[0] finish");
  ASSERT_TRUE(schedule.is_ok()) << schedule.status().text();
  ASSERT_EQ(schedule->programs.size(), 1u);
  const Program& program = schedule->programs[0];
  EXPECT_TRUE(program.call.in_place);
  EXPECT_EQ(program.scratch[0], (View{Buffer::input, 0, 1, 1, 2, 2}));
  ASSERT_EQ(program.steps.size(), 1u);
  EXPECT_TRUE(program.steps[0].finish);
}

struct WrongText {
  const char* line;      // put after a right title and program line, so it is line 3
  const char* expected;  // words of the error
};

TEST(Parse, NamesTheLineAndQuotesWhatIsWrong) {
  const WrongText cases[] = {
      {"1 copy output[0] of input[0]", "expected step 0, found \"1 copy"},
      {"0 move output[0] of input[0]", "expected send, receive, reduce or copy, found \"move"},
      {"0 copy outptu[0] of input[0]", "expected a view"},
      {"0 copy output[0 of input[0]", "expected a view"},
      {"0 copy output[-1] of input[0]", "expected a view"},
      {"0 copy output[99999999999] of input[0]", "expected a view"},
      {"0 copy output[0](1..2/3 of input[0]", "expected a view"},
      {"0 copy output[0](1..2)/3x of input[0]", "expected a view"},
      {"0 copy output[0]", "expected \"of\", found the end of the line"},
      {"0 send input[0] to", "expected a number"},
      {"0 send input[0] from 1", "expected \"to\""},
      {"0 receive input[0] from 1 finish after", "expected a number"},
      {"0 reduce output[0] of rank 1,", "expected a view"},
      {"0 reduce output[0] of rank -1, input[0]", "not negative"},
      {"0 copy output[0] of input[0] after 0 now",
       "expected \"finish\", \"after\" or the end of the line, found \"now\""},
      {"program all_reduce rank 0 of 2", "expected \"root\""},
      {"program all_reduced rank 0 of 2 root 0", "the name of a collective"},
      {"program all_reduce rank 4294967296 of 2 root 0", "expected a rank"},
      {"program all_reduce rank 0 of 2 root 0 in-place", "expected \"in_place\""},
      {"scratch input[0] twice", "expected the end of the line"},
      {"\x01\xff", "found \"??\""},
  };
  for (const WrongText& wrong : cases) {
    const auto parsed =
        parse(std::string("tutti schedule 1\nprogram all_reduce rank 0 of 2 root 0\n") + wrong.line + "\n");
    ASSERT_FALSE(parsed.is_ok()) << wrong.line;
    EXPECT_EQ(parsed.status().code(), Code::invalid);
    EXPECT_NE(parsed.status().text().find("line 3: "), std::string::npos) << parsed.status().text();
    EXPECT_NE(parsed.status().text().find(wrong.expected), std::string::npos) << parsed.status().text();
  }
}

TEST(Parse, RefusesTextWithoutTitleOrProgram) {
  EXPECT_FALSE(parse("").is_ok());
  EXPECT_FALSE(parse("program all_reduce rank 0 of 1 root 0\n").is_ok());
  EXPECT_FALSE(parse("tutti schedule 2\n").is_ok());
  EXPECT_FALSE(parse("tutti schedule 1\n0 send input[0] to 1\n").is_ok());
}

TEST(Parse, SurvivesDamagedText) {
  const std::string text =
      print(make_schedule(*find_algorithm(Collective::all_gather, "bruck"), {Collective::all_gather, 5, 0, 0, true}));
  Random random(7);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = text;
    for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
      const std::size_t at = random.below(damaged.size());
      switch (random.below(3)) {
        case 0:
          damaged[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          damaged.erase(at, 1 + random.below(8));
          break;
        default:
          damaged.insert(at, damaged.substr(random.below(damaged.size()), random.below(20)));
      }
    }
    const auto parsed = parse(damaged);
    if (!parsed) {
      ++refused;
      continue;
    }
    const auto again = parse(print(*parsed));
    ASSERT_TRUE(again.is_ok()) << again.status().text();
    EXPECT_TRUE(*again == *parsed);
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace tutti
