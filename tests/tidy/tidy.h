// Tidy: the habits of this project that a program can check in its sources.
//
//   everywhere   lines of at most 120 columns (but in tables between "clang-format off" and "on"); no tabs, no blanks
//   at the end of a line, no carriage returns; a newline
//                at the end; at most 600 lines; no notes of things to be done
//   opening      a file begins with a comment that says what it is; name.cc beside name.h may leave that to the
//   header
//                and includes it first
//   headers      #pragma once, or the guard of a C header; no "using namespace"
//   library      (src, transports, algorithms) prints nothing, ends no process, and uses no call that cannot report
//   an
//                error or bound what it writes
//   clockless    (schedules, algorithms, planning, memory, engine, the simulated, fault and self transports) reads no
//                clock and no random device: time and chance are arguments there
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tutti {

// One sentence for each breach in the text of the file at `path` (relative to the project's root). `has_header` says
// whether name.h lies beside name.cc.
std::vector<std::string> breaches(std::string_view path, std::string_view text, bool has_header);

}  // namespace tutti
