// Print and parse: schedules as text, for people and for files. parse(print(s)) == s for every schedule the Builder
// makes (that is, with each program's vectors filled in step order, ranges of nothing {0, 0} and unused fields left
// alone).
//
//   tutti schedule 1
//   program all_reduce rank 0 of 4 root 0 in_place
//   scratch output[0]
//   0 send input[0](3..4)/4 to 1
//   1 reduce output[0](2..3)/4 of rank 3, input[0](2..3)/4 finish
//   2 receive output[0](1..2)/4 from 3 after 0 1
//   3 copy output[1] of scratch[0]
//   program all_reduce rank 1 of 4 root 0
//   ...
//
// One line a step, numbered from 0 in each program. A view is a buffer, its block, and the part of it if that is not
// written 0..1/1; input[2+3] is the run of blocks 2, 3 and 4. A scratch line adds one scratch block of that length.
// Words are separated by blanks; empty lines and lines that begin with # mean nothing.
#pragma once

#include <string>
#include <string_view>

#include "src/base/status.h"
#include "src/schedule/schedule.h"

namespace tutti {

std::string print(const View& view);                          // "input[0](1..2)/4"
std::string print(const Program& program, const Step& step);  // without number and `after`: "send input[0] to 1 2"
std::string print(const Program& program);
std::string print(const Schedule& schedule);

// An error names the line and quotes what was found there. Takes memory in proportion to the text, whatever it says.
// The result is a value as written: whether it is a right schedule is the verifier's question.
Result<Schedule> parse(std::string_view text);

}  // namespace tutti
