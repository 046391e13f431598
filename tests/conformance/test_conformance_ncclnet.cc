// The conformance suite on the transport over NCCL's plug-ins, with the strict one of tests/transport_ncclnet, in one
// version of the interface; the others: test_ncclnet and test_ncclnet_jobs.
#include <dlfcn.h>

#include "tests/conformance/tcp_world.h"
#include "transports/ncclnet/ncclnet.h"

namespace tutti::conformance {
namespace {

class NcclnetWorld final : public World {
 public:
  // The transports are gone: nothing of the plug-in's is left open.
  ~NcclnetWorld() override {
    void* const library = dlopen(plugin_.c_str(), RTLD_NOW | RTLD_NOLOAD);
    auto* const open = reinterpret_cast<int (*)()>(dlsym(library, "tutti_test_net_open"));
    EXPECT_EQ(open(), 0);
  }

  std::unique_ptr<Transport> make(const ProcessId& id) override {
    NcclnetOptions options;
    options.fabric.process = id;
    options.fabric.host_name = host_name();
    options.plugin = plugin_;
    options.devices = {"all"};
    auto made = make_ncclnet_transport(make_loopback_tcp(id, 1), std::move(options));
    EXPECT_TRUE(made.is_ok()) << made.status().text();
    return std::move(*made);
  }

 private:
  const std::string plugin_ = TUTTI_TEST_NET_FOLDER "/libnccl-net-test_v10.so";
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(Ncclnet, std::make_unique<NcclnetWorld>());
