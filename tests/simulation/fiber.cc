#include "tests/simulation/fiber.h"

#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace tutti {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = std::size_t{2} << 20;  // its frames are larger
#else
constexpr std::size_t kStackBytes = std::size_t{256} << 10;

// The address sanitizer wants to know which stack is in use.
void __sanitizer_start_switch_fiber(void**, const void*, std::size_t) {}
void __sanitizer_finish_switch_fiber(void*, const void**, std::size_t*) {}
#endif

// Kept for the next: a simulation has many, one after the other.
std::vector<std::unique_ptr<std::byte[]>>& free_stacks() {
  static std::vector<std::unique_ptr<std::byte[]>> stacks;
  return stacks;
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {
  if (free_stacks().empty()) {
    stack_.reset(new std::byte[kStackBytes]);
  } else {
    stack_ = std::move(free_stacks().back());
    free_stacks().pop_back();
  }
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackBytes;
  const auto self = reinterpret_cast<std::uintptr_t>(this);
  makecontext(&own_, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(self),
              static_cast<unsigned>(self >> 32));
}

Fiber::~Fiber() {
  ending_ = true;
  if (!over_) resume();
  free_stacks().push_back(std::move(stack_));
}

void Fiber::enter(unsigned low, unsigned high) {
  auto* const fiber = reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(high) << 32 | low);
  __sanitizer_finish_switch_fiber(nullptr, &fiber->caller_stack_, &fiber->caller_stack_bytes_);
  try {
    if (!fiber->ending_) fiber->body_();
  } catch (const Unwinding&) {
  }
  fiber->over_ = true;
  fiber->leave();
}

void Fiber::resume() {
  if (over_) throw std::logic_error("Fiber::resume: it is over");
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), kStackBytes);
  swapcontext(&caller_, &own_);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}

void Fiber::suspend() {
  leave();
  if (ending_) throw Unwinding{};
}

void Fiber::leave() {
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(over_ ? nullptr : &fake_stack, caller_stack_, caller_stack_bytes_);
  swapcontext(&own_, &caller_);
  __sanitizer_finish_switch_fiber(fake_stack, &caller_stack_, &caller_stack_bytes_);
}

}  // namespace tutti
