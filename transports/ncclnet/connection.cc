#include "transports/ncclnet/connection.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "src/base/format.h"

namespace tutti::ncclnet {

namespace {

constexpr std::align_val_t kPage{4096};

// Memory that a plug-in has not let go of.
void keep(std::byte* memory) {
  static std::mutex mutex;
  static auto* const all = new std::vector<std::byte*>;
  const std::lock_guard lock(mutex);
  all->push_back(memory);
}

}  // namespace

// ---- Places

void Places::Freer::operator()(std::byte* memory) const { ::operator delete(memory, kPage); }

Places::~Places() {
  if (must_stay_) keep(memory_.release());
}

Answer Places::open(void* connection) {
  constexpr std::size_t kBytes = kPlaces * kMessageBytesMax;
  memory_.reset(static_cast<std::byte*>(::operator new(kBytes, kPage)));
  const Answer answer = plugin_.register_memory(connection, memory_.get(), kBytes, &registration_);
  is_registered_ = answer == Answer::success;
  return answer;
}

void Places::release(void* connection) {
  if (!is_registered_) return;
  is_registered_ = false;
  if (plugin_.release_memory(connection, registration_) != Answer::success) must_stay_ = true;
}

// ---- Sender

Step Sender::failed(Answer answer, std::string_view call) {
  is_finished_ = false;
  words_ = plugin_.words_of(answer, call);
  return Step::failed;
}

void Sender::start(std::span<const std::byte> handle) {
  std::memcpy(handle_.bytes.data(), handle.data(), std::min(handle.size(), handle_.bytes.size()));
  is_started_ = true;
}

Step Sender::connect() {
  if (!is_started_) return Step::nothing;
  const Answer answer = plugin_.connect(device_, handle_, &connection_);
  is_connecting_ = answer == Answer::success && connection_ == nullptr;
  if (answer != Answer::success) return failed(answer, "connect");
  if (is_connecting_) return Step::nothing;
  if (const Answer registered = places_.open(connection_); registered != Answer::success)
    return failed(registered, "regMr");
  return Step::moved;
}

Step Sender::send(std::span<const std::byte> first, std::span<const std::byte> body, std::uint64_t tag) {
  if (!is_connected() || next_ - done_ >= kPlaces) return Step::nothing;
  std::byte* const place = places_.place(next_);
  std::memcpy(place, first.data(), first.size());
  if (!body.empty()) std::memcpy(place + first.size(), body.data(), body.size());
  void* request = nullptr;
  const std::size_t bytes = first.size() + body.size();
  const Answer answer = plugin_.send(connection_, place, bytes, places_.registration(), &request);
  if (answer != Answer::success) return failed(answer, "isend");
  if (request == nullptr) return Step::nothing;
  requests_[next_ % kPlaces] = request;
  tags_[next_ % kPlaces] = tag;
  ++next_;
  return Step::moved;
}

Step Sender::look() {
  if (is_finished_) return Step::moved;
  if (!words_.empty()) return Step::failed;
  if (done_ == next_) return Step::nothing;
  std::size_t bytes = 0;
  const Answer answer = plugin_.test(requests_[done_ % kPlaces], &is_finished_, &bytes);
  if (answer != Answer::success) return failed(answer, "test of an isend");
  return is_finished_ ? Step::moved : Step::nothing;
}

Step Sender::finish(std::uint64_t& tag) {
  const Step step = look();
  if (step != Step::moved) return step;
  is_finished_ = false;
  tag = tags_[done_++ % kPlaces];
  return step;
}

// The interface has no way to withdraw a connection that is being made: it is taken if it is there by now.
void Sender::close() {
  if (std::exchange(is_connecting_, false)) static_cast<void>(plugin_.connect(device_, handle_, &connection_));
  if (connection_ == nullptr) return;
  places_.release(connection_);
  if (plugin_.close_sender(connection_) != Answer::success) places_.keep_for_ever();
  connection_ = nullptr;
}

// ---- Receiver

Step Receiver::failed(Answer answer, std::string_view call) {
  has_come_ = false;
  words_ = plugin_.words_of(answer, call);
  return Step::failed;
}

Status Receiver::listen() {
  const Answer answer = plugin_.listen(device_, handle_, &listener_);
  if (answer != Answer::success)
    return {Code::system, format("{}: {}", plugin_.describe(), plugin_.words_of(answer, "listen"))};
  if (listener_ == nullptr) return {Code::system, format("{}: listen gives no listener", plugin_.describe())};
  return {};
}

Step Receiver::accept() {
  if (listener_ == nullptr) return Step::nothing;
  if (const Answer answer = plugin_.accept(listener_, &connection_); answer != Answer::success)
    return failed(answer, "accept");
  if (connection_ == nullptr) return Step::nothing;
  const Answer closed = plugin_.close_listener(listener_);
  listener_ = nullptr;
  if (closed != Answer::success) return failed(closed, "closeListen");
  if (const Answer answer = places_.open(connection_); answer != Answer::success) return failed(answer, "regMr");
  return post();
}

Step Receiver::post() {
  Step step = Step::nothing;
  while (posted_ - given_ < kPlaces) {
    void* request = nullptr;
    const Answer answer =
        plugin_.receive(connection_, places_.place(posted_), kMessageBytesMax, places_.registration(), &request);
    if (answer != Answer::success) return failed(answer, "irecv");
    if (request == nullptr) return step;
    requests_[posted_++ % kPlaces] = request;
    step = Step::moved;
  }
  return step;
}

Step Receiver::look() {
  if (has_come_) return Step::moved;
  if (!words_.empty() || post() == Step::failed) return Step::failed;
  if (come_ == posted_) return Step::nothing;
  const Answer answer = plugin_.test(requests_[come_ % kPlaces], &has_come_, &bytes_);
  if (answer != Answer::success) return failed(answer, "test of an irecv");
  if (!has_come_) return Step::nothing;
  if (bytes_ <= kMessageBytesMax) return Step::moved;
  has_come_ = false;
  words_ = format("test of an irecv: {} bytes came into a place for {}", bytes_, kMessageBytesMax);
  return Step::failed;
}

Step Receiver::receive(std::span<const std::byte>& message) {
  const Step step = look();
  if (step != Step::moved) return step;
  has_come_ = false;
  message = {places_.place(come_++), bytes_};
  return step;
}

void Receiver::close() {
  if (connection_ != nullptr) {
    places_.release(connection_);
    if (plugin_.close_receiver(connection_) != Answer::success) places_.keep_for_ever();
    connection_ = nullptr;
  }
  if (listener_ != nullptr) static_cast<void>(plugin_.close_listener(listener_));
  listener_ = nullptr;
}

}  // namespace tutti::ncclnet
