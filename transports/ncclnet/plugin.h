// Plugin: a network plug-in of NCCL's in this process, whatever version of the interface it has, and its devices.
//
// It is loaded and started once and stays for the life of the process, as plug-ins do in NCCL before version 11 of
// the interface. What it says by its logger is kept as its last words (of a warning, for messages) and as lines for
// the log.
//
// A plug-in is believed in little: tables with holes, or too short, and devices with properties that nobody can have
// are refused with a sentence.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "transports/ncclnet/abi.h"

namespace tutti::ncclnet {

struct Device {
  int index = 0;
  std::string name;
  double bytes_per_second = 0;  // 0: it does not say
  Nanoseconds latency{0};
  std::size_t message_bytes_max = 0;
};

// Where a peer can be connected to. connect() keeps its state in it: so it stays in its place until that is done.
struct alignas(std::max_align_t) Handle {
  std::array<std::byte, kHandleBytes> bytes{};
};

class Plugin {
 public:
  // The plug-in that `names` stand for, as in NCCL_NET_PLUGIN (NcclnetOptions::plugin): the first that can be used.
  // The error says of each what is wrong with it.
  static Result<Plugin*> load(const std::string& names);

  virtual ~Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const std::string& name() const { return name_; }
  const std::string& file() const { return file_; }
  int version() const { return version_; }
  std::string describe() const;  // "NCCL plug-in Libfabric (v10)"
  // As NcclnetOptions::devices says, in the order of `wanted`.
  Result<std::vector<Device>> devices(const std::vector<std::string>& wanted);
  // "isend: ncclSystemError (2), its last warning: no route to host"
  std::string words_of(Answer answer, std::string_view call) const;
  // It may still use memory that it should have let go of, in its own words: no more is given to it.
  void distrust(const std::string& words);
  std::string distrusted() const;  // empty: it is trusted

  // The plug-in's own functions; see NCCL's documentation. Null objects after a success: not yet.
  virtual Answer listen(int device, Handle& handle, void** listener) = 0;
  virtual Answer connect(int device, Handle& handle, void** sender) = 0;
  virtual Answer accept(void* listener, void** receiver) = 0;
  virtual Answer register_memory(void* connection, std::byte* data, std::size_t bytes, void** registration) = 0;
  virtual Answer release_memory(void* connection, void* registration) = 0;
  virtual Answer send(void* sender, std::byte* data, std::size_t bytes, void* registration, void** request) = 0;
  virtual Answer receive(void* receiver, std::byte* data, std::size_t bytes, void* registration, void** request) = 0;
  virtual Answer test(void* request, bool* is_done, std::size_t* bytes) = 0;
  virtual Answer close_sender(void* sender) = 0;
  virtual Answer close_receiver(void* receiver) = 0;
  virtual Answer close_listener(void* listener) = 0;

 protected:
  Plugin(std::string file, int version, std::string name);
  Status refused(std::string_view why) const;
  Status check(Answer answer, std::string_view call) const;

 private:
  virtual Status start() = 0;  // once
  virtual Answer count_devices(int* count) = 0;
  virtual Result<Device> describe_device(int index) = 0;

  Result<int> device_count();
  static Result<Plugin*> load_file(const std::string& file);

  const std::string file_;
  const int version_;
  const std::string name_;
  const pid_t pid_;
  mutable std::mutex mutex_;
  std::string distrusted_;
};

}  // namespace tutti::ncclnet
