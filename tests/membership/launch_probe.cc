// launch_probe SIZE: what a process does that a real launcher starts. It reads its environment, joins the job's
// store, meets the others and ends with 0, or says on standard error what went wrong. Not a test by itself: the
// launchers that are installed run it (CMakeLists.txt).
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "src/membership/rendezvous.h"
#include "src/membership/stores.h"

namespace {

using namespace tutti;

int complain(const Status& status) {
  std::fprintf(stderr, "%s\n", status.text().c_str());
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 2;
  const auto launch = read_launch_environment(environ, read_launch_facts());
  if (!launch) return complain(launch.status());
  if (launch->size != std::atoi(arguments[1])) {
    std::fprintf(stderr, "%s says %d processes\n", launch->launcher.c_str(), launch->size);
    return 1;
  }
  const Instant deadline = deadline_after(monotonic_now(), std::chrono::seconds(60));
  const auto job = join_store(*launch, {"secret"}, deadline, Log());
  if (!job) return complain(job.status());
  const auto roster = rendezvous(*job->store, launch->job, launch->rank, launch->size, {}, deadline);
  if (!roster) return complain(roster.status());
  if (roster->members[static_cast<std::size_t>(launch->rank)].pid != getpid()) return 1;
  // Rank 0 may host the store: it stays until all have their roster.
  const auto left = job->store->add("left", 1, deadline);
  if (!left) return complain(left.status());
  while (launch->rank == 0) {
    const auto gone = job->store->add("left", 0, deadline);
    if (!gone) return complain(gone.status());
    if (*gone == launch->size) break;
    usleep(1000);
  }
  return 0;
}
