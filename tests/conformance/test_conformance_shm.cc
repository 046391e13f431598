// The conformance suite on shared memory, once for each way of moving large payloads.
#include "tests/conformance/conformance.h"
#include "transports/shm/shm.h"

namespace tutti::conformance {

namespace {

class ShmWorld : public World {
 public:
  explicit ShmWorld(ShmCopyMode mode) : mode_(mode) {}

  std::unique_ptr<Transport> make(const ProcessId& id) override {
    ShmOptions options;
    options.process = id;
    options.host = HostId{{1, 2}};
    options.key.fill(std::byte{42});
    options.copy_mode = mode_;
    options.regions = &regions_;
    auto made = make_shm_transport(std::move(options));
    EXPECT_TRUE(made.is_ok()) << made.status().text();
    return std::move(*made);
  }

 private:
  const ShmCopyMode mode_;
  SharedRegions regions_;
};

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(ShmStaging, std::make_unique<ShmWorld>(ShmCopyMode::staging));
TUTTI_CONFORMANCE(ShmCrossMemory, std::make_unique<ShmWorld>(ShmCopyMode::cross_memory));
