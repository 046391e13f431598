// The binary interface of NCCL's network plug-ins, versions 8 to 12, as far as it is used: a plug-in is a shared
// library with a table of functions for each version that it knows, ncclNetPlugin_v8 and so on.
//
//   version   since NCCL   what is different
//   8         2.20
//   9         2.24         sizes of messages are size_t; properties have the largest message
//   10        2.26         init takes a callback for profiling; connect a configuration; messages handles for
//   profiling 11        2.28         init makes a context, for listen and connect, which take no configuration any
//   more 12        2.30         larger properties
//
// What follows a table's last function here is not used. Layouts are held below against the numbers of the published
// headers, for 64-bit Linux.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tutti::ncclnet {

constexpr int kVersionMin = 8;
constexpr int kVersionMax = 12;
constexpr std::size_t kHandleBytes = 128;  // what listen writes; connect may keep its own state in it
constexpr int kRequestsMax = 32;           // that a connection has to take at a time
constexpr int kHostMemory = 1;             // of a registration; a bit of Properties::pointer_support
constexpr int kNoTrafficClass = -1;

// What every function returns.
enum class Answer : int {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7,
  timeout = 8,
};

enum class LogWeight : int { none = 0, version = 1, warning = 2, info = 3, abort = 4, trace = 5 };
using Logger = void (*)(LogWeight weight, unsigned long areas, const char* file, int line, const char* text, ...);
using Profiler = Answer (*)(void** event, int type, void* parent, std::int64_t id, void* data);

struct Configuration {
  int traffic_class = kNoTrafficClass;
};

struct Properties8 {
  char* name;
  char* pci_path;
  std::uint64_t guid;
  int pointer_support;
  int registration_is_global;
  int speed;  // Mbit/s
  int port;
  float latency;  // microseconds
  int connections_max;
  int receives_max;  // that can be grouped
  int offload_type;
  int offload_version;
};

template <int kDevicesMax>
struct LargerProperties {
  char* name;
  char* pci_path;
  std::uint64_t guid;
  int pointer_support;
  int registration_is_global;
  int flush_is_forced;
  int speed;
  int port;
  float latency;
  int connections_max;
  int receives_max;
  int offload_type;
  int offload_version;
  int device_count;  // of those that this one is made of
  int devices[kDevicesMax];
  std::size_t message_bytes_max;
  std::size_t collective_bytes_max;
};
using Properties9 = LargerProperties<4>;  // and of version 10; 11 and 12 go on behind them
using Properties12 = LargerProperties<8>;

// The functions of one version, in their order.
template <int kVersion>
struct Table {
  template <int kFirst, typename New, typename Old>
  using Since = std::conditional_t<(kVersion >= kFirst), New, Old>;

  using Properties = Since<12, Properties12, Since<9, Properties9, Properties8>>;
  using Size = Since<9, std::size_t, int>;
  using Init = Since<11, Answer (*)(void** context, std::uint64_t id, Configuration*, Logger, Profiler),
                     Since<10, Answer (*)(Logger, Profiler), Answer (*)(Logger)>>;
  using Listen = Since<11, Answer (*)(void* context, int device, void* handle, void** listener),
                       Answer (*)(int device, void* handle, void** listener)>;
  using Connect = Since<11, Answer (*)(void* context, int device, void* handle, void** sender, void** offload),
                        Since<10, Answer (*)(int device, Configuration*, void* handle, void** sender, void** offload),
                              Answer (*)(int device, void* handle, void** sender, void** offload)>>;
  using Send = Since<10,
                     Answer (*)(void* sender, void* data, Size bytes, int tag, void* registration, void* profiled,
                                void** request),
                     Answer (*)(void* sender, void* data, Size bytes, int tag, void* registration, void** request)>;
  using Receive = Since<10,
                        Answer (*)(void* receiver, int count, void** data, Size* bytes, int* tags,
                                   void** registrations, void** profiled, void** request),
                        Answer (*)(void* receiver, int count, void** data, Size* bytes, int* tags,
                                   void** registrations, void** request)>;

  const char* name;
  Init init;
  Answer (*devices)(int* count);
  Answer (*properties)(int device, Properties* properties);
  Listen listen;
  Connect connect;
  Answer (*accept)(void* listener, void** receiver, void** offload);
  Answer (*register_memory)(void* connection, void* data, std::size_t bytes, int kind, void** registration);
  Answer (*register_shared_memory)(void* connection, void* data, std::size_t bytes, int kind, std::uint64_t offset,
                                   int descriptor, void** registration);
  Answer (*release_memory)(void* connection, void* registration);
  Send send;
  Receive receive;
  Answer (*flush)(void* receiver, int count, void** data, int* bytes, void** registrations, void** request);
  Answer (*test)(void* request, int* is_done, int* bytes);
  Answer (*close_sender)(void* sender);
  Answer (*close_receiver)(void* receiver);
  Answer (*close_listener)(void* listener);

  // Of the whole table, with the functions behind these.
  static constexpr std::size_t kBytes = kVersion >= 11 ? 176 : kVersion >= 9 ? 160 : 152;
};

static_assert(sizeof(Properties8) == 64 && offsetof(Properties8, speed) == 32);
static_assert(offsetof(Properties8, latency) == 40 && offsetof(Properties8, receives_max) == 48);
static_assert(sizeof(Properties9) == 104 && offsetof(Properties9, speed) == 36);
static_assert(offsetof(Properties9, receives_max) == 52 && offsetof(Properties9, message_bytes_max) == 88);
static_assert(offsetof(Properties12, receives_max) == 52 && offsetof(Properties12, message_bytes_max) == 104);
static_assert(offsetof(Table<8>, connect) == 40 && offsetof(Table<8>, send) == 80);
static_assert(offsetof(Table<12>, test) == 104 && offsetof(Table<12>, close_listener) == 128);

}  // namespace tutti::ncclnet
