// torch's store as one of Tutti's.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

namespace tutti::pytorch {

// A name for the store, as long as this lives. Calls that wait do not hold up others: each has a clone to itself.
class NamedStore {
 public:
  explicit NamedStore(c10::intrusive_ptr<c10d::Store> store);
  ~NamedStore();
  NamedStore(const NamedStore&) = delete;
  NamedStore& operator=(const NamedStore&) = delete;

  std::string address() const { return "callback://" + name_; }

 private:
  struct Clones;
  std::string name_;
  std::unique_ptr<Clones> clones_;
};

}  // namespace tutti::pytorch
