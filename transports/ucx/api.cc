#include "transports/ucx/api.h"

#include <array>

#include "src/base/format.h"
#include "transports/fabric/library.h"

namespace tutti::ucx {

namespace {

constexpr unsigned kMajor = 1;
constexpr unsigned kMinorMin = 13;  // what is declared in the headers that this was written with

Result<Api> load() {
  constexpr std::array names = {"libucp.so.0"};
  auto loaded = fabric::Library::load(names);
  if (!loaded) return loaded.status();
  fabric::Library& library = *loaded;
  Api api;
  const bool is_complete =
      library.find("ucp_get_version", api.get_version) && library.find("ucp_config_read", api.config_read) &&
      library.find("ucp_config_modify", api.config_modify) &&
      library.find("ucp_config_release", api.config_release) && library.find("ucp_init_version", api.init_version) &&
      library.find("ucp_cleanup", api.cleanup) && library.find("ucp_worker_create", api.worker_create) &&
      library.find("ucp_worker_destroy", api.worker_destroy) &&
      library.find("ucp_worker_get_address", api.worker_get_address) &&
      library.find("ucp_worker_release_address", api.worker_release_address) &&
      library.find("ucp_worker_get_efd", api.worker_get_efd) && library.find("ucp_worker_arm", api.worker_arm) &&
      library.find("ucp_worker_progress", api.worker_progress) &&
      library.find("ucp_worker_set_am_recv_handler", api.worker_set_am_recv_handler) &&
      library.find("ucp_ep_create", api.ep_create) && library.find("ucp_ep_close_nbx", api.ep_close_nbx) &&
      library.find("ucp_am_send_nbx", api.am_send_nbx) &&
      library.find("ucp_am_recv_data_nbx", api.am_recv_data_nbx) &&
      library.find("ucp_am_data_release", api.am_data_release) &&
      library.find("ucp_request_free", api.request_free) && library.find("ucs_status_string", api.status_string);
  unsigned major = 0;
  unsigned release = 0;
  if (api.get_version != nullptr) api.get_version(&major, &api.minor, &release);
  api.version = format("{}.{}.{}", major, api.minor, release);
  if (!is_complete || major != kMajor || api.minor < kMinorMin) {
    return Status(Code::unsupported,
                  format("{} is UCX {}{}; expected {}.{} or a later one of that series", library.name(), api.version,
                         is_complete ? "" : format(" and has no {}", library.missing()), kMajor, kMinorMin));
  }
  return api;
}

}  // namespace

Result<const Api*> load_api() {
  static const Result<Api> loaded = load();
  if (!loaded) return loaded.status();
  return &*loaded;
}

std::string words_of(const Api& api, ucs_status_t status) {
  return format("{} ({})", api.status_string(status), static_cast<int>(status));
}

}  // namespace tutti::ucx
