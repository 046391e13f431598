#include "src/api/transports.h"

#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "src/api/runtime.h"
#include "src/base/format.h"
#include "src/base/hmac.h"
#include "src/base/secret.h"
#include "transports/failover/failover.h"
#include "transports/failover/reserve.h"
#include "transports/ncclnet/ncclnet.h"
#include "transports/self/self_transport.h"
#include "transports/shm/shm.h"
#include "transports/tcp/tcp.h"
#include "transports/verbs/connector.h"
#include "transports/verbs/verbs.h"
#ifdef TUTTI_HAS_UCX
#include "transports/ucx/ucx.h"
#endif
#ifdef TUTTI_HAS_OFI
#include "transports/ofi/ofi.h"
#endif

namespace tutti {

namespace {

using Made = Result<std::unique_ptr<Transport>>;
constexpr const char* kPluginVariable = "NCCL_NET_PLUGIN";

struct Maker {
  const Settings& settings;
  const EngineOptions& options;
  const Log& log;
  SecretKey key{};

  std::unique_ptr<Transport> self() const { return std::make_unique<SelfTransport>(options.process); }

  Made shm() const {
    ShmOptions shm;
    shm.process = options.process;
    shm.host = options.host;
    shm.key = key;
    shm.publish_key = true;
    shm.staging_bytes = settings.shm_staging_bytes;
    shm.copy_mode = settings.shm_copy == ShmCopy::staging ? ShmCopyMode::staging
                    : settings.shm_copy == ShmCopy::cma   ? ShmCopyMode::cross_memory
                                                          : ShmCopyMode::automatic;
    shm.regions = &Runtime::regions();
    shm.log = log;
    return make_shm_transport(std::move(shm));
  }

  // Without fail-over: for tcp() and for control connections.
  Made connections(std::uint32_t lanes_max) const {
    TcpOptions tcp;
    tcp.process = options.process;
    tcp.host = options.host;
    tcp.host_name = options.host_name;
    tcp.key = key;
    tcp.publish_key = true;
    if (settings.tls != TlsMode::off) {
      auto tls = TlsContext::create(settings);
      if (!tls) return tls.status();
      tcp.tls = *std::move(tls);
      const auto secret = read_secret(settings);
      if (!secret) return secret.status();
      const auto tls_key = derive_key(*secret, "tutti tcp tls v1");
      if (!tls_key) return tls_key.status();
      tcp.tls_key = *tls_key;
    }
    tcp.interfaces = settings.tcp_interfaces;
    tcp.port_first = settings.tcp_ports.first;
    tcp.port_last = settings.tcp_ports.last;
    tcp.buffer_bytes = settings.tcp_buffer_bytes;
    tcp.lanes_max = lanes_max;
    tcp.silence_limit = settings.heartbeat_timeout;
    tcp.log = log;
    return make_tcp_transport(std::move(tcp));
  }

  Made tcp() const {
    auto made = connections(static_cast<std::uint32_t>(settings.tcp_connections));
    if (!made) return made;
    FailoverOptions failover;
    failover.process = options.process;
    failover.relays = settings.tcp_relay;
    // As long as a third process may need to notice that it has lost the same one, or to answer on a busy host.
    failover.relay_limit = std::max<Nanoseconds>(settings.heartbeat_timeout / 4, std::chrono::seconds(1));
    failover.relay_after = settings.heartbeat_timeout;
    failover.log = log;
    return make_failover_transport(*std::move(made), failover);
  }

  Status check_unencrypted() const {
    if (settings.tls == TlsMode::off) return {};
    return {Code::invalid,
            "TUTTI_TLS asks for encryption, and it has none. Leave it out of TUTTI_TRANSPORTS, or set TUTTI_TLS=off "
            "where the fabric may be trusted"};
  }

  bool has_reserve() const {
    const auto is_wanted = [this](std::string_view name) {
      return std::find(settings.transports.begin(), settings.transports.end(), name) != settings.transports.end();
    };
    return is_wanted("tcp") || is_wanted("auto");
  }

  // Where tcp may be used, lanes that the fabric cannot carry go on over it. Also with one lane and without tcp: both
  // ends of a link have to speak alike, and the other may have more lanes.
  Made with_failover(Made made) const {
    if (!made) return made;
    FailoverOptions failover;
    failover.process = options.process;
    failover.reserve = has_reserve();
    failover.reserve_carries = settings.reserve_carries;
    failover.log = log;
    if (failover.reserve) {
      auto reserve = connections(1);
      if (!reserve) return reserve;
      made = make_reserved_transport(*std::move(made), *std::move(reserve));
      if (!made) return made;
    }
    return make_failover_transport(*std::move(made), failover);
  }

  Made verbs() const {
    TUTTI_RETURN_IF_ERROR(check_unencrypted());
    VerbsOptions verbs;
    verbs.process = options.process;
    verbs.host_name = options.host_name;
    verbs.devices = settings.verbs_devices;
    verbs.gid_index = static_cast<int>(settings.verbs_gid_index);
    verbs.traffic_class = static_cast<std::uint8_t>(settings.verbs_traffic_class);
    verbs.service_level = static_cast<std::uint8_t>(settings.verbs_service_level);
    verbs.lanes_max = static_cast<std::uint32_t>(settings.verbs_connections);
    verbs.ring_bytes = settings.verbs_ring_bytes;
    verbs.pinned_bytes_max = settings.verbs_pinned_bytes;
    verbs.silence_limit = settings.heartbeat_timeout;
    verbs.regions = &Runtime::regions();
    verbs.log = log;
    if (settings.verbs_connect == VerbsConnect::rdma_cm)
      verbs.make_connector = [this](const auto ports) { return verbs::make_rdma_cm(ports, log); };
    verbs.make_control = [this] { return connections(static_cast<std::uint32_t>(settings.tcp_connections)); };
    return with_failover(make_verbs_transport(std::move(verbs)));
  }

