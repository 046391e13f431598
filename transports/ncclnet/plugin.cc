#include "transports/ncclnet/plugin.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "src/base/format.h"
#include "src/base/random.h"
#include "transports/fabric/devices.h"
#include "transports/fabric/library.h"
#include "transports/ncclnet/words.h"

namespace tutti::ncclnet {

namespace {

constexpr std::size_t kNameBytesMax = 40;
constexpr double kBytesPerMegabit = 125'000;
constexpr float kLatencyUsMax = 1e6F;
constexpr const char* kSymbol = "ncclNetPlugin_v";
constexpr int kVersionOldest = 2;

std::string_view name_of(Answer answer) {
  switch (answer) {
    case Answer::success:
      return "ncclSuccess";
    case Answer::unhandled_cuda_error:
      return "ncclUnhandledCudaError";
    case Answer::system_error:
      return "ncclSystemError";
    case Answer::internal_error:
      return "ncclInternalError";
    case Answer::invalid_argument:
      return "ncclInvalidArgument";
    case Answer::invalid_usage:
      return "ncclInvalidUsage";
    case Answer::remote_error:
      return "ncclRemoteError";
    case Answer::in_progress:
      return "ncclInProgress";
    case Answer::timeout:
      return "ncclTimeout";
  }
  return "no result of NCCL's";
}

// Plug-ins call it without asking whether there is one.
Answer ignore_profiling(void**, int, void*, std::int64_t, void*) { return Answer::success; }

// A plug-in that fills in what a later version has, too, writes behind the structure.
template <typename Properties>
union Roomy {
  Properties properties;
  std::array<std::byte, 1024> room;
};

template <int kVersion>
class Adapter final : public Plugin {
 public:
  using Net = Table<kVersion>;

  Adapter(std::string file, const Net& net)
      : Plugin(std::move(file), kVersion, printable(net.name, kNameBytesMax)), net_(net) {}

  // The first function that is not there; empty: all are.
  static std::string_view missing(const Net& net) {
    if (net.init == nullptr) return "init";
    if (net.devices == nullptr) return "devices";
    if (net.properties == nullptr) return "getProperties";
    if (net.listen == nullptr) return "listen";
    if (net.connect == nullptr) return "connect";
    if (net.accept == nullptr) return "accept";
    if (net.register_memory == nullptr) return "regMr";
    if (net.release_memory == nullptr) return "deregMr";
    if (net.send == nullptr) return "isend";
    if (net.receive == nullptr) return "irecv";
    if (net.test == nullptr) return "test";
    if (net.close_sender == nullptr) return "closeSend";
    if (net.close_receiver == nullptr) return "closeRecv";
    if (net.close_listener == nullptr) return "closeListen";
    return {};
  }

  Answer listen(int device, Handle& handle, void** listener) override {
    if constexpr (kVersion >= 11) return net_.listen(context_, device, handle.bytes.data(), listener);
    if constexpr (kVersion < 11) return net_.listen(device, handle.bytes.data(), listener);
  }
  Answer connect(int device, Handle& handle, void** sender) override {
    void* no_offload = nullptr;
    if constexpr (kVersion >= 11) return net_.connect(context_, device, handle.bytes.data(), sender, &no_offload);
    if constexpr (kVersion == 10)
      return net_.connect(device, &configuration_, handle.bytes.data(), sender, &no_offload);
    if constexpr (kVersion < 10) return net_.connect(device, handle.bytes.data(), sender, &no_offload);
  }
  Answer accept(void* listener, void** receiver) override {
    void* no_offload = nullptr;
    return net_.accept(listener, receiver, &no_offload);
  }
  Answer register_memory(void* connection, std::byte* data, std::size_t bytes, void** registration) override {
    return net_.register_memory(connection, data, bytes, kHostMemory, registration);
  }
  Answer release_memory(void* connection, void* registration) override {
    return net_.release_memory(connection, registration);
  }
  Answer send(void* sender, std::byte* data, std::size_t bytes, void* registration, void** request) override {
    const auto size = static_cast<typename Net::Size>(bytes);
    if constexpr (kVersion >= 10) return net_.send(sender, data, size, kTag, registration, nullptr, request);
    if constexpr (kVersion < 10) return net_.send(sender, data, size, kTag, registration, request);
  }
  Answer receive(void* receiver, std::byte* data, std::size_t bytes, void* registration, void** request) override {
    void* where = data;
    auto size = static_cast<typename Net::Size>(bytes);
    int tag = kTag;
    void* profiled = nullptr;
    if constexpr (kVersion >= 10)
      return net_.receive(receiver, 1, &where, &size, &tag, &registration, &profiled, request);
    if constexpr (kVersion < 10) return net_.receive(receiver, 1, &where, &size, &tag, &registration, request);
  }
  Answer test(void* request, bool* is_done, std::size_t* bytes) override {
    int done = 0;
    int size = 0;
    const Answer answer = net_.test(request, &done, &size);
    *is_done = done != 0;
    *bytes = static_cast<unsigned>(size);  // a negative one is larger than any message
    return answer;
  }
  Answer close_sender(void* sender) override { return net_.close_sender(sender); }
  Answer close_receiver(void* receiver) override { return net_.close_receiver(receiver); }
  Answer close_listener(void* listener) override { return net_.close_listener(listener); }

