#include "src/api/store_callbacks.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"
#include "src/api/handles.h"
#include "src/base/format.h"
#include "src/membership/callback_store.h"

struct tutti_store_reply {
  std::string bytes;
};

namespace tutti {

namespace {

constexpr std::string_view kScheme = "callback://";
constexpr std::size_t kReplyBytesMax = std::size_t{4} << 20;

std::int64_t timeout_until(Instant deadline) {
  if (deadline == kNever) return -1;
  return std::max<std::int64_t>(0, (deadline - monotonic_now()).count());
}

// The caller's functions as the store wants them, until they are taken away.
class Callbacks final : public StorePrimitives {
 public:
  Callbacks(std::string name, const tutti_store_callbacks& table) : name_(std::move(name)), table_(table) {}

  Result<std::string> get(const std::string& key, Instant deadline) override {
    return call("get", key, [&](tutti_store_reply& reply) {
      return table_.get(table_.user, key.c_str(), timeout_until(deadline), &reply);
    });
  }
  Result<std::string> set_if_absent(const std::string& key, const std::string& value, Instant deadline) override {
    return call("set_if_absent", key, [&](tutti_store_reply& reply) {
      return table_.set_if_absent(table_.user, key.c_str(), value.data(), value.size(), timeout_until(deadline),
                                  &reply);
    });
  }
  std::string address() const override { return std::string(kScheme) + name_; }

  void take_away() {
    const std::unique_lock lock(mutex_);
    is_gone_ = true;
  }

 private:
  template <typename Call>
  Result<std::string> call(std::string_view function, const std::string& key, Call&& run) {
    const std::shared_lock lock(mutex_);  // take_away waits for calls under way
    if (is_gone_) return Status(Code::peer_lost, "it was unregistered (tutti_store_unregister)");
    tutti_store_reply reply;
    const auto code = static_cast<Code>(run(reply));
    if (code == Code::ok) return std::move(reply.bytes);
    const std::string why = reply.bytes.empty() ? "it gave no reason" : reply.bytes;
    const bool is_one_of_ours = code == Code::timeout || code == Code::peer_lost || code == Code::system;
    return Status(is_one_of_ours ? code : Code::system,
                  format("{} of the key {} returned {}: {}", function, key,
                         tutti_status_name(static_cast<tutti_status>(code)), why));
  }

  const std::string name_;
  const tutti_store_callbacks table_;
  std::shared_mutex mutex_;
  bool is_gone_ = false;
};

struct Registered {
  std::shared_ptr<Callbacks> callbacks;
  std::map<std::string, Store*> stores;  // by secret
};

struct Registry {
  std::mutex mutex;
  pid_t pid = getpid();
  std::map<std::string, Registered, std::less<>> names;
  std::vector<std::unique_ptr<Store>> stores;  // all there ever were: communicators keep pointers to them
};

// A forked child takes the names over, with stores of its own.
Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

Status check_callbacks(const char* name, const tutti_store_callbacks* callbacks) {
  if (name == nullptr || *name == '\0') return invalid("tutti_store_register: the name is NULL or empty");
  if (callbacks == nullptr) return invalid("tutti_store_register: callbacks is NULL");
  if (callbacks->size < sizeof(tutti_store_callbacks)) {
    return invalid(
        format("tutti_store_callbacks.size is {}; set it to sizeof(tutti_store_callbacks) "
               "(TUTTI_STORE_CALLBACKS_INIT does)",
               callbacks->size));
  }
  if (callbacks->get == nullptr || callbacks->set_if_absent == nullptr)
    return invalid("tutti_store_register: get or set_if_absent is NULL; both are needed");
  return {};
}

}  // namespace

bool is_callback_address(std::string_view address) { return address.starts_with(kScheme); }

Result<Store*> callback_store(std::string_view address, const std::string& secret) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  if (all.pid != getpid()) {
    for (auto& [name, entry] : all.names) entry.stores.clear();
    all.pid = getpid();
  }
  const auto found = all.names.find(address.substr(kScheme.size()));
  if (found == all.names.end()) {
    return invalid(format("no store is registered in this process as {}; call tutti_store_register first", address));
  }
  Store*& store = found->second.stores[secret];
  if (store == nullptr) {
    auto made = CallbackStore::create(found->second.callbacks, secret);
    if (!made) return made.status();
    all.stores.push_back(*std::move(made));
    store = all.stores.back().get();
  }
  return store;
}

}  // namespace tutti

using tutti::format;
using tutti::invalid;
using tutti::report;

tutti_status tutti_store_reply_set(tutti_store_reply* reply, const void* bytes, std::size_t size) {
  if (reply == nullptr || (bytes == nullptr && size > 0))
    return report(invalid("tutti_store_reply_set: an argument is NULL"));
  if (size > tutti::kReplyBytesMax) {
    return report(
        invalid(format("tutti_store_reply_set: {} bytes are more than any value of Tutti's; at most {} are "
                       "taken",
                       size, tutti::kReplyBytesMax)));
  }
  reply->bytes.assign(static_cast<const char*>(bytes), size);
  return TUTTI_OK;
}

tutti_status tutti_store_register(const char* name, const tutti_store_callbacks* callbacks) {
  const tutti::Status status = tutti::check_callbacks(name, callbacks);
  if (!status) return report(status);
  tutti::Registry& all = tutti::registry();
  const std::lock_guard lock(all.mutex);
  if (all.names.contains(name))
    return report(invalid(format("tutti_store_register: the name {} is taken; unregister it first", name)));
  all.names[name].callbacks = std::make_shared<tutti::Callbacks>(name, *callbacks);
  return TUTTI_OK;
}

tutti_status tutti_store_unregister(const char* name) {
  std::shared_ptr<tutti::Callbacks> callbacks;
  {
    tutti::Registry& all = tutti::registry();
    const std::lock_guard lock(all.mutex);
    const auto found = name == nullptr ? all.names.end() : all.names.find(std::string_view(name));
    if (found == all.names.end())
      return report(invalid(format("tutti_store_unregister: no store is registered as {}", name ? name : "NULL")));
    callbacks = found->second.callbacks;
    all.names.erase(found);
  }
  callbacks->take_away();
  return TUTTI_OK;
}
