#include "bindings/torch/src/store.h"

#include <c10/util/Exception.h>
#include <tutti/tutti.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

#include "bindings/torch/src/failure.h"

namespace tutti::pytorch {

namespace {

using Bytes = std::vector<std::uint8_t>;
using Milliseconds = std::chrono::milliseconds;

Milliseconds limit_of(std::int64_t timeout_ns) {
  constexpr std::int64_t kLongest = std::int64_t{24} * 3600 * 1000;
  return Milliseconds(timeout_ns < 0 ? kLongest : (timeout_ns + 999'999) / 1'000'000);
}

tutti_status refuse(tutti_store_reply* reply, tutti_status status, const std::string& text) {
  tutti_store_reply_set(reply, text.data(), text.size());
  return status;
}

}  // namespace

struct NamedStore::Clones {
  std::mutex mutex;
  c10::intrusive_ptr<c10d::Store> original;
  std::vector<c10::intrusive_ptr<c10d::Store>> idle;

  c10::intrusive_ptr<c10d::Store> take() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return original->clone();
    auto clone = std::move(idle.back());
    idle.pop_back();
    return clone;
  }

  // Calls act(store); a clone that has thrown is not used again.
  template <typename Act>
  tutti_status use(tutti_store_reply* reply, const Act& act) {
    try {
      auto clone = take();
      const tutti_status status = act(*clone);
      const std::lock_guard lock(mutex);
      idle.push_back(std::move(clone));
      return status;
    } catch (const c10::DistNetworkError& error) {
      return refuse(reply, TUTTI_PEER_LOST, error.what_without_backtrace());
    } catch (const c10::DistStoreError& error) {
      return refuse(reply, TUTTI_TIMEOUT, error.what_without_backtrace());
    } catch (const std::exception& error) {
      return refuse(reply, TUTTI_SYSTEM, error.what());
    }
  }

  static tutti_status get(void* user, const char* key, std::int64_t timeout_ns, tutti_store_reply* reply) {
    return static_cast<Clones*>(user)->use(reply, [&](c10d::Store& store) {
      if (timeout_ns == 0) {
        if (!store.check({key})) return TUTTI_TIMEOUT;
      } else {
        store.wait({key}, limit_of(timeout_ns));
      }
      const Bytes value = store.get(key);
      return tutti_store_reply_set(reply, value.data(), value.size());
    });
  }

  static tutti_status set_if_absent(void* user, const char* key, const void* value, std::size_t value_size,
                                    std::int64_t /*timeout_ns*/, tutti_store_reply* reply) {
    return static_cast<Clones*>(user)->use(reply, [&](c10d::Store& store) {
      const auto* const begin = static_cast<const std::uint8_t*>(value);
      const Bytes there = store.compareSet(key, Bytes(), Bytes(begin, begin + value_size));
      return tutti_store_reply_set(reply, there.data(), there.size());
    });
  }
};

NamedStore::NamedStore(c10::intrusive_ptr<c10d::Store> store) : clones_(std::make_unique<Clones>()) {
  static std::atomic<std::uint64_t> made{0};
  clones_->original = std::move(store);
  name_ = "torch-" + std::to_string(made.fetch_add(1));
  tutti_store_callbacks callbacks = TUTTI_STORE_CALLBACKS_INIT;
  callbacks.user = clones_.get();
  callbacks.get = Clones::get;
  callbacks.set_if_absent = Clones::set_if_absent;
  const Failure failure = Failure::of(tutti_store_register(name_.c_str(), &callbacks));
  if (!failure.is_ok()) raise(failure, "tutti: the store", name_);
}

NamedStore::~NamedStore() { tutti_store_unregister(name_.c_str()); }

}  // namespace tutti::pytorch