 private:
  // All messages of a connection have the same: they match in their order.
  static constexpr int kTag = 0;

  Status start() override {
    if constexpr (kVersion >= 11) {
      std::array<std::byte, sizeof(std::uint64_t)> random{};
      TUTTI_RETURN_IF_ERROR(secure_random(random));
      std::uint64_t id = 0;
      std::memcpy(&id, random.data(), sizeof id);
      return check(net_.init(&context_, id, &configuration_, logger(), &ignore_profiling), "init");
    }
    if constexpr (kVersion == 10) return check(net_.init(logger(), &ignore_profiling), "init");
    if constexpr (kVersion < 10) return check(net_.init(logger()), "init");
  }

  Answer count_devices(int* count) override { return net_.devices(count); }

  Result<Device> describe_device(int index) override {
    Roomy<typename Net::Properties> its{};
    TUTTI_RETURN_IF_ERROR(
        check(net_.properties(index, &its.properties), format("getProperties of device {}", index)));
    const auto& properties = its.properties;
    if (properties.name == nullptr || *properties.name == 0) return refused(format("device {} has no name", index));
    Device device;
    device.index = index;
    device.name = printable(properties.name, kNameBytesMax);
    if (properties.connections_max < 1 || properties.receives_max < 1) {
      return refused(format("device {} ({}) has at most {} connections and {} receives at a time, which is of no use",
                            index, device.name, properties.connections_max, properties.receives_max));
    }
    if ((properties.pointer_support & kHostMemory) == 0) {
      return refused(format("device {} ({}) moves nothing from or to a host's memory (ptrSupport {:#x})", index,
                            device.name, static_cast<unsigned>(properties.pointer_support)));
    }
    if (properties.speed > 0) device.bytes_per_second = properties.speed * kBytesPerMegabit;
    if (std::isfinite(properties.latency) && properties.latency > 0 && properties.latency < kLatencyUsMax)
      device.latency = Nanoseconds(std::llround(properties.latency * 1000));
    if constexpr (kVersion >= 9) {
      device.message_bytes_max = properties.message_bytes_max;
    } else {
      device.message_bytes_max = std::size_t{1} << 30;
    }
    return device;
  }

