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

constexpr Connection::Calls kSends = {&Plugin::send, &Plugin::close_sender, "isend", "closeSend"};
constexpr Connection::Calls kReceives = {&Plugin::receive, &Plugin::close_receiver, "irecv", "closeRecv"};

}  // namespace

// ---- Places

void Places::Freer::operator()(std::byte* memory) const { ::operator delete(memory, kPage); }

Places::~Places() {
  if (must_stay_) keep(memory_.release());
}

Answer Places::open(void* connection) {
  const std::size_t bytes = count_ * kPlaceBytes;
  memory_.reset(static_cast<std::byte*>(::operator new(bytes, kPage)));
  const Answer answer = plugin_.register_memory(connection, memory_.get(), bytes, &registration_);
  is_registered_ = answer == Answer::success;
  return answer;
}

void Places::release(void* connection) {
  if (!is_registered_) return;
  is_registered_ = false;
  if (plugin_.release_memory(connection, registration_) != Answer::success) must_stay_ = true;
}

// ---- Connection

Step Connection::failed(std::string words) {
  is_finished_ = false;
  words_ = std::move(words);
  return Step::failed;
}

Step Connection::failed(Answer answer, std::string_view call) { return failed(plugin_.words_of(answer, call)); }

Step Connection::open(void* connection) {
  connection_ = connection;
  const Answer answer = places_.open(connection_);
  return answer == Answer::success ? Step::moved : failed(answer, "regMr");
}

Step Connection::start(Request request) {
  void* const registration = request.is_lent ? request.registration : places_.registration();
  const Answer answer =
      (plugin_.*calls_.start)(connection_, request.data, request.bytes, registration, &request.request);
  if (answer != Answer::success) return failed(answer, calls_.start_name);
  if (request.request == nullptr) return Step::nothing;
  lent_ += request.is_lent ? 1 : 0;
  requests_.push_back(request);
  return Step::moved;
}

// Registering may cost more than what it is for: so it is kept where only room is missing.
Step Connection::lend(std::byte* data, std::size_t bytes, std::uint64_t tag) {
  if (!words_.empty()) return Step::failed;
  if (!is_connected() || lent_ == kLentMax) return Step::nothing;
  if (!held_.is_lent) {
    Request request{.is_lent = true, .data = data, .bytes = bytes, .tag = tag};
    const Answer answer = plugin_.register_memory(connection_, data, bytes, &request.registration);
    if (answer != Answer::success) return failed(answer, "regMr");
    held_ = request;
  }
  const Step step = start(held_);
  if (step == Step::moved) held_ = {};
  return step;
}

Step Connection::look() {
  if (is_finished_) return Step::moved;
  if (!words_.empty()) return Step::failed;
  if (requests_.empty()) return Step::nothing;
  const Answer answer = plugin_.test(requests_.front().request, &is_finished_, &come_);
  if (answer != Answer::success) return failed(answer, format("test of an {}", calls_.start_name));
  return is_finished_ ? Step::moved : Step::nothing;
}

Step Connection::take(Request& request) {
  const Step step = look();
  if (step != Step::moved) return step;
  is_finished_ = false;
  request = requests_.front();
  requests_.pop_front();
  if (!request.is_lent) return step;
  --lent_;
  const Answer answer = release(request);
  return answer == Answer::success ? step : failed(answer, "deregMr");
}

Answer Connection::release(const Request& request) {
  const Answer answer = plugin_.release_memory(connection_, request.registration);
  if (answer != Answer::success) refusal_ = plugin_.words_of(answer, "deregMr");
  return answer;
}

void Connection::close_connection() {
  if (connection_ == nullptr) return;
  const bool has_lent = lent_ > 0 || held_.is_lent;
  if (held_.is_lent) requests_.push_back(held_);
  for (const Request& request : requests_) {
    if (request.is_lent) static_cast<void>(release(request));
  }
  places_.release(connection_);
  if (const Answer answer = (plugin_.*calls_.close)(connection_); answer != Answer::success) {
    places_.keep_for_ever();
    if (has_lent) refusal_ = plugin_.words_of(answer, calls_.close_name);
  }
  connection_ = nullptr;
  requests_.clear();
  held_ = {};
}

