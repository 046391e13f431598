// Results, types, memory and versions: what needs no communicator.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_set>

#include "src/api/handles.h"
#include "src/base/format.h"
#include "src/memory/datatype.h"

namespace tutti {

namespace {

thread_local std::string last_error;
thread_local int last_error_rank = Status::kNobody;

}  // namespace

tutti_status report(const Status& status) {
  if (!status) {
    last_error = status.text();
    last_error_rank = status.culprit();
  }
  return static_cast<tutti_status>(status.code());
}

tutti_status give_text(const std::string& text, char* buffer, std::size_t capacity, std::size_t* needed) {
  if (needed != nullptr) *needed = text.size();
  if (buffer != nullptr && capacity > 0) {
    const std::size_t length = std::min(text.size(), capacity - 1);
    std::memcpy(buffer, text.data(), length);
    buffer[length] = '\0';
  }
  return TUTTI_OK;
}

}  // namespace tutti

using tutti::format;
using tutti::invalid;
using tutti::report;

const char* tutti_status_name(tutti_status status) {
  switch (status) {
    case TUTTI_OK:
      return "TUTTI_OK";
    case TUTTI_AGAIN:
      return "TUTTI_AGAIN";
    case TUTTI_INVALID:
      return "TUTTI_INVALID";
    case TUTTI_UNSUPPORTED:
      return "TUTTI_UNSUPPORTED";
    case TUTTI_TIMEOUT:
      return "TUTTI_TIMEOUT";
    case TUTTI_PEER_LOST:
      return "TUTTI_PEER_LOST";
    case TUTTI_ABORTED:
      return "TUTTI_ABORTED";
    case TUTTI_SYSTEM:
      return "TUTTI_SYSTEM";
    case TUTTI_INTERNAL:
      return "TUTTI_INTERNAL";
  }
  return "not a tutti_status";
}

const char* tutti_last_error(void) { return tutti::last_error.c_str(); }

int tutti_last_error_rank(void) { return tutti::last_error_rank; }

int tutti_version(void) { return TUTTI_VERSION; }

std::size_t tutti_datatype_size(tutti_datatype type) {
  return static_cast<unsigned>(type) < tutti::kDataTypes ? tutti::size_of(static_cast<tutti::DataType>(type)) : 0;
}

const char* tutti_datatype_name(tutti_datatype type) {
  if (static_cast<unsigned>(type) >= tutti::kDataTypes) return nullptr;
  return tutti::name(static_cast<tutti::DataType>(type)).data();
}

const char* tutti_op_name(tutti_op op) {
  if (static_cast<unsigned>(op) >= tutti::kReduceOps) return nullptr;
  return tutti::name(static_cast<tutti::ReduceOp>(op)).data();
}

tutti_status tutti_mem_alloc(void** memory, std::size_t bytes) {
  if (memory == nullptr) return report(invalid("tutti_mem_alloc: memory is NULL; pass the address of a pointer"));
  *memory = nullptr;
  if (bytes == 0) return TUTTI_OK;
  const tutti::Result<std::byte*> allocated = tutti::Runtime::regions().allocate(bytes);
  if (!allocated)
    return report(allocated.status().prefixed(format("tutti_mem_alloc of {}", tutti::format_bytes(bytes))));
  *memory = *allocated;
  return TUTTI_OK;
}

tutti_status tutti_mem_free(void* memory) {
  if (memory == nullptr) return TUTTI_OK;
  return report(tutti::Runtime::regions().free(static_cast<std::byte*>(memory)));
}

struct tutti_memory {
  void* memory;
  std::size_t bytes;
};

namespace {

// The handles that are registered, so that a stale one is refused instead of used.
struct Registered {
  std::mutex mutex;
  std::unordered_set<const tutti_memory*> handles;
};
Registered& registered() {
  static Registered* const instance = new Registered;
  return *instance;
}

}  // namespace

tutti_status tutti_mem_register(void* memory, std::size_t bytes, tutti_memory** handle) {
  if (handle == nullptr) return report(invalid("tutti_mem_register: handle is NULL; pass the address of a pointer"));
  *handle = nullptr;
  if (memory == nullptr || bytes == 0) {
    return report(invalid(format("tutti_mem_register: {} bytes at {}; expected memory that is mapped", bytes,
                                 static_cast<const void*>(memory))));
  }
  // Shared memory reads any memory of a peer, and TCP sends from it: neither has anything to prepare.
  *handle = new tutti_memory{memory, bytes};
  const std::lock_guard lock(registered().mutex);
  registered().handles.insert(*handle);
  return TUTTI_OK;
}

tutti_status tutti_mem_deregister(tutti_memory* handle) {
  {
    const std::lock_guard lock(registered().mutex);
    if (registered().handles.erase(handle) == 0) {
      return report(
          invalid("tutti_mem_deregister: not a handle that tutti_mem_register gave and that is still registered"));
    }
  }
  delete handle;
  return TUTTI_OK;
}

tutti_status tutti_recorder_path(char* text, std::size_t capacity, std::size_t* needed) {
  const std::shared_ptr<tutti::Runtime> runtime = tutti::Runtime::current();
  return tutti::give_text(runtime ? runtime->recorder_path() : std::string(), text, capacity, needed);
}
