// --launch: starts the ranks on this host, watches them, and ends the others when one goes wrong.
#pragma once

#include <string>
#include <vector>

namespace tutti_perf {

// Runs this program `ranks` times with these arguments, each with TUTTI_RANK, TUTTI_SIZE, a store in a directory of
// its own and a random secret. Returns the exit status for the whole: 0 if every rank returned 0. When one ends badly
// the others have a few seconds to say what they see, then they are ended; a sentence names the first and how it
// ended.
int launch(int ranks, const std::vector<std::string>& arguments);

// "was killed by signal 9 (Killed)", "ended with exit status 1", for a status of waitpid.
std::string how_it_ended(int wait_status);

}  // namespace tutti_perf
