#include "bindings/torch/src/failure.h"

#include <c10/util/Exception.h>

namespace tutti::pytorch {

namespace {

std::string kind_of(const Failure& failure) {
  const std::string rank = failure.rank < 0 ? "" : " (rank " + std::to_string(failure.rank) + ")";
  switch (failure.status) {
    case TUTTI_TIMEOUT:
      return failure.rank < 0 ? " Timed out " : " Timed out waiting for rank " + std::to_string(failure.rank);
    case TUTTI_PEER_LOST:
      return ": Connection closed by peer" + rank;
    case TUTTI_ABORTED:
      return " was aborted" + rank;
    default:
      return rank;
  }
}

}  // namespace

Failure Failure::of(tutti_status status) {
  if (status == TUTTI_OK) return {};
  return {status, tutti_last_error(), tutti_last_error_rank()};
}

std::exception_ptr exception_of(const Failure& failure, const std::string& what, const std::string& group) {
  try {
    raise(failure, what, group);
  } catch (...) {
    return std::current_exception();
  }
}

void raise(const Failure& failure, const std::string& what, const std::string& group) {
  C10_THROW_ERROR(DistBackendError, what + " of process group " + group + kind_of(failure) + ": " + failure.text +
                                        " [" + tutti_status_name(failure.status) + "]");
}

}  // namespace tutti::pytorch
