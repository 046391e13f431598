#include "transports/ofi/ofi.h"

#include "transports/ofi/wire.h"

namespace tutti {

Result<std::unique_ptr<Transport>> make_ofi_transport(std::unique_ptr<Transport> control, OfiOptions options) {
  const auto api = ofi::load_api();
  if (!api) return api.status();
  auto infos = ofi::choose(**api, options.provider, options.domains);
  if (!infos) return infos.status();
  std::vector<std::unique_ptr<fabric::Wire>> wires;
  for (ofi::Info& info : *infos) {
    options.fabric.log.write(LogLevel::info, "ofi", "libfabric {} uses provider {}, domain {}", (*api)->version,
                             info->fabric_attr->prov_name, info->domain_attr->name);
    auto domain = ofi::Domain::take(**api, std::move(info));
    if (!domain) return domain.status();
    wires.push_back(std::make_unique<ofi::OfiWire>(*std::move(domain)));
  }
  return make_fabric_transport(std::move(control), std::move(wires), std::move(options.fabric));
}

}  // namespace tutti
