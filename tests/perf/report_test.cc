// The table and the JSON of a run.
#include "perf/tutti-perf/report.h"

#include <gtest/gtest.h>

#include <sstream>

namespace tutti_perf {
namespace {

Row row_of(Kind kind, std::uint64_t size, double time_us, std::uint64_t wrong) {
  Row row;
  row.what = {kind, TUTTI_FLOAT32, TUTTI_SUM, 0, size};
  row.count = size / 4;
  row.out_of_place.time_us = time_us;
  row.out_of_place.algorithm_gbps = algorithm_bandwidth(size, time_us);
  row.out_of_place.bus_gbps = row.out_of_place.algorithm_gbps * bus_factor(kind, 4);
  row.out_of_place.wrong = wrong;
  return row;
}

std::vector<std::string> words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

TEST(Report, ARowHasTheColumnsOfNcclTests) {
  Row row = row_of(Kind::all_reduce, 4096, 2, 3);
  row.in_place = row.out_of_place;
  row.in_place->wrong.reset();
  EXPECT_EQ(words(table_row(Options(), row)),
            (std::vector<std::string>{"4096", "1024", "float32", "sum", "-1", "2.000", "2.048", "3.072", "3", "2.000",
                                      "2.048", "3.072", "N/A"}));
}

TEST(Report, HeadingAndRowsLineUp) {
  Options options;
  options.latency = true;
  Row row = row_of(Kind::all_reduce, 1ull << 39, 123456, 0);
  row.out_of_place.latency = Latency{1, 2, 3, 4, 5};
  row.in_place = row.out_of_place;
  const std::string heading = table_heading(options, Kind::all_reduce);
  std::string last;
  std::istringstream lines(heading);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("size") != std::string::npos) last = line;
  }
  const std::string text = table_row(options, row);
  EXPECT_EQ(last.size(), text.size() - 1);
  EXPECT_EQ(words(last).size() - 1, words(text).size());
}

TEST(Report, TheSummaryAddsUp) {
  const std::vector<Row> rows = {row_of(Kind::all_reduce, 4096, 2, 3), row_of(Kind::all_reduce, 4096, 1, 4)};
  EXPECT_EQ(wrong_total(rows), 7u);
  EXPECT_NE(summary(rows).find("average bus bandwidth: 4.608 GB/s"), std::string::npos) << summary(rows);
  EXPECT_NE(summary(rows).find("wrong elements: 7"), std::string::npos);
}

TEST(Report, JsonHasWhatTheTableHas) {
  std::vector<Row> rows = {row_of(Kind::reduce, 4096, 2, 0), row_of(Kind::barrier, 0, 5, 0)};
  rows[0].in_place = rows[0].out_of_place;
  rows[0].out_of_place.latency = Latency{1, 2, 3, 4, 5};
  RunInfo info;
  info.ranks = 4;
  info.processes = {"a pid 1", "b pid 2", "c pid 3", "d pid 4"};
  info.transports = "tcp";
  const nlohmann::json run = nlohmann::json::parse(to_json(Options(), info, rows).dump());
  EXPECT_EQ(run["tool"], "tutti-perf");
  EXPECT_EQ(run["format"], 1);
  EXPECT_EQ(run["ranks"], 4);
  EXPECT_EQ(run["processes"].size(), 4u);
  EXPECT_EQ(run["transports"], "tcp");
  EXPECT_EQ(run["wrong"], 0);
  ASSERT_EQ(run["results"].size(), 2u);
  const auto& reduce = run["results"][0];
  EXPECT_EQ(reduce["collective"], "reduce");
  EXPECT_EQ(reduce["size"], 4096);
  EXPECT_EQ(reduce["type"], "float32");
  EXPECT_EQ(reduce["op"], "sum");
  EXPECT_EQ(reduce["root"], 0);
  EXPECT_DOUBLE_EQ(reduce["out_of_place"]["algbw_gbps"].get<double>(), 2.048);
  EXPECT_EQ(reduce["out_of_place"]["latency_us"]["p99"], 4);
  EXPECT_DOUBLE_EQ(reduce["in_place"]["time_us"].get<double>(), 2);
  EXPECT_TRUE(run["results"][1]["in_place"].is_null());
  EXPECT_EQ(run["results"][1]["op"], "-");
}

}  // namespace
}  // namespace tutti_perf
