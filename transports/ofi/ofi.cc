#include "transports/ofi/ofi.h"

#include "transports/ofi/wire.h"

namespace tutti {

Result<std::unique_ptr<Transport>> make_ofi_transport(std::unique_ptr<Transport> control, OfiOptions options) {
  const auto api = ofi::load_api();
  if (!api) return api.status();
  auto domain = ofi::Domain::take(**api, options.provider);
  if (!domain) return domain.status();
  return make_fabric_transport(std::move(control), std::make_unique<ofi::OfiWire>(*std::move(domain)),
                               std::move(options.fabric));
}

}  // namespace tutti
