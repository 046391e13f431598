#include "transports/ucx/ucx.h"

#include "transports/ucx/wire.h"

namespace tutti {

Result<std::unique_ptr<Transport>> make_ucx_transport(std::unique_ptr<Transport> control, UcxOptions options) {
  const auto api = ucx::load_api();
  if (!api) return api.status();
  auto worker = ucx::Worker::take(**api, options.transports);
  if (!worker) return worker.status();
  std::vector<std::unique_ptr<fabric::Wire>> wires;
  wires.push_back(std::make_unique<ucx::UcxWire>(*std::move(worker)));
  return make_fabric_transport(std::move(control), std::move(wires), std::move(options.fabric));
}

}  // namespace tutti
