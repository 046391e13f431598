// The functions of libibverbs, found at run time: one build runs where there is no RDMA at all. What the library's
// header has inline (posting and polling) goes through the device's own table and needs nothing here.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <functional>
#include <string>

#include "src/base/status.h"
#include "transports/verbs/gid.h"

// Each CALL(name) is ibv_name of the library.
#define TUTTI_VERBS_CALLS(CALL) \
  CALL(get_device_list)         \
  CALL(free_device_list)        \
  CALL(get_device_name)         \
  CALL(open_device)             \
  CALL(close_device)            \
  CALL(query_device)            \
  CALL(query_port)              \
  CALL(query_gid)               \
  CALL(alloc_pd)                \
  CALL(dealloc_pd)              \
  CALL(reg_mr)                  \
  CALL(dereg_mr)                \
  CALL(create_comp_channel)     \
  CALL(destroy_comp_channel)    \
  CALL(create_cq)               \
  CALL(resize_cq)               \
  CALL(destroy_cq)              \
  CALL(get_cq_event)            \
  CALL(ack_cq_events)           \
  CALL(create_qp)               \
  CALL(modify_qp)               \
  CALL(destroy_qp)              \
  CALL(get_async_event)         \
  CALL(ack_async_event)         \
  CALL(wc_status_str)           \
  CALL(event_type_str)

namespace tutti::verbs {

struct Library {
#define TUTTI_VERBS_MEMBER(name) decltype(&::ibv_##name) name = nullptr;
  TUTTI_VERBS_CALLS(TUTTI_VERBS_MEMBER)
#undef TUTTI_VERBS_MEMBER
  decltype(&::ibv_reg_dmabuf_mr) reg_dmabuf_mr = nullptr;  // null before rdma-core 34
  // What the kernel says of entry `index` of a port's GID table: its kind, and the network interface it belongs to.
  void (*describe_gid)(const std::string& device, std::uint8_t port, int index, GidEntry& entry) = nullptr;
};

// A library that is loaded when it is first asked for.
struct NeededLibrary {
  const char* file;      // "libibverbs.so.1"
  const char* name;      // "libibverbs"
  const char* packages;  // that bring it
  const char* oldest;    // of them that will do
};
// Loads it and calls `find`, which looks its functions up by the handle and names one that is missing, or returns
// null. `unsupported` where there is none, or a function is missing, with what to install; it is closed again then.
Result<void*> load_functions(const NeededLibrary& needed, const std::function<const char*(void* handle)>& find);

// The library of this machine; loaded once. `unsupported` where there is no device, no library, or one that is too
// old: one sentence says which.
Result<const Library*> load_library();
// The same for a library by another name.
Result<Library> load_library(const char* name);

}  // namespace tutti::verbs
