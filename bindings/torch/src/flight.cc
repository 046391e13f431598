#include "bindings/torch/src/flight.h"

#include <ATen/core/jit_type.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "bindings/torch/src/interrupt.h"
#include "bindings/torch/src/workers.h"

namespace tutti::pytorch {

namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// How long a wait lasts at most before Python gets to see its signals.
constexpr Milliseconds kSlice{100};

std::optional<std::vector<at::Tensor>> for_profile(const Launch& launch) {
  if (launch.inputs.empty()) return std::nullopt;
  return launch.inputs;
}

struct Span {
  const std::byte* begin;
  const std::byte* end;
};

// The memory that a tensor's elements lie in, gaps included.
Span span_of(const at::Tensor& tensor) {
  if (tensor.layout() != at::kStrided) return {nullptr, nullptr};
  const auto* const begin = static_cast<const std::byte*>(tensor.const_data_ptr());
  if (tensor.numel() == 0) return {begin, begin};
  std::int64_t last = 0;
  for (std::int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  return {begin, begin + (static_cast<std::size_t>(last) + 1) * tensor.element_size()};
}

bool overlap(const std::vector<at::Tensor>& some, const std::vector<at::Tensor>& others) {
  for (const at::Tensor& one : some) {
    const Span a = span_of(one);
    for (const at::Tensor& other : others) {
      const Span b = span_of(other);
      if (a.begin < b.end && b.begin < a.end) return true;
    }
  }
  return false;
}

}  // namespace

Flight::Flight(std::shared_ptr<Group> group, Launch launch, std::uint64_t number)
    : Work(group->rank(), launch.type, launch.title, for_profile(launch)),
      group_(std::move(group)),
      launch_(std::move(launch)),
      number_(number),
      deadline_(begun_ + launch_.timeout) {}

void Flight::follow() { place_ = group_->add(c10::intrusive_ptr<Flight>::reclaim_copy(this)); }

void Flight::start() {
  tutti_call call = TUTTI_CALL_INIT;
  call.timeout_ns = nanoseconds(launch_.timeout).count();
  call.scalar = launch_.extra.empty() ? nullptr : launch_.extra.data();
  requests_.resize(launch_.starts.size());
  const Failure failure = group_->use([&](tutti_comm* comm) {
    if (requests_.size() == 1) return launch_.starts[0](comm, &call, requests_.data());
    tutti_status status = tutti_group_begin();
    if (status != TUTTI_OK) return status;
    for (std::size_t i = 0; i < requests_.size(); ++i) launch_.starts[i](comm, &call, &requests_[i]);
    return tutti_group_end();  // with the first error of them
  });
  launch_.starts.clear();
  if (!failure.is_ok()) {
    finish(exception_of(failure, launch_.title, group_->options().name));
    std::rethrow_exception(exception());
  }
  follow();
  if (is_followed() || requests_.empty()) poll();
}

void Flight::receive(Receive receive) {
  receive_ = receive;
  is_matched_ = false;
  follow();
  group_->mailbox().want(c10::intrusive_ptr<Flight>::reclaim_copy(this));
}

bool Flight::is_complete() const {
  const std::lock_guard lock(mutex_);
  return completed_;
}

bool Flight::isCompleted() {
  poll();
  return is_complete();
}

bool Flight::wait(Milliseconds timeout) {
  const Instant begin = steady_clock::now();
  const bool is_limited = timeout > kNoTimeout;
  const Instant until = is_limited ? begin + timeout : Instant::max();
  std::unique_lock lock(mutex_);
  while (!completed_) {
    const nanoseconds left = until - steady_clock::now();
    if (left <= nanoseconds(0)) {
      const Failure late{TUTTI_TIMEOUT, "it was not complete within " + std::to_string(timeout.count()) +
                                            " ms of a wait, and goes on until its own deadline"};
      raise(late, launch_.title, group_->options().name);
    }
    const nanoseconds turn = std::min<nanoseconds>(kSlice, left);
    if (is_driven_) {
      cv_.wait_for(lock, turn, [this] { return completed_ || !is_driven_; });
    } else {
      is_driven_ = true;
      lock.unlock();
      advance(turn);
      lock.lock();
      stop_driving(lock);
    }
    if (completed_) break;
    lock.unlock();
    check_interrupt();
    lock.lock();
  }
  if (exception_) std::rethrow_exception(exception_);
  return true;
}

void Flight::poll() {
  std::unique_lock lock(mutex_);
  if (completed_) return;
  again_ = true;
  if (is_driven_) return;
  is_driven_ = true;
  stop_driving(lock);
}

// With the lock, also when it returns.
void Flight::stop_driving(std::unique_lock<std::mutex>& lock) {
  while (again_ && !completed_) {
    again_ = false;
    lock.unlock();
    advance(nanoseconds(0));
    lock.lock();
  }
  if (!completed_ && is_matched_ && !is_watched_ && is_followed()) watch();
  is_driven_ = false;
  cv_.notify_all();
}

bool Flight::advance(nanoseconds limit) {
  const Instant until = steady_clock::now() + limit;
  const auto is_matched = [this] {
    const std::lock_guard lock(mutex_);
    return is_matched_;
  };
  if (!is_matched()) {
    const Instant now = steady_clock::now();
    if (now >= deadline_ && group_->mailbox().withdraw(*this)) {
      const std::lock_guard lock(mutex_);
      failure_ = {TUTTI_TIMEOUT,
                  "no message with tag " + std::to_string(receive_->tag) + " has come within " +
                      std::to_string(launch_.timeout.count()) + " ms",
                  receive_->sender};
      is_matched_ = true;
    } else if (limit > nanoseconds(0)) {
      group_->mailbox().help(*this, std::clamp<nanoseconds>(deadline_ - now, nanoseconds(0), limit));
    }
    if (!is_matched()) return false;
  }
  for (tutti_request*& request : requests_) {
    if (request == nullptr) continue;
    const nanoseconds left = until - steady_clock::now();
    int done = 0;
    const tutti_status status =
        left > nanoseconds(0) ? tutti_request_wait(&request, left.count()) : tutti_request_test(&request, &done);
    if (request != nullptr && (status == TUTTI_OK || status == TUTTI_TIMEOUT)) return false;
    request = nullptr;  // also where it is a parent process's
    if (failure_.is_ok()) failure_ = Failure::of(status);
  }
  complete();
  return true;
}

// By who drives; the requests are gone.
void Flight::complete() {
  const auto self = c10::intrusive_ptr<Flight>::reclaim_copy(this);  // the list holds it no longer
  std::exception_ptr error;
  if (!failure_.is_ok()) {
    error = exception_of(failure_, launch_.title, group_->options().name);
  } else {
    try {
      for (const auto& ending : launch_.endings) ending();
    } catch (...) {
      error = std::current_exception();
    }
  }
  {
    const std::lock_guard lock(mutex_);
    launch_.inputs.clear();
    launch_.memory.clear();
    launch_.endings.clear();
    ended_ = steady_clock::now();
  }
  finish(error);
  group_->remove(place_);
  {
    const std::lock_guard lock(mutex_);
    if (future_ && !is_told_) {
      is_told_ = true;
      post([self] { self->tell(); });
    }
  }
  if (group_->on_completion) {
    post([self] {
      const std::chrono::duration<float> active = self->ended_ - self->begun_;
      self->group_->on_completion(
          std::make_shared<c10d::WorkInfo>(self->opType_, self->number_, self->begun_, self->ended_, active));
    });
  }
}

void Flight::tell() {
  if (exception_) {
    future_->setError(exception_);
  } else {
    future_->markCompleted(c10::IValue(launch_.outputs));
  }
}

c10::intrusive_ptr<c10::ivalue::Future> Flight::getFuture() {
  bool is_over = false;
  {
    const std::lock_guard lock(mutex_);
    if (future_) return future_;
    future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
    is_over = completed_;
    is_told_ = is_over;
  }
  is_over ? tell() : poll();
  return future_;
}

c10::intrusive_ptr<c10::ivalue::Future> Flight::getFutureResult() {
  auto result = c10::make_intrusive<c10::ivalue::Future>(c10::IntType::get());
  const auto self = c10::intrusive_ptr<Flight>::reclaim_copy(this);
  getFuture()->addCallback([self, result](c10::ivalue::Future& future) {
    c10d::WorkResult how = c10d::WorkResult::SUCCESS;
    if (future.hasError())
      how = self->failure_.status == TUTTI_TIMEOUT ? c10d::WorkResult::TIMEOUT : c10d::WorkResult::COMM_ERROR;
    result->markCompleted(c10::IValue(static_cast<std::int64_t>(how)));
  });
  return result;
}

float Flight::getDuration() const {
  TORCH_CHECK(is_complete(), "tutti: the operation is not complete, so it has no duration yet");
  return std::chrono::duration<float, std::milli>(ended_ - begun_).count();
}

bool Flight::touches(const Launch& other) const {
  const std::lock_guard lock(mutex_);
  if (completed_) return false;
  return overlap(launch_.outputs, other.outputs) || overlap(launch_.outputs, other.inputs) ||
         overlap(launch_.inputs, other.outputs);
}

void Flight::matched(int sender, tutti_request* request, std::function<void()> ending) {
  {
    const std::lock_guard lock(mutex_);
    source_ = sender;
    if (request != nullptr) requests_.push_back(request);
    if (ending) launch_.endings.push_back(std::move(ending));
    is_matched_ = true;
  }
  cv_.notify_all();
  poll();
}

void Flight::failed(const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    is_matched_ = true;
  }
  cv_.notify_all();
  poll();
}

void Flight::wait_for_match(nanoseconds limit) {
  std::unique_lock lock(mutex_);
  cv_.wait_for(lock, limit, [this] { return is_matched_; });
}

Milliseconds Flight::time_left() const {
  const auto left = std::chrono::ceil<Milliseconds>(deadline_ - steady_clock::now());
  return std::max(left, Milliseconds(1));
}

void Flight::notified(void* flight) {
  auto self = c10::intrusive_ptr<Flight>::reclaim_copy(static_cast<Flight*>(flight));
  post([self = std::move(self)] { self->poll(); });
}

// By who drives.
void Flight::watch() {
  is_watched_ = true;
  for (tutti_request* const request : requests_) {
    if (request != nullptr) tutti_request_notify(request, notified, this);
  }
}

}  // namespace tutti::pytorch
