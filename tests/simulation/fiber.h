// Fiber: code that waits in the middle, without a thread of its own: whoever resumes it goes on when it suspends
// itself. A simulation runs in fibers what blocks elsewhere. One that is ended before its time is unwound, so that
// nothing which it holds is leaked.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace tutti {

class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  bool is_over() const { return over_; }
  // Runs it until it suspends itself or is over. REQUIRES: !is_over(); not from within.
  void resume();
  // From within: back to whoever resumed it. Unwinds instead of returning when the fiber is to end.
  void suspend();

 private:
  struct Unwinding {};
  static void enter(unsigned low, unsigned high);
  void leave();

  std::function<void()> body_;
  std::unique_ptr<std::byte[]> stack_;
  ucontext_t own_{};
  ucontext_t caller_{};
  const void* caller_stack_ = nullptr;  // for the address sanitizer
  std::size_t caller_stack_bytes_ = 0;
  bool ending_ = false;
  bool over_ = false;
};

}  // namespace tutti
