// Process groups whose members change (torch 2.14 and later): each process has a handle, and reconfigure() makes a
// group of those whose handles it is given. They meet in torch's store, in a part that only this group has: its name
// is the number that the caller must not use twice, and the members.
#include <algorithm>
#include <random>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>

#include "bindings/torch/src/backend.h"

namespace tutti::pytorch {

std::string Backend::new_handle() {
  std::random_device random;
  std::string handle = "tutti";
  for (int i = 0; i < 4; ++i) handle += "-" + std::to_string(random());
  return handle;
}

#ifdef C10D_BACKEND_HAS_RECONFIGURE

bool Backend::starts_unconfigured(const Options& options) { return options.enable_reconfigure; }

namespace {

// By rank. Where the caller leaves the ranks to us, they are those of the handles in order, on all members alike.
std::vector<std::string> members_of(const c10d::ReconfigureOptions& options) {
  if (const auto* const by_rank = std::get_if<std::vector<std::string>>(&options.handles)) return *by_rank;
  const auto& any = std::get<std::unordered_set<std::string>>(options.handles);
  std::vector<std::string> sorted(any.begin(), any.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

}  // namespace

WorkPointer Backend::reconfigure(const c10d::ReconfigureOptions& options) {
  const std::vector<std::string> members = members_of(options);
  const auto place = std::find(members.begin(), members.end(), handle_);
  TORCH_CHECK(place != members.end(), "tutti: reconfigure() was given ", members.size(),
              " handles, of which none is this process's (get_reconfigure_handle())");
  TORCH_CHECK(std::unordered_set<std::string>(members.begin(), members.end()).size() == members.size(),
              "tutti: reconfigure() was given a handle twice");
  std::shared_ptr<Group> before;
  {
    const std::lock_guard lock(mutex_);
    TORCH_CHECK(uuids_.insert(options.uuid).second, "tutti: reconfigure() was given the uuid ", options.uuid,
                " before; it takes a new one each time");
    before = std::exchange(group_, nullptr);
  }
  if (before) before->close();
  std::string all;
  for (const std::string& member : members) all += member + "/";
  const std::string name =
      "reconfigure/" + std::to_string(options.uuid) + "/" + std::to_string(std::hash<std::string>()(all));
  Group::Options its = group_options(*options_);
  its.timeout = options.timeout.value_or(options_->timeout);
  const int rank = static_cast<int>(place - members.begin());
  const int size = static_cast<int>(members.size());
  auto made = Group::create(c10::make_intrusive<c10d::PrefixStore>(name, store_), rank, size, its);
  made->set_timeout(options_->timeout);
  if (before) made->on_completion = before->on_completion;
  {
    const std::lock_guard lock(mutex_);
    group_ = std::move(made);
    rank_ = rank;
    size_ = size;
  }
  return start(prepare(c10d::OpType::UNKNOWN, "tutti:reconfigure", c10d::kUnsetTimeout));  // complete
}

#else

bool Backend::starts_unconfigured(const Options& /*options*/) { return false; }

#endif

}  // namespace tutti::pytorch
