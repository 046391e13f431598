// What plug-ins say by the logger that they are given: from any thread, at any time, also while the process ends.
#pragma once

#include <string>

#include "src/base/log.h"
#include "transports/ncclnet/abi.h"

namespace tutti::ncclnet {

// For a plug-in's init.
Logger logger();

// The last warning that was said in this thread, and forgets it; empty: none.
std::string take_warning();

// Writes what was said since the last call, warnings at level info, since whoever fails because of one repeats it.
// Says a lot, and nobody listens: the oldest lines are lost.
void write_words(const Log& log);

// Printable ASCII, cut off after `length_max`: names and words of plug-ins end in messages and on the wire.
std::string printable(const char* text, std::size_t length_max);

}  // namespace tutti::ncclnet