// ---- Sender

Sender::Sender(Plugin& plugin, int device, std::size_t places) : Connection(plugin, device, kSends, places) {}

void Sender::start(std::span<const std::byte> handle) {
  std::memcpy(handle_.bytes.data(), handle.data(), std::min(handle.size(), handle_.bytes.size()));
  is_started_ = true;
}

Step Sender::connect() {
  if (!is_started_) return Step::nothing;
  void* connection = nullptr;
  const Answer answer = plugin_.connect(device_, handle_, &connection);
  is_connecting_ = answer == Answer::success && connection == nullptr;
  if (answer != Answer::success) return failed(answer, "connect");
  return is_connecting_ ? Step::nothing : open(connection);
}

Step Sender::send(std::span<const std::byte> first, std::span<const std::byte> body) {
  if (!is_connected() || under_way() >= places_.count()) return Step::nothing;
  std::byte* const place = places_.place(next_place_);
  std::memcpy(place, first.data(), first.size());
  if (!body.empty()) std::memcpy(place + first.size(), body.data(), body.size());
  const Step step = Connection::start({.data = place, .bytes = first.size() + body.size()});
  if (step == Step::moved) ++next_place_;
  return step;
}

Step Sender::finish(Sent& sent) {
  Request request;
  const Step step = take(request);
  sent = {request.is_lent, request.tag};
  return step;
}

// The interface has no way to withdraw a connection that is being made: it is taken if it is there by now.
void Sender::close() {
  if (std::exchange(is_connecting_, false)) static_cast<void>(plugin_.connect(device_, handle_, &connection_));
  close_connection();
}

// ---- Receiver

Receiver::Receiver(Plugin& plugin, int device, std::size_t places) : Connection(plugin, device, kReceives, places) {}

Status Receiver::listen() {
  const Answer answer = plugin_.listen(device_, handle_, &listener_);
  if (answer != Answer::success)
    return {Code::system, format("{}: {}", plugin_.describe(), plugin_.words_of(answer, "listen"))};
  if (listener_ == nullptr) return {Code::system, format("{}: listen gives no listener", plugin_.describe())};
  return {};
}

Step Receiver::accept() {
  if (listener_ == nullptr) return Step::nothing;
  void* connection = nullptr;
  if (const Answer answer = plugin_.accept(listener_, &connection); answer != Answer::success)
    return failed(answer, "accept");
  if (connection == nullptr) return Step::nothing;
  connection_ = connection;
  const Answer closed = plugin_.close_listener(listener_);
  listener_ = nullptr;
  if (closed != Answer::success) return failed(closed, "closeListen");
  if (open(connection) == Step::failed) return Step::failed;
  return post();
}

Step Receiver::post() {
  Step step = Step::nothing;
  while (posted_ - given_ < places_.count()) {
    step = start({.data = places_.place(posted_), .bytes = kPlaceBytes});
    if (step != Step::moved) return step;
    ++posted_;
  }
  return step;
}

Step Receiver::receive(Arrival& arrival) {
  if (post() == Step::failed) return Step::failed;
  Request request;
  const Step step = take(request);
  if (step != Step::moved) return step;
  if (request.is_lent ? come() != request.bytes : come() > request.bytes) {
    return failed(format("test of an irecv: {} bytes came {} {}", come(),
                         request.is_lent ? "of a body of" : "into a place for", request.bytes));
  }
  arrival = {{request.data, come()}, request.is_lent, request.tag};
  return step;
}

void Receiver::close() {
  close_connection();
  if (listener_ != nullptr) static_cast<void>(plugin_.close_listener(listener_));
  listener_ = nullptr;
}

}  // namespace tutti::ncclnet