  const Net& net_;
  Configuration configuration_;
  void* context_ = nullptr;
};

// How many bytes the object of a symbol has; 0: the library does not say.
std::size_t size_of(const void* address) {
  Dl_info info{};
  void* symbol = nullptr;
  if (dladdr1(address, &info, &symbol, RTLD_DL_SYMENT) == 0 || symbol == nullptr) return 0;
  return static_cast<const ElfW(Sym)*>(symbol)->st_size;
}

// Null where the library has no table of this version.
template <int kVersion>
Result<std::unique_ptr<Plugin>> adapt(fabric::Library& library, const std::string& file) {
  const std::string symbol = format("{}{}", kSymbol, kVersion);
  const Table<kVersion>* net = nullptr;
  if (!library.find(symbol.c_str(), net)) return std::unique_ptr<Plugin>();
  const std::size_t bytes = size_of(net);
  if (bytes != 0 && bytes < Table<kVersion>::kBytes) {
    return Status(Code::unsupported, format("{} of {} has {} bytes; expected at least {}: it is no table of that "
                                            "version. Install a plug-in that fits",
                                            symbol, file, bytes, Table<kVersion>::kBytes));
  }
  if (net->name == nullptr || *net->name == 0)
    return Status(Code::unsupported, format("{} of {} has no name. Install a plug-in that fits", symbol, file));
  if (const auto missing = Adapter<kVersion>::missing(*net); !missing.empty()) {
    return Status(Code::unsupported,
                  format("{} of {} has no {}. Install a plug-in that fits", symbol, file, missing));
  }
  return std::unique_ptr<Plugin>(std::make_unique<Adapter<kVersion>>(file, *net));
}

// The latest version that the library has.
template <int kVersion>
Result<std::unique_ptr<Plugin>> adapt_latest(fabric::Library& library, const std::string& file) {
  auto plugin = adapt<kVersion>(library, file);
  if (!plugin || *plugin != nullptr) return plugin;
  if constexpr (kVersion > kVersionMin) {
    return adapt_latest<kVersion - 1>(library, file);
  } else {
    return plugin;
  }
}

Status explain_no_table(fabric::Library& library, const std::string& file) {
  for (int version = kVersionMin - 1; version >= kVersionOldest; --version) {
    const char* table = nullptr;
    if (!library.find(format("{}{}", kSymbol, version).c_str(), table)) continue;
    return {Code::unsupported,
            format("{} has version {} of NCCL's interface for networks; expected {} to {}. Install "
                   "one for NCCL 2.20 or later",
                   file, version, kVersionMin, kVersionMax)};
  }
  return {Code::unsupported, format("{} has no {}{} to {}: it is not a network plug-in of NCCL's, or one of another "
                                    "version",
                                    file, kSymbol, kVersionMin, kVersionMax)};
}

// As in NCCL: a path or the name of a library is one, anything else the end of libnccl-net-NAME.so.
std::string file_of(const std::string& name) {
  const bool is_file = name.find('/') != std::string::npos || name.find(".so") != std::string::npos;
  return is_file ? name : format("libnccl-net-{}.so", name);
}

}  // namespace

Plugin::Plugin(std::string file, int version, std::string name)
    : file_(std::move(file)), version_(version), name_(std::move(name)), pid_(getpid()) {}

std::string Plugin::describe() const { return format("NCCL plug-in {} (v{})", name_, version_); }

Status Plugin::refused(std::string_view why) const {
  return {Code::unsupported, format("{} of {} cannot be used: {}", describe(), file_, why)};
}

Status Plugin::check(Answer answer, std::string_view call) const {
  return answer == Answer::success ? Status() : refused(words_of(answer, call));
}

std::string Plugin::words_of(Answer answer, std::string_view call) const {
  const std::string warning = take_warning();
  return format("{}: {} ({}){}{}", call, name_of(answer), static_cast<int>(answer),
                warning.empty() ? "" : ", its last warning: ", warning);
}

void Plugin::distrust(const std::string& words) {
  const std::lock_guard lock(mutex_);
  distrusted_ = words;
}

std::string Plugin::distrusted() const {
  const std::lock_guard lock(mutex_);
  return distrusted_;
}

Result<Plugin*> Plugin::load_file(const std::string& file) {
  static std::mutex mutex;
  static auto* const loaded = new std::map<std::string, std::unique_ptr<Plugin>>;  // threads of theirs may be at work
  const std::lock_guard lock(mutex);
  auto& plugin = (*loaded)[file];
  if (plugin != nullptr && plugin->pid_ != getpid()) {
    return plugin->refused(
        format("process {} has started it, of which this one is a fork, and plug-ins do not "
               "outlive that. Make the first communicator after the fork",
               plugin->pid_));
  }
  if (plugin != nullptr) return plugin.get();
  const std::array names = {file.c_str()};
  auto library = fabric::Library::load(names);
  if (!library) return library.status();
  auto made = adapt_latest<kVersionMax>(*library, file);
  if (!made) return made.status();
  if (*made == nullptr) return explain_no_table(*library, file);
  TUTTI_RETURN_IF_ERROR((*made)->start());
  plugin = *std::move(made);
  return plugin.get();
}

Result<Plugin*> Plugin::load(const std::string& names) {
  std::string why;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find(',', begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    auto plugin = load_file(file_of(name));
    if (plugin) return plugin;
    why += why.empty() ? plugin.status().text() : "; " + plugin.status().text();
  }
  return Status(Code::unsupported, why.empty() ? "no plug-in is named" : why);
}

Result<int> Plugin::device_count() {
  int count = 0;
  TUTTI_RETURN_IF_ERROR(check(count_devices(&count), "devices"));
  if (count < 1) return refused(format("it has {} devices here", count));
  return count;
}

Result<std::vector<Device>> Plugin::devices(const std::vector<std::string>& wanted) {
  const auto count = device_count();
  if (!count) return count.status();
  std::vector<Device> there;
  fabric::Devices names{describe(), "device", "TUTTI_NCCLNET_DEVICES", true, {}};
  for (int index = 0; index < *count; ++index) {
    auto device = describe_device(index);
    if (!device) return device.status();
    names.names.push_back(device->name);
    there.push_back(*std::move(device));
    if (wanted.empty()) break;  // what is not asked for may be broken
  }
  const auto picked = fabric::pick(names, wanted);
  if (!picked) return picked.status();
  std::vector<Device> devices;
  for (const std::size_t each : *picked) devices.push_back(there[each]);
  return devices;
}

}  // namespace tutti::ncclnet
