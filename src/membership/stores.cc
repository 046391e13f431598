#include "src/membership/stores.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/format.h"
#include "src/membership/etcd_store.h"
#include "src/membership/file_store.h"

namespace tutti {

namespace {

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kFile = "file://";
constexpr std::string_view kEtcd = "etcd://";

Result<std::unique_ptr<Store>> open_file_store(std::string_view address, FileStore::Lifetime lifetime,
                                               Instant deadline) {
  auto store = FileStore::open(std::string(address.substr(kFile.size())), lifetime, deadline);
  if (!store) return store.status();
  return std::unique_ptr<Store>(*std::move(store));
}

// Only the port is used of the address: the host is what others call us, not always one that we can bind to.
Status host_store(const LaunchEnvironment& launch, std::string_view secret, const Log& log, JobStore& job) {
  const auto address = parse_host_port(std::string_view(launch.store).substr(kTcp.size()), launch.store);
  if (!address) return address.status();
  TcpStoreServer::Options options;
  options.port = address->port;
  options.secret = secret;
  auto server = TcpStoreServer::start(std::move(options), log);
  if (server) {
    job.server = *std::move(server);
    return {};
  }
  if (server.status().text().find("EADDRINUSE") == std::string::npos) return server.status();
  log.write(LogLevel::info, "store", "{}: port {} is in use, so the store that listens there is joined", launch.store,
            address->port);
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> open_store(std::string_view address, std::string_view secret, Instant deadline) {
  if (address.starts_with(kFile)) return open_file_store(address, FileStore::Lifetime::kept, deadline);
  if (address.starts_with(kEtcd)) {
    auto store = EtcdStore::create(address, secret);
    if (!store) return store.status();
    return std::unique_ptr<Store>(*std::move(store));
  }
  if (!address.starts_with(kTcp)) {
    return Status(Code::invalid, format("TUTTI_STORE is \"{}\"; expected tcp://HOST:PORT, file:///DIRECTORY or "
                                        "etcd://HOST:PORT[,HOST:PORT...][/PREFIX]",
                                        address));
  }
  auto store = TcpStore::create(address, secret);
  if (!store) return store.status();
  return std::unique_ptr<Store>(*std::move(store));
}

Result<JobStore> join_store(const LaunchEnvironment& launch, std::string_view secret, Instant deadline,
                            const Log& log) {
  JobStore job;
  if (launch.store.empty()) return job;
  if (launch.rank == 0 && launch.store.starts_with(kTcp)) {
    TUTTI_RETURN_IF_ERROR(host_store(launch, secret, log, job));
  }
  if (launch.store_is_private) {
    const std::string parent = launch.store.substr(kFile.size(), launch.store.rfind('/') - kFile.size());
    if (mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST)
      return Status::from_errno(errno, format("mkdir {}", parent));
    // FileStore refuses a directory of somebody else's; this one is looked at here, or it could be exchanged below
    // us.
    struct stat facts = {};
    if (lstat(parent.c_str(), &facts) != 0) return Status::from_errno(errno, format("stat {}", parent));
    if (!S_ISDIR(facts.st_mode) || facts.st_uid != geteuid() || (facts.st_mode & 022) != 0) {
      return Status(Code::invalid,
                    format("{} must be a directory of user {} that nobody else may write to; it is not. "
                           "Remove it, or set TUTTI_STORE",
                           parent, geteuid()));
    }
    auto store = open_file_store(launch.store, FileStore::Lifetime::ephemeral, deadline);
    if (!store) return store.status();
    job.store = *std::move(store);
    return job;
  }
  auto store = open_store(launch.store, secret, deadline);
  if (!store) return store.status();
  job.store = *std::move(store);
  return job;
}

}  // namespace tutti
