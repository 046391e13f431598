#include "bindings/torch/src/workers.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace tutti::pytorch {

namespace {

class Workers {
 public:
  void post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
    if (waiting_.size() > idle_) begin_thread();
    wakes_.notify_one();
  }

 private:
  // Threads live as long as the process, which does not wait for them.
  void begin_thread() {
    ++idle_;
    std::thread([this] { run(); }).detach();
  }

  void run() {
    pthread_setname_np(pthread_self(), "tutti-torch");
    std::unique_lock lock(mutex_);
    while (true) {
      wakes_.wait(lock, [this] { return !waiting_.empty(); });
      std::function<void()> work = std::move(waiting_.front());
      waiting_.pop_front();
      --idle_;
      lock.unlock();
      work();
      work = nullptr;  // what it held may post, too
      lock.lock();
      ++idle_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wakes_;
  std::deque<std::function<void()>> waiting_;
  std::size_t idle_ = 0;
};

Workers* workers = new Workers;  // never destroyed: its threads are not ended

void forget_in_child() { workers = new Workers; }

}  // namespace

void post(std::function<void()> work) {
  static const int at_fork = pthread_atfork(nullptr, nullptr, forget_in_child);
  static_cast<void>(at_fork);
  workers->post(std::move(work));
}

}  // namespace tutti::pytorch
