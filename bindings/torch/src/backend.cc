#include "bindings/torch/src/backend.h"

#include <algorithm>
#include <cstring>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>

#include "bindings/torch/src/bundle.h"

namespace tutti::pytorch {

namespace {

// How long what is under way is waited for when a group is shut down.
constexpr Milliseconds kFarewell = std::chrono::seconds(5);

}  // namespace

Group::Options Backend::group_options(const Options& options) {
  const std::string& name =
      options.group_desc.empty() || options.group_desc == "undefined" ? options.group_name : options.group_desc;
  return {name.empty() ? "torch" : name, options.settings, options.attempt, options.timeout};
}

Backend::Backend(c10::intrusive_ptr<c10d::Store> store, int rank, int size, c10::intrusive_ptr<Options> options)
    : c10d::Backend(rank, size), store_(std::move(store)), options_(std::move(options)), handle_(new_handle()) {
  if (!starts_unconfigured(*options_)) group_ = Group::create(store_, rank, size, group_options(*options_));
  init();
}

Backend::~Backend() {
  if (group_) group_->close();
}

std::shared_ptr<Group> Backend::current() const {
  const std::lock_guard lock(mutex_);
  return group_;
}

std::shared_ptr<Group> Backend::group() const {
  auto found = current();
  TORCH_CHECK(found, "tutti: the process group has no members yet: it was made with enable_reconfigure, and ",
              "reconfigure() has to be called first");
  return found;
}

void Backend::setTimeout(Milliseconds timeout) {
  options_->timeout = timeout;
  const std::lock_guard lock(mutex_);
  if (group_) group_->set_timeout(timeout);
}

Launch Backend::prepare(c10d::OpType type, const char* title, Milliseconds timeout, bool is_async) const {
  Launch launch;
  launch.type = type;
  launch.title = title;
  launch.timeout = timeout == c10d::kUnsetTimeout || timeout == kNoTimeout ? group()->timeout() : timeout;
  launch.is_async = is_async;
  return launch;
}

c10::intrusive_ptr<Flight> Backend::take_off(Launch launch) {
  if (group()->has_flights()) {
    group()->look_after();
    wait_for_memory(launch);
  }
  auto flight = c10::make_intrusive<Flight>(group(), std::move(launch), sequence_.fetch_add(1));
  flight->start();
  return flight;
}

WorkPointer Backend::start(Launch launch) {
  WorkPointer work = take_off(std::move(launch));
  if (is_coalescing_) coalesced_.push_back(work);
  return work;
}

// torch's collectives of a group run in the order of their calls, so one may use what the one before writes. Tutti's
// run side by side.
void Backend::wait_for_memory(const Launch& launch) {
  if (c10d::isP2POp(launch.type)) return;
  for (const auto& flight : group()->flights()) {
    if (flight->is_point_to_point() || !flight->touches(launch)) continue;
    try {
      flight->wait();
    } catch (const c10::Error&) {  // whoever holds it hears of it
    }
  }
}

void Backend::check_lists(std::size_t lists, const char* what) const {
  TORCH_CHECK(lists == static_cast<std::size_t>(getSize()), "tutti: ", what, " takes one tensor for each of the ",
              getSize(), " ranks; it was given ", lists);
}

WorkPointer Backend::barrier(const c10d::BarrierOptions& options) {
  Launch launch = prepare(c10d::OpType::BARRIER, "tutti:barrier", options.timeout, options.asyncOp);
  launch.starts.push_back(tutti_barrier);
  return start(std::move(launch));
}

void Backend::monitoredBarrier(const c10d::BarrierOptions& options, bool /*wait_all_ranks*/) {
  barrier(options)->wait();  // whose error says who is missing
}

WorkPointer Backend::send(Tensors& tensors, int target, int tag) {
  TORCH_CHECK(tensors.size() == 1, "tutti: send takes one tensor; it was given ", tensors.size());
  TORCH_CHECK(tag >= 0, "tutti: tags are 0 or more; this one is ", tag);
  check_tensor(tensors[0]);
  Launch launch = prepare(c10d::OpType::SEND, "tutti:send", c10d::kUnsetTimeout);
  launch.inputs = tensors;
  const at::Tensor memory = plain(tensors[0]);
  launch.memory.push_back(memory);
  const Header header{memory.nbytes(), tag};
  launch.extra.resize(sizeof header);
  std::memcpy(launch.extra.data(), &header, sizeof header);
  launch.starts.push_back(
      [from = launch.extra.data(), target](tutti_comm* comm, const tutti_call* call, tutti_request** request) {
        return tutti_send(from, sizeof(Header), TUTTI_UINT8, target, comm, call, request);
      });
  if (header.bytes > 0) {
    launch.starts.push_back([from = memory.const_data_ptr(), bytes = header.bytes, target](
                                tutti_comm* comm, const tutti_call* call, tutti_request** request) {
      return tutti_send(from, bytes, TUTTI_UINT8, target, comm, call, request);
    });
  }
  return start(std::move(launch));
}

WorkPointer Backend::receive(Tensors& tensors, int source, int tag, c10d::OpType type, const char* title) {
  TORCH_CHECK(tensors.size() == 1, "tutti: recv takes one tensor; it was given ", tensors.size());
  TORCH_CHECK(tag >= 0, "tutti: tags are 0 or more; this one is ", tag);
  TORCH_CHECK(source < getSize(), "tutti: there is no rank ", source, " to receive from; there are ", getSize());
  check_tensor(tensors[0]);
  Launch launch = prepare(type, title, c10d::kUnsetTimeout);
  launch.outputs = tensors;
  at::Tensor memory = tensors[0];
  if (!is_plain(memory)) {
    memory = at::empty(memory.sizes(), memory.options().memory_format(at::MemoryFormat::Contiguous));
    launch.endings.push_back([memory, target = tensors[0]] { write_back(memory, target); });
  }
  launch.memory.push_back(memory);
  if (group()->has_flights()) group()->look_after();
  const auto flight = c10::make_intrusive<Flight>(group(), std::move(launch), sequence_.fetch_add(1));
  flight->receive({source, tag, static_cast<std::byte*>(memory.data_ptr()), memory.nbytes()});
  if (is_coalescing_) coalesced_.push_back(flight);
  return flight;
}

WorkPointer Backend::recv(Tensors& tensors, int source, int tag) {
  return receive(tensors, source, tag, c10d::OpType::RECV, "tutti:recv");
}

WorkPointer Backend::recvAnysource(Tensors& tensors, int tag) {
  return receive(tensors, -1, tag, c10d::OpType::RECVANYSOURCE, "tutti:recvAnySource");
}

void Backend::startCoalescing() {
  TORCH_CHECK(!is_coalescing_, "tutti: startCoalescing was called twice");
  is_coalescing_ = true;
}

WorkPointer Backend::endCoalescing() {
  TORCH_CHECK(is_coalescing_, "tutti: endCoalescing without startCoalescing");
  is_coalescing_ = false;
  return c10::make_intrusive<Bundle>(getRank(), std::exchange(coalesced_, {}));
}

c10::intrusive_ptr<c10d::Backend> Backend::split(const c10::intrusive_ptr<c10d::Store>& store,
                                                 const std::vector<int>& ranks,
                                                 const c10::intrusive_ptr<c10d::Backend::Options>& options) {
  const auto place = std::find(ranks.begin(), ranks.end(), getRank());
  if (place == ranks.end()) return nullptr;
  auto its = c10::make_intrusive<Options>(*options_);
  if (options) {
    its->timeout = options->timeout;
    its->group_name = options->group_name;
    its->group_desc = options->group_desc;
  }
  return c10::make_intrusive<Backend>(store, static_cast<int>(place - ranks.begin()), static_cast<int>(ranks.size()),
                                      its);
}

c10::intrusive_ptr<c10d::Backend> Backend::shrink(const std::vector<std::int64_t>& excluded, int /*flags*/,
                                                  const c10::intrusive_ptr<c10d::Backend::Options>& options) {
  std::vector<int> left;
  std::string name = "shrunk-to";
  for (int rank = 0; rank < getSize(); ++rank) {
    if (std::find(excluded.begin(), excluded.end(), rank) != excluded.end()) continue;
    left.push_back(rank);
    name += "-" + std::to_string(rank);
  }
  auto smaller = split(c10::make_intrusive<c10d::PrefixStore>(name, store_), left, options);
  TORCH_CHECK(smaller, "tutti: rank ", getRank(), " is to be excluded, and must not call shrink");
  return smaller;
}

at::Tensor Backend::allocateTensor(long size, at::TensorOptions options) {
  void* memory = nullptr;
  const std::size_t bytes = static_cast<std::size_t>(size) * options.dtype().itemsize();
  const Failure failure = Failure::of(tutti_mem_alloc(&memory, bytes));
  if (!failure.is_ok()) raise(failure, "tutti: allocateTensor", group()->options().name);
  return at::from_blob(
      memory, {size}, [](void* used) { tutti_mem_free(used); }, options.device(at::kCPU));
}

void Backend::registerOnCompletionHook(std::function<void(std::shared_ptr<c10d::WorkInfo>)>&& hook) {
  TORCH_CHECK(!group()->on_completion, "tutti: there is an onCompletion hook already");
  group()->on_completion = std::move(hook);
}

void Backend::waitForPendingWorks() {
  for (const auto& flight : group()->flights()) flight->wait();
}

Failure Backend::failure() {
  if (!current()) return {};
  std::string text(4096, '\0');
  Failure failure = group()->use([&](tutti_comm* comm) { return tutti_comm_error(comm, text.data(), text.size()); });
  if (!failure.is_ok() && text[0] != '\0') failure.text = text.c_str();
  return failure;
}

c10d::ErrorType Backend::getError() {
  switch (failure().status) {
    case TUTTI_OK:
      return c10d::ErrorType::SUCCESS;
    case TUTTI_TIMEOUT:
      return c10d::ErrorType::TIMEOUT;
    case TUTTI_PEER_LOST:
      return c10d::ErrorType::REMOTE_ERROR;
    default:
      return c10d::ErrorType::COMM_ERROR;
  }
}

void Backend::abort_because(const std::string& reason) {
  const auto ended = current();
  if (ended) ended->abort(reason.c_str());
}

void Backend::shutdown() {
  const auto ended = current();
  if (ended) ended->shut_down(kFarewell);
}

}  // namespace tutti::pytorch
