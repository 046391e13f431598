// Idle: what a library has been made to set up and nobody uses at the moment, kept for the next one who asks, since
// it cannot be torn down safely. A forked child takes none of its parent's. For any thread.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace tutti::fabric {

// `Kept` says by maker() which process has made it.
template <typename Kept>
class Idle {
 public:
  // The one of the whole program. Never destroyed: threads of the library's may be at work on what it has while the
  // program ends.
  static Idle& all() {
    static Idle* const all = new Idle;
    return *all;
  }

  // One for which `fits` holds, or null.
  template <typename Fits>
  std::unique_ptr<Kept> take(const Fits& fits) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const auto& each) { return each->maker() == getpid() && fits(*each); });
    if (found == kept_.end()) return nullptr;
    auto taken = std::move(*found);
    kept_.erase(found);
    return taken;
  }
  void give(std::unique_ptr<Kept> kept) {
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(kept));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Kept>> kept_;
};

}  // namespace tutti::fabric
