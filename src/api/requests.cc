// Requests of the C API: waiting for operations in flight.
#include "src/api/handles.h"
#include "src/base/format.h"

namespace tutti {

namespace {

Instant limit(std::int64_t timeout_ns) { return deadline_after(monotonic_now(), Nanoseconds(timeout_ns)); }

Status check_request(const tutti_request* request) {
  if (request->runtime->is_inherited())
    return invalid("the request was made before this process was forked; it is the parent's to wait for");
  return {};
}

// The result of a complete operation; the request is gone afterwards.
Status take_result(tutti_request*& request) {
  const Status result = request->operation->result();
  const std::shared_ptr<Runtime> runtime = request->runtime;
  runtime->with_engine([&](Engine& engine, Instant) { engine.release(request->operation); });
  delete request;
  request = nullptr;
  return result;
}

Status not_yet(std::int64_t timeout_ns) {
  return {Code::timeout, format("the operation was not complete within {}; it goes on, and the request stays valid",
                                format_duration(Nanoseconds(timeout_ns)))};
}

}  // namespace

}  // namespace tutti

using tutti::invalid;
using tutti::report;

tutti_status tutti_request_wait(tutti_request** request, std::int64_t timeout_ns) {
  if (request == nullptr)
    return report(invalid("tutti_request_wait: request is NULL; pass the address of a request"));
  if (*request == nullptr) return TUTTI_OK;
  if (const tutti::Status status = tutti::check_request(*request); !status) return report(status);
  const tutti::Operation* const operation = (*request)->operation;
  if (!operation->is_complete() &&
      !(*request)->runtime->wait([&] { return operation->is_complete(); }, tutti::limit(timeout_ns))) {
    return report(tutti::not_yet(timeout_ns));
  }
  return report(tutti::take_result(*request));
}

tutti_status tutti_request_test(tutti_request** request, int* done) {
  if (request == nullptr || done == nullptr) return report(invalid("tutti_request_test: an argument is NULL"));
  *done = 1;
  if (*request == nullptr) return TUTTI_OK;
  if (const tutti::Status status = tutti::check_request(*request); !status) return report(status);
  const tutti::Operation* const operation = (*request)->operation;
  if (!operation->is_complete() &&
      !(*request)->runtime->wait([&] { return operation->is_complete(); }, tutti::monotonic_now())) {
    *done = 0;
    return TUTTI_OK;
  }
  return report(tutti::take_result(*request));
}

tutti_status tutti_request_notify(tutti_request* request, tutti_notify notify, void* user) {
  if (request == nullptr || notify == nullptr)
    return report(
        invalid("tutti_request_notify: an argument is NULL; the request of a group has to be started, too"));
  if (const tutti::Status status = tutti::check_request(request); !status) return report(status);
  request->runtime->watch(request->operation, notify, user);
  return TUTTI_OK;
}

tutti_status tutti_request_wait_any(std::size_t count, tutti_request* requests[], int* index,
                                    std::int64_t timeout_ns) {
  if (index == nullptr || (requests == nullptr && count > 0))
    return report(invalid("tutti_request_wait_any: an argument is NULL"));
  *index = -1;
  std::shared_ptr<tutti::Runtime> runtime;
  for (std::size_t i = 0; i < count; ++i) {
    if (requests[i] == nullptr) continue;
    if (const tutti::Status status = tutti::check_request(requests[i]); !status) return report(status);
    runtime = requests[i]->runtime;
  }
  if (!runtime) return TUTTI_OK;
  const auto find = [&] {
    for (std::size_t i = 0; i < count && *index < 0; ++i) {
      if (requests[i] != nullptr && requests[i]->operation->is_complete()) *index = static_cast<int>(i);
    }
    return *index >= 0;
  };
  if (!runtime->wait(find, tutti::limit(timeout_ns))) return report(tutti::not_yet(timeout_ns));
  return report(tutti::take_result(requests[*index]));
}

tutti_status tutti_request_wait_all(std::size_t count, tutti_request* requests[], std::int64_t timeout_ns) {
  if (requests == nullptr && count > 0) return report(invalid("tutti_request_wait_all: requests is NULL"));
  const tutti::Instant until = tutti::limit(timeout_ns);
  tutti::Status first;
  for (std::size_t i = 0; i < count; ++i) {
    if (requests[i] == nullptr) continue;
    tutti::Status status = tutti::check_request(requests[i]);
    if (status.is_ok()) {
      const tutti::Operation* const operation = requests[i]->operation;
      const bool done =
          operation->is_complete() || requests[i]->runtime->wait([&] { return operation->is_complete(); }, until);
      status = done ? tutti::take_result(requests[i]) : tutti::not_yet(timeout_ns);
    }
    if (first.is_ok()) first = status;
  }
  return report(first);
}
