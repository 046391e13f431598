// Asking whom the operations of a communicator wait for. Who that is, the engine knows (src/engine/stragglers.h).
#include "src/api/handles.h"
#include "src/base/format.h"

using tutti::invalid;
using tutti::report;

tutti_status tutti_comm_stragglers(tutti_comm* comm, std::size_t size, tutti_straggler stragglers[],
                                   std::size_t capacity, std::size_t* count) {
  tutti::Status status = tutti::check_communicator(comm);
  if (status.is_ok() && (count == nullptr || (stragglers == nullptr && capacity > 0)))
    status = invalid("tutti_comm_stragglers: an argument is NULL");
  if (status.is_ok() && size != sizeof(tutti_straggler))
    status = invalid(
        tutti::format("tutti_comm_stragglers: size is {}; pass sizeof(tutti_straggler), which is {} in this version",
                      size, sizeof(tutti_straggler)));
  if (!status) return report(status);
  const tutti::Instant now = tutti::monotonic_now();
  const auto reports = comm->runtime->with_engine(
      [&](const tutti::Engine& engine, tutti::Instant) { return engine.stragglers(comm->communicator, now); });
  *count = reports.size();
  for (std::size_t i = 0; i < std::min(capacity, reports.size()); ++i) {
    const tutti::StragglerReport& each = reports[i];
    stragglers[i].rank = each.who.rank;
    stragglers[i].how = static_cast<tutti_lateness>(each.who.how);
    stragglers[i].seen_by = each.who.seen_by;
    stragglers[i].operation = each.number;
    stragglers[i].waited_ns = each.waited.count();
    stragglers[i].late_ns = (now - each.who.since).count();
  }
  return TUTTI_OK;
}
