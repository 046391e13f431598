#include "transports/ofi/api.h"

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <array>
#include <string_view>

#include "src/base/format.h"
#include "transports/fabric/library.h"

namespace tutti::ofi {

namespace {

constexpr std::uint32_t kVersion = FI_VERSION(1, 17);
// Best first: what drives a NIC of its own, then what stands in for one.
constexpr std::array<std::string_view, 7> kProviders = {"cxi",           "efa",         "psm3",       "opx",
                                                        "verbs;ofi_rxm", "tcp;ofi_rxm", "net;ofi_rxm"};

Result<Api> load() {
  constexpr std::array names = {"libfabric.so.1"};
  auto loaded = fabric::Library::load(names);
  if (!loaded) return loaded.status();
  fabric::Library& library = *loaded;
  Api api;
  const bool is_complete = library.find("fi_version", api.version_of) && library.find("fi_getinfo", api.getinfo) &&
                           library.find("fi_freeinfo", api.freeinfo) && library.find("fi_dupinfo", api.dupinfo) &&
                           library.find("fi_fabric", api.fabric) && library.find("fi_strerror", api.strerror);
  const std::uint32_t version = api.version_of != nullptr ? api.version_of() : 0;
  api.version = format("{}.{}", FI_MAJOR(version), FI_MINOR(version));
  if (!is_complete || FI_VERSION_LT(version, kVersion)) {
    return Status(Code::unsupported,
                  format("{} is libfabric {}{}; expected {}.{} or later", library.name(), api.version,
                         is_complete ? "" : format(" and has no {}", library.missing()), FI_MAJOR(kVersion),
                         FI_MINOR(kVersion)));
  }
  return api;
}

Result<Info> ask(const Api& api, const std::string& provider) {
  const Info hints(api.dupinfo(nullptr), {&api});
  if (!hints) return Status(Code::system, "libfabric has no memory for a question");
  hints->caps = FI_MSG;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->threading = FI_THREAD_SAFE;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  hints->domain_attr->mr_mode = 0;  // memory is not registered here: a provider that needs it does so itself
  hints->tx_attr->op_flags = 0;
  std::string name = provider;
  if (!name.empty()) hints->fabric_attr->prov_name = name.data();
  fi_info* found = nullptr;
  const int error = api.getinfo(kVersion, nullptr, nullptr, 0, hints.get(), &found);
  hints->fabric_attr->prov_name = nullptr;
  if (error != 0) {
    return Status(
        Code::unsupported,
        format("libfabric {} has no reliable datagram endpoint{}: {}. fi_info lists what there is", api.version,
               provider.empty() ? "" : format(" of provider {}", provider), words_of(api, -error)));
  }
  return Info(found, {&api});
}

}  // namespace

Result<const Api*> load_api() {
  static const Result<Api> loaded = load();
  if (!loaded) return loaded.status();
  return &*loaded;
}

std::string words_of(const Api& api, int error) { return format("{} ({})", api.strerror(error), error); }

Result<Info> choose(const Api& api, const std::string& provider) {
  if (!provider.empty()) return ask(api, provider);
  for (const std::string_view each : kProviders) {
    auto info = ask(api, std::string(each));
    if (info) return info;
  }
  return ask(api, {});
}

}  // namespace tutti::ofi
