#include "src/membership/stores.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>

#include "src/base/format.h"
#include "src/base/private_file.h"
#include "src/base/secret.h"
#include "src/membership/etcd_store.h"
#include "src/membership/file_store.h"

namespace tutti {

namespace {

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kFile = "file://";
constexpr std::string_view kEtcd = "etcd://";
constexpr std::string_view kEtcdTls = "etcds://";
constexpr std::size_t kLongestPem = std::size_t{1} << 20;

Result<std::unique_ptr<Store>> open_file_store(std::string_view address, FileStore::Lifetime lifetime,
                                               Instant deadline) {
  auto store = FileStore::open(std::string(address.substr(kFile.size())), lifetime, deadline);
  if (!store) return store.status();
  return std::unique_ptr<Store>(*std::move(store));
}

// Only the port is used of the address: the host is what others call us, not always one that we can bind to.
Status host_store(const LaunchEnvironment& launch, const StoreAccess& access, const Log& log, JobStore& job) {
  const auto address = parse_host_port(std::string_view(launch.store).substr(kTcp.size()), launch.store);
  if (!address) return address.status();
  TcpStoreServer::Options options;
  options.port = address->port;
  options.secret = access.secret;
  options.tls = access.tls;
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

Result<StoreAccess> read_store_access(const Settings& settings) {
  StoreAccess access;
  auto secret = read_secret(settings);
  if (!secret) return secret.status();
  access.secret = *std::move(secret);
  if (settings.tls == TlsMode::psk && access.secret.empty()) {
    return Status(Code::invalid,
                  "TUTTI_TLS is psk, whose key comes from the secret, but there is none; set TUTTI_SECRET "
                  "or TUTTI_SECRET_FILE to the same on every process");
  }
  auto tls = TlsContext::create(settings);
  if (!tls) return tls.status();
  access.tls = *std::move(tls);
  access.etcd.certificates = {settings.etcd_authority, settings.etcd_certificate, settings.etcd_key};
  access.etcd.user = settings.etcd_user;
  if (settings.etcd_certificate.empty() != settings.etcd_key.empty()) {
    return Status(Code::invalid,
                  "TUTTI_ETCD_CERTIFICATE and TUTTI_ETCD_KEY belong together; expected both or neither");
  }
  if (settings.etcd_user.empty() != settings.etcd_password_file.empty()) {
    return Status(Code::invalid,
                  "TUTTI_ETCD_USER and TUTTI_ETCD_PASSWORD_FILE belong together; expected both or neither");
  }
  if (!settings.etcd_password_file.empty()) {
    auto password = read_secret_file("TUTTI_ETCD_PASSWORD_FILE", settings.etcd_password_file);
    if (!password) return password.status();
    access.etcd.password = *std::move(password);
  }
  for (const auto& [name, path, readers] :
       {std::tuple{"TUTTI_ETCD_AUTHORITY", &settings.etcd_authority, Readers::anybody},
        {"TUTTI_ETCD_CERTIFICATE", &settings.etcd_certificate, Readers::anybody},
        {"TUTTI_ETCD_KEY", &settings.etcd_key, Readers::owner_only}}) {
    if (path->empty()) continue;
    if (const auto text = read_small_file(name, *path, kLongestPem, readers); !text) return text.status();
  }
  access.fingerprint = format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", access.secret, static_cast<int>(settings.tls),
                              settings.tls_certificate, settings.tls_key, settings.tls_authority, settings.etcd_user,
                              settings.etcd_authority, settings.etcd_certificate);
  return access;
}

Result<std::unique_ptr<Store>> open_store(std::string_view address, const StoreAccess& access, Instant deadline) {
  if (address.starts_with(kFile)) return open_file_store(address, FileStore::Lifetime::kept, deadline);
  if (address.starts_with(kEtcd) || address.starts_with(kEtcdTls)) {
    EtcdStore::Options options;
    options.access = access.etcd;
    auto store = EtcdStore::create(address, access.secret, std::move(options));
    if (!store) return store.status();
    return std::unique_ptr<Store>(*std::move(store));
  }
  if (!address.starts_with(kTcp)) {
    return Status(Code::invalid, format("TUTTI_STORE is \"{}\"; expected tcp://HOST:PORT, file:///DIRECTORY or "
                                        "etcd://HOST:PORT[,HOST:PORT...][/PREFIX] (etcds:// for TLS)",
                                        address));
  }
  auto store = TcpStore::create(address, access.secret, access.tls);
  if (!store) return store.status();
  return std::unique_ptr<Store>(*std::move(store));
}

Result<JobStore> join_store(const LaunchEnvironment& launch, const StoreAccess& access, Instant deadline,
                            const Log& log) {
  JobStore job;
  if (launch.store.empty()) return job;
  if (launch.rank == 0 && launch.store.starts_with(kTcp)) {
    TUTTI_RETURN_IF_ERROR(host_store(launch, access, log, job));
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
  auto store = open_store(launch.store, access, deadline);
  if (!store) return store.status();
  job.store = *std::move(store);
  return job;
}

}  // namespace tutti
