#include "tests/membership/store_sites.h"

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "src/membership/callback_store.h"
#include "src/membership/etcd_store.h"
#include "src/membership/file_store.h"
#include "src/membership/memory_store.h"
#include "src/membership/tcp_store.h"
#include "tests/membership/etcd_servers.h"
#include "tests/membership/torch_like_store.h"
#include "tests/tls/certificates.h"

namespace tutti {

namespace {

using namespace std::chrono_literals;

class MemorySite final : public StoreSite {
 public:
  std::shared_ptr<Store> open() override { return store_; }
  bool spans_processes() const override { return false; }

 private:
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
};

class FileSite final : public StoreSite {
 public:
  ~FileSite() override { std::filesystem::remove_all(directory_); }
  std::shared_ptr<Store> open() override {
    auto store = FileStore::open(directory_, FileStore::Lifetime::kept, later());
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return std::move(*store);
  }

 private:
  const std::string directory_ = make_directory();
};

class TcpSite final : public StoreSite {
 public:
  explicit TcpSite(std::shared_ptr<const TlsContext> tls) : tls_(std::move(tls)) {
    TcpStoreServer::Options options;
    options.tls = tls_;
    options.host = "127.0.0.1";
    options.secret = "secret";
    auto server = TcpStoreServer::start(options, Log());
    EXPECT_TRUE(server.is_ok()) << server.status().text();
    server_ = std::move(*server);
  }
  std::shared_ptr<Store> open() override {
    auto store = TcpStore::create(server_->address("127.0.0.1"), "secret", tls_);
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return std::move(*store);
  }
  // The server's thread may hold the allocator's lock in the moment of the fork, and the child would wait for it.
  // Processes that meet at this store: store_jobs_test.cc, test_tls_jobs.cc.
  bool spans_processes() const override { return false; }

 private:
  const std::shared_ptr<const TlsContext> tls_;
  std::unique_ptr<TcpStoreServer> server_;
};

class EtcdSite final : public StoreSite {
 public:
  std::string missing() const override { return EtcdServers::missing(); }
  // etcd writes to a disk, and the first change needs a lease and a session before.
  Nanoseconds patience() const override { return 2s; }
  std::shared_ptr<Store> open() override {
    auto store = EtcdStore::create(shared_etcd().address(prefix_), "secret");
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return std::move(*store);
  }

 private:
  static std::string next_prefix() {
    static int sites = 0;
    return format("site{}", ++sites);
  }
  const std::string prefix_ = next_prefix();
};

class MemoryPrimitives final : public StorePrimitives {
 public:
  Result<std::string> get(const std::string& key, Instant deadline) override {
    const auto handle = store_.get(key, deadline);
    if (!handle) return handle;
    return value_of(*handle);
  }
  Result<std::string> set_if_absent(const std::string& key, const std::string& value, Instant deadline) override {
    const auto swap = store_.set_if_absent(key, handle_of(value), deadline);
    if (!swap) return swap.status();
    return value_of(*swap->value);
  }
  std::string address() const override { return "callback://memory"; }

 private:
  // An entry with the longest value is longer than a value of the memory store may be, which so holds handles.
  std::string handle_of(const std::string& value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(value);
    return std::to_string(values_.size() - 1);
  }
  std::string value_of(const std::string& handle) {
    const std::lock_guard lock(mutex_);
    return values_[std::stoul(handle)];
  }

  MemoryStore store_;
  std::mutex mutex_;
  std::vector<std::string> values_;
};

class CallbackSite final : public StoreSite {
 public:
  explicit CallbackSite(std::shared_ptr<StorePrimitives> primitives) : primitives_(std::move(primitives)) {}
  std::shared_ptr<Store> open() override {
    auto store = CallbackStore::create(primitives_, "secret");
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return std::move(*store);
  }
  bool spans_processes() const override { return false; }

 private:
  const std::shared_ptr<StorePrimitives> primitives_;
};

}  // namespace

std::unique_ptr<StoreSite> make_memory_site() { return std::make_unique<MemorySite>(); }
std::unique_ptr<StoreSite> make_file_site() { return std::make_unique<FileSite>(); }
std::unique_ptr<StoreSite> make_tcp_site() { return std::make_unique<TcpSite>(nullptr); }
std::unique_ptr<StoreSite> make_tcp_key_site() { return std::make_unique<TcpSite>(psk_context()); }
std::unique_ptr<StoreSite> make_tcp_certificates_site() {
  const Certificates certificates;
  certificates.issue("node");
  return std::make_unique<TcpSite>(make_context(certificates.options("node")));
}
std::unique_ptr<StoreSite> make_etcd_site() { return std::make_unique<EtcdSite>(); }
std::unique_ptr<StoreSite> make_callback_site() {
  return std::make_unique<CallbackSite>(std::make_shared<MemoryPrimitives>());
}
std::unique_ptr<StoreSite> make_torch_site() {
  return std::make_unique<CallbackSite>(std::make_shared<TorchLikePrimitives>());
}

std::string make_directory() {
  std::string path = testing::TempDir() + "tutti_store_XXXXXX";
  EXPECT_NE(mkdtemp(path.data()), nullptr);
  return path;
}

Instant soon() { return deadline_after(monotonic_now(), 100ms); }
Instant later() { return deadline_after(monotonic_now(), 60s); }

}  // namespace tutti
