// --trace: the last operations of every rank, from their flight recorders, as one file of trace events that
// ui.perfetto.dev and chrome://tracing open (the Trace Event Format: "X" slices, "M" names, "s" and "f" arrows, "i"
// marks).
//
// A rank is a process there. Its first row shows the operations; below stand a row for each peer it received from and
// one for each it sent to. On these a slice "waits" goes from when this rank was ready to the first byte, and a slice
// of bytes from there to the last. A lane that was lost or is back is a mark across the rank. Times are UTC by each
// host's clock, so the rows of one host agree to the microsecond, those of several as well as their clocks do.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "perf/tutti-perf/session.h"
#include "src/diagnosis/recorder_reader.h"

namespace tutti_perf {

constexpr std::size_t kTracedOperations = 64;  // of each rank, the last; a bigger file helps nobody

// The events of one rank: of the last `operations_max` operations on the communicator in which it is `rank`, and of
// the lanes since then.
nlohmann::json trace_events(const tutti::RecorderSnapshot& snapshot, int rank, std::size_t operations_max);

// Whom each rank waited for longest in the largest operation (of several the last): one line for each rank, each
// after a '#'.
std::string trace_summary(const nlohmann::json& events);

// Collective. Writes the events of all ranks to the file `path` on rank 0; `summary` is filled there.
Error write_trace(Session& session, const std::string& path, std::string& summary);

}  // namespace tutti_perf
