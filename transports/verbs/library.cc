#include "transports/verbs/library.h"

#include <dirent.h>
#include <dlfcn.h>

#include <cstring>
#include <fstream>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {

constexpr const char* kLibrary = "libibverbs.so.1";
constexpr const char* kDevices = "/sys/class/infiniband";

std::string read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

void describe_by_sysfs(const std::string& device, std::uint8_t port, int index, GidEntry& entry) {
  const std::string attributes = format("{}/{}/ports/{}/gid_attrs", kDevices, device, port);
  const std::string type = read_line(format("{}/types/{}", attributes, index));
  if (type == "RoCE v2") entry.type = GidType::roce_v2;
  if (type == "IB/RoCE v1") entry.type = GidType::roce_v1;
  entry.interface = read_line(format("{}/ndevs/{}", attributes, index));
}

// Asked before the library is loaded, since most machines have none.
bool has_devices() {
  DIR* const folder = opendir(kDevices);
  if (folder == nullptr) return false;
  bool found = false;
  while (const dirent* const entry = readdir(folder)) found = found || entry->d_name[0] != '.';
  closedir(folder);
  return found;
}

}  // namespace

Result<void*> load_functions(const NeededLibrary& needed, const std::function<const char*(void* handle)>& find) {
  void* const handle = dlopen(needed.file, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const why = dlerror();
    return Status(Code::unsupported, format("{} cannot be loaded: {}. Install {}", needed.file,
                                            why != nullptr ? why : "no reason given", needed.packages));
  }
  const char* const missing = find(handle);
  if (missing == nullptr) return handle;
  dlclose(handle);
  return Status(Code::unsupported, format("{} has no {}: it is too old or not {}. Install {} or newer", needed.file,
                                          missing, needed.name, needed.oldest));
}

Result<Library> load_library(const char* name) {
  Library library;
  const auto find = [&library](void* handle) {
    const char* missing = nullptr;
#define TUTTI_VERBS_FIND(call)                                                          \
  library.call = reinterpret_cast<decltype(library.call)>(dlsym(handle, "ibv_" #call)); \
  if (library.call == nullptr) missing = "ibv_" #call;
    TUTTI_VERBS_CALLS(TUTTI_VERBS_FIND)
#undef TUTTI_VERBS_FIND
    return missing;
  };
  const auto handle =
      load_functions({name, "libibverbs", "libibverbs1 and ibverbs-providers", "libibverbs1 of rdma-core 12"}, find);
  if (!handle) return handle.status().prefixed("verbs");
  library.reg_dmabuf_mr = reinterpret_cast<decltype(library.reg_dmabuf_mr)>(dlsym(*handle, "ibv_reg_dmabuf_mr"));
  library.describe_gid = describe_by_sysfs;
  return library;
}

// Never unloaded: what it has started may outlive every transport.
Result<const Library*> load_library() {
  if (!has_devices()) {
    return Status(Code::unsupported,
                  format("verbs: this machine has no RDMA device ({} is empty or absent)", kDevices));
  }
  static const Result<Library> loaded = load_library(kLibrary);
  if (!loaded) return loaded.status();
  return &*loaded;
}

}  // namespace tutti::verbs
