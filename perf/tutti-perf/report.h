// What a run shows: a table with the columns of nccl-tests, and the same as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "perf/tutti-perf/measure.h"

namespace tutti_perf {

struct Row {
  Case what;
  std::size_t count = 0;
  Measurement out_of_place;
  std::optional<Measurement> in_place;
};

struct RunInfo {
  int ranks = 0;
  std::vector<std::string> processes;  // "node01 4711", by rank
  std::string transports;
  std::string command;
  std::string started_utc;
};

std::string heading(const Options& options, const RunInfo& info);
std::string table_heading(const Options& options, Kind kind);
std::string table_row(const Options& options, const Row& row);
std::string summary(const std::vector<Row>& rows);

std::uint64_t wrong_total(const std::vector<Row>& rows);

nlohmann::json to_json(const Options& options, const RunInfo& info, const std::vector<Row>& rows);

}  // namespace tutti_perf