  // Of a transport that moves frames by a fabric's library, over control connections of its own.
  template <typename Options>
  Made fabric(Made (*make_it)(std::unique_ptr<Transport>, Options), Options its) const {
    TUTTI_RETURN_IF_ERROR(check_unencrypted());
    auto control = connections(1);
    if (!control) return control;
    its.fabric.process = options.process;
    its.fabric.host_name = options.host_name;
    its.fabric.log = log;
    its.fabric.stall_limit = settings.heartbeat_timeout;
    its.fabric.ends_when_silent = has_reserve();
    return with_failover(make_it(*std::move(control), std::move(its)));
  }

  Made ncclnet() const {
    NcclnetOptions its;
    const std::string named = named_plugin(settings.ncclnet_plugin, std::getenv(kPluginVariable));
    if (!named.empty()) its.plugin = named;
    its.devices = settings.ncclnet_devices;
    return fabric(&make_ncclnet_transport, std::move(its));
  }

  Made make(const std::string& name) const {
    if (name == "shm") return shm();
    if (name == "tcp") return tcp();
    if (name == "verbs") return verbs();
    if (name == "ncclnet") return ncclnet();
#ifdef TUTTI_HAS_UCX
    if (name == "ucx") return fabric<UcxOptions>(&make_ucx_transport, {});
#endif
#ifdef TUTTI_HAS_OFI
    if (name == "ofi") {
      OfiOptions ofi;
      ofi.provider = settings.ofi_provider;
      ofi.domains = settings.ofi_domains;
      return fabric(&make_ofi_transport, std::move(ofi));
    }
#endif
    return Status(Code::unsupported, format("this build of Tutti has no {}: what it needs was not there when it was "
                                            "built",
                                            name));
  }
};

// The transports for fabrics that this build has.
std::vector<std::string_view> built_fabrics() {
  std::vector<std::string_view> built = {"verbs", "ncclnet"};
#ifdef TUTTI_HAS_UCX
  built.push_back("ucx");
#endif
#ifdef TUTTI_HAS_OFI
  built.push_back("ofi");
#endif
  return built;
}

// The names of the devices of one class; of RDMA devices those are "mlx5_0", "efa_0", "rdmap0s6" (also EFA).
std::vector<std::string> devices(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    names.push_back(entry.path().filename().string());
  return names;
}

bool is_efa(const std::string& folder, const std::string& device) {
  std::error_code error;
  const auto driver = std::filesystem::read_symlink(folder + "/" + device + "/device/driver", error);
  return driver.filename() == "efa";
}

}  // namespace

std::vector<std::string> automatic_transports(const std::string& classes, const std::vector<std::string_view>& built,
                                              const std::string& plugin) {
  const auto has = [&](std::string_view name) { return std::find(built.begin(), built.end(), name) != built.end(); };
  const std::string rdma = classes + "/infiniband";
  const auto rdma_devices = devices(rdma);
  const auto is_of_efa = [&](const std::string& device) { return is_efa(rdma, device); };
  const bool has_efa = std::any_of(rdma_devices.begin(), rdma_devices.end(), is_of_efa);
  const bool has_verbs = !std::all_of(rdma_devices.begin(), rdma_devices.end(), is_of_efa);
  const bool has_slingshot = !devices(classes + "/cxi").empty();
  std::vector<std::string> names = {"self", "shm"};
  if (has_verbs && (has("verbs") || has("ucx"))) names.emplace_back(has("verbs") ? "verbs" : "ucx");
  if ((has_efa || has_slingshot) && has("ofi")) names.emplace_back("ofi");
  if (!plugin.empty() && has("ncclnet")) names.emplace_back("ncclnet");
  names.emplace_back("tcp");
  return names;
}

std::string named_plugin(const std::string& setting, const char* variable) {
  if (!setting.empty() || variable == nullptr || strcasecmp(variable, "none") == 0) return setting;
  return variable;
}

Result<std::vector<std::unique_ptr<Transport>>> make_transports(const Settings& settings,
                                                                const EngineOptions& options, const Log& log,
                                                                const std::string& classes) {
  const bool is_automatic = settings.transports == std::vector<std::string>{"auto"};
  const std::string plugin = named_plugin(settings.ncclnet_plugin, std::getenv(kPluginVariable));
  const auto wanted = is_automatic ? automatic_transports(classes, built_fabrics(), plugin) : settings.transports;
  Maker maker{settings, options, log};
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(maker.self());
  for (const std::string& name : wanted) {
    if (name == "self") continue;
    // A key of this process's own: it goes out with the address, in the rendezvous, which lets nobody in who does not
    // know the job's secret.
    TUTTI_RETURN_IF_ERROR(secure_random(maker.key));
    auto made = maker.make(name);
    if (made) {
      transports.push_back(*std::move(made));
      continue;
    }
    const bool is_optional = is_automatic && name != "shm" && name != "tcp";
    if (!is_optional) return made.status().prefixed(format("transport {} (TUTTI_TRANSPORTS) cannot be used", name));
    log.write(LogLevel::warn, "transports", "there is a {} for {}, which cannot be used: {}. Going on without",
              name == "ncclnet" ? "plug-in" : "device", name, made.status().text());
  }
  return transports;
}

}  // namespace tutti
