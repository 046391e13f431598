#include "transports/ofi/api.h"

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/format.h"
#include "transports/fabric/devices.h"
#include "transports/fabric/library.h"

namespace tutti::ofi {

namespace {

constexpr std::uint32_t kVersion = FI_VERSION(1, 17);
constexpr std::size_t kPartsMax = 2;  // of a message
constexpr std::size_t kAddressBytesMax = 512;
// Best first: what drives a NIC of its own, then what stands in for one.
constexpr std::array<std::string_view, 7> kProviders = {"cxi", "efa", "psm3", "opx", "verbs;ofi_rxm", "tcp", "net"};

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

// `type`: of its endpoints.
Result<Info> ask(const Api& api, const std::string& provider, fi_ep_type type) {
  const Info hints(api.dupinfo(nullptr), {&api});
  if (!hints) return Status(Code::system, "libfabric has no memory for a question");
  hints->caps = FI_MSG;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = type;
  if (type == FI_EP_MSG) hints->ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT;
  hints->domain_attr->threading = FI_THREAD_SAFE;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  hints->domain_attr->mr_mode = 0;  // memory is not registered here: a provider that needs it does so itself
  hints->tx_attr->op_flags = 0;
  if (type == FI_EP_MSG) hints->tx_attr->iov_limit = kPartsMax;
  std::string name = provider;
  if (!name.empty()) hints->fabric_attr->prov_name = name.data();
  fi_info* found = nullptr;
  const int error = api.getinfo(kVersion, nullptr, nullptr, 0, hints.get(), &found);
  hints->fabric_attr->prov_name = nullptr;
  if (error != 0) {
    return Status(Code::unsupported,
                  format("libfabric {} has no reliable endpoint{}: {}. fi_info lists what there is", api.version,
                         provider.empty() ? "" : format(" of provider {}", provider), words_of(api, -error)));
  }
  return Info(found, {&api});
}

Result<Info> ask_best(const Api& api, const std::string& provider) {
  if (!provider.empty()) {
    auto connected = ask(api, provider, FI_EP_MSG);
    return connected ? std::move(connected) : ask(api, provider, FI_EP_RDM);
  }
  for (const std::string_view each : kProviders) {
    auto info = ask_best(api, std::string(each));
    if (info) return info;
  }
  return ask(api, {}, FI_EP_RDM);
}

}  // namespace

Result<const Api*> load_api() {
  static const Result<Api> loaded = load();
  if (!loaded) return loaded.status();
  return &*loaded;
}

std::string words_of(const Api& api, int error) { return format("{} ({})", api.strerror(error), error); }

Status check(const Api& api, const fi_info& info, int error, std::string_view what) {
  if (error == 0) return {};
  return {Code::unsupported, format("libfabric {} ({}) cannot {}: {}", api.version, info.fabric_attr->prov_name, what,
                                    words_of(api, -error))};
}

Result<std::vector<std::byte>> address_of(const Api& api, const fi_info& info, fid& whose) {
  std::vector<std::byte> address(kAddressBytesMax);
  std::size_t bytes = address.size();
  TUTTI_RETURN_IF_ERROR(check(api, info, fi_getname(&whose, address.data(), &bytes), "tell an address"));
  address.resize(std::min(bytes, kAddressBytesMax));
  return address;
}

Result<std::vector<Info>> choose(const Api& api, const std::string& provider,
                                 const std::vector<std::string>& domains) {
  const auto found = ask_best(api, provider);
  if (!found) return found.status();
  const std::string provider_name = (*found)->fabric_attr->prov_name;
  std::vector<const fi_info*> there;  // the first of each domain
  fabric::Devices names{
      format("provider {} of libfabric {}", provider_name, api.version), "domain", "TUTTI_OFI_DOMAINS", false, {}};
  for (const fi_info* each = found->get(); each != nullptr; each = each->next) {
    const std::string domain = each->domain_attr->name;
    const bool is_known = std::find(names.names.begin(), names.names.end(), domain) != names.names.end();
    if (is_known || provider_name != each->fabric_attr->prov_name) continue;
    names.names.push_back(domain);
    there.push_back(each);
  }
  const auto picked = fabric::pick(names, domains);
  if (!picked) return picked.status();
  std::vector<Info> infos;
  for (const std::size_t each : *picked) {
    infos.emplace_back(api.dupinfo(there[each]), InfoFreer{&api});
    if (!infos.back()) return Status(Code::system, "libfabric has no memory for an answer");
  }
  return infos;
}

}  // namespace tutti::ofi
