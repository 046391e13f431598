#include "transports/ucx/worker.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "src/base/format.h"
#include "transports/fabric/idle.h"
#include "transports/ucx/wire.h"

namespace tutti::ucx {

namespace {

using Idle = fabric::Idle<Worker>;

constexpr unsigned kMessageId = 1;
// Over TCP a message that fits into one segment is read at once. With segments of 256 KiB instead of UCX's 64, 1 MiB
// goes half as fast again (benchmark_fabrics). What is left of a segment is UCX's.
constexpr const char* kSegmentBytes = "256k";
constexpr std::size_t kPieceBytesOfSegment = 252 << 10;
// From here on UCX takes the setting of a transport by the name that its variable has.
constexpr unsigned kMinorOfFullNames = 17;
// How long an endpoint that nobody wants is kept that may still be connecting: as long as it takes where both live.
constexpr Nanoseconds kLingerLimit = std::chrono::milliseconds(500);

// Whether UCX uses TCP for certain, in all processes that are started alike: a setting of a transport that is not
// used makes it complain.
bool surely_has_tcp(std::string transports) {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (transports.empty()) transports = variable("UCX_TLS");
  if (transports.starts_with('^')) return false;
  if (!transports.empty() && transports != "all") return ("," + transports + ",").find(",tcp,") != std::string::npos;
  const std::string devices = variable("UCX_NET_DEVICES");
  return devices.empty() || devices == "all";
}

}  // namespace

Worker::Worker(const Api& api, std::string transports)
    : api_(api), transports_(std::move(transports)), pid_(getpid()) {}

Result<std::unique_ptr<Worker>> Worker::take(const Api& api, const std::string& transports) {
  auto idle = Idle::all().take([&](const Worker& each) { return each.transports_ == transports; });
  if (idle) return idle;
  std::unique_ptr<Worker> worker(new Worker(api, transports));
  TUTTI_RETURN_IF_ERROR(worker->start());
  return worker;
}

void Worker::give(std::unique_ptr<Worker> worker) {
  worker->set_wire(nullptr);
  Idle::all().give(std::move(worker));
}

Status Worker::check(ucs_status_t status, std::string_view what) const {
  if (status == UCS_OK) return {};
  return {Code::unsupported, format("UCX {} cannot {}: {}", api_.version, what, words_of(api_, status))};
}

ucs_status_t Worker::configure(ucp_config_t* config) {
  if (!transports_.empty()) {
    if (const auto status = api_.config_modify(config, "TLS", transports_.c_str()); status != UCS_OK) return status;
  }
  if (const auto status = api_.config_modify(config, "RNDV_THRESH", "inf"); status != UCS_OK) return status;
  // Later versions would copy a piece, 8 KiB at a time (1.22: a fifth of the rate).
  if (const auto status = api_.config_modify(config, "ZCOPY_THRESH", "16k"); status != UCS_OK) return status;
  if (!surely_has_tcp(transports_)) return UCS_OK;
  piece_bytes_ = kPieceBytesOfSegment;
  return api_.config_modify(config, api_.minor < kMinorOfFullNames ? "RX_SEG_SIZE" : "TCP_RX_SEG_SIZE",
                            kSegmentBytes);
}

Status Worker::start() {
  ucp_config_t* config = nullptr;
  TUTTI_RETURN_IF_ERROR(check(api_.config_read(nullptr, nullptr, &config), "read its variables (UCX_...)"));
  ucs_status_t status = configure(config);
  ucp_params_t parameters{};
  parameters.field_mask = UCP_PARAM_FIELD_FEATURES;
  parameters.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  if (status == UCS_OK) status = api_.init_version(UCP_API_MAJOR, UCP_API_MINOR, &parameters, config, &context_);
  api_.config_release(config);
  TUTTI_RETURN_IF_ERROR(check(status, transports_.empty() ? "start" : format("start with UCX_TLS={}", transports_)));
  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  TUTTI_RETURN_IF_ERROR(check(api_.worker_create(context_, &worker, &worker_), "make a worker"));
  TUTTI_RETURN_IF_ERROR(check(api_.worker_get_efd(worker_, &descriptor_), "be waited for (UCX_TLS)"));
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                       UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessageId;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = &Worker::on_message;
  handler.arg = this;
  TUTTI_RETURN_IF_ERROR(check(api_.worker_set_am_recv_handler(worker_, &handler), "take messages"));
  ucp_address_t* address = nullptr;
  std::size_t bytes = 0;
  TUTTI_RETURN_IF_ERROR(check(api_.worker_get_address(worker_, &address, &bytes), "tell its address"));
  const auto* const first = reinterpret_cast<const std::byte*>(address);
  address_.assign(first, first + bytes);
  api_.worker_release_address(worker_, address);
  if (bytes + sizeof(std::uint64_t) > fabric::kPortAddressBytesMax) {
    return {Code::unsupported, format("{} has an address of {} bytes, expected at most {}. Leave devices out by "
                                      "UCX_NET_DEVICES",
                                      format("UCX {}", api_.version), bytes, fabric::kPortAddressBytesMax)};
  }
  return {};
}

Result<Endpoint*> Worker::connect(UcxPort& port, const std::byte* address) {
  auto endpoint = std::make_unique<Endpoint>();
  endpoint->port = &port;
  ucp_ep_params_t parameters{};
  parameters.field_mask =
      UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  parameters.address = reinterpret_cast<const ucp_address_t*>(address);
  parameters.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  parameters.err_handler.arg = endpoint.get();
  parameters.err_handler.cb = [](void* argument, ucp_ep_h, ucs_status_t error) {
    auto& its = *static_cast<Endpoint*>(argument);
    its.has_failed = true;
    if (its.port != nullptr) its.port->on_error(error);
  };
  const ucs_status_t status = api_.ep_create(worker_, &parameters, &endpoint->handle);
  if (status != UCS_OK) {
    return Status(Code::unsupported, format("{}. Check UCX_TLS and UCX_NET_DEVICES on both",
                                            check(status, "find a way to the peer").text()));
  }
  endpoints_.push_back(std::move(endpoint));
  return endpoints_.back().get();
}

Op* Worker::take_op(Endpoint& endpoint) {
  if (free_.empty()) {
    ops_.push_back(std::make_unique<Op>());
    ops_.back()->worker = this;
    free_.push_back(ops_.back().get());
  }
  Op* const op = free_.back();
  free_.pop_back();
  op->endpoint = &endpoint;
  return op;
}

void Worker::start(Op* op, std::size_t first_bytes, const std::byte* body, std::size_t bytes, To to) {
  ucp_request_param_t parameters{};
  parameters.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  parameters.flags = UCP_AM_SEND_FLAG_EAGER;
  if (to == To::own) parameters.flags |= UCP_AM_SEND_FLAG_REPLY;
  parameters.user_data = op;
  parameters.cb.send = [](void* request, ucs_status_t status, void* data) {
    auto* const its = static_cast<Op*>(data);
    its->worker->api_.request_free(request);
    its->worker->finished(its, status);
  };
  ++op->endpoint->under_way;
  const ucs_status_ptr_t request =
      api_.am_send_nbx(op->endpoint->handle, kMessageId, op->first.data(), first_bytes, body, bytes, &parameters);
  // What has ended already has no callback.
  if (request == nullptr || UCS_PTR_IS_ERR(request)) finished(op, UCS_PTR_STATUS(request));
}

void Worker::finished(Op* op, ucs_status_t status) {
  Endpoint& endpoint = *op->endpoint;
  --endpoint.under_way;
  const std::uint64_t chunk_of = std::exchange(op->chunk_of, 0);
  free_.push_back(op);
  if (endpoint.port == nullptr) return;
  if (status != UCS_OK) return endpoint.port->on_error(status);
  endpoint.port->said(chunk_of);
}

void Worker::close(Endpoint& endpoint, bool is_connected) {
  has_leaving_ = true;
  if (is_connected || endpoint.has_failed) return force(endpoint);
  endpoint.state = Endpoint::State::lingering;
  endpoint.linger_until = monotonic_now() + kLingerLimit;
}

void Worker::force(Endpoint& endpoint) {
  endpoint.state = Endpoint::State::closing;
  ucp_request_param_t parameters{};
  parameters.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  parameters.flags = UCP_EP_CLOSE_FLAG_FORCE;
  parameters.user_data = &endpoint;
  // The request is given back by tend_endpoints(), which knows the wire.
  parameters.cb.send = [](void* request, ucs_status_t, void* argument) {
    auto& its = *static_cast<Endpoint*>(argument);
    its.close_request = request;
    its.state = Endpoint::State::closed;
  };
  const ucs_status_ptr_t request = api_.ep_close_nbx(endpoint.handle, &parameters);
  if (request == nullptr || UCS_PTR_IS_ERR(request)) endpoint.state = Endpoint::State::closed;
}

void Worker::tend_endpoints() {
  has_leaving_ = false;
  const Instant now = monotonic_now();
  for (const auto& endpoint : endpoints_) {
    const bool may_close = now >= endpoint->linger_until || endpoint->has_failed;
    if (endpoint->state == Endpoint::State::lingering && may_close) force(*endpoint);
    if (endpoint->close_request != nullptr) api_.request_free(std::exchange(endpoint->close_request, nullptr));
    has_leaving_ |= endpoint->state != Endpoint::State::open;
  }
  std::erase_if(endpoints_, [](const auto& each) {
    return each->state == Endpoint::State::closed && each->under_way == 0 && each->port == nullptr;
  });
}

ucs_status_t Worker::on_message(void* self, const void* first, std::size_t first_bytes, void* data, std::size_t bytes,
                                const ucp_am_recv_param_t* parameters) {
  UcxWire* const wire = static_cast<Worker*>(self)->wire_;
  const std::span begin(static_cast<const std::byte*>(first), first_bytes);
  const bool is_eager = (parameters->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  if (wire != nullptr && is_eager) wire->on_message(begin, {static_cast<const std::byte*>(data), bytes});
  return UCS_OK;
}

// Once: what came is answered before anything else is asked for, which would cost a system call in between.
std::size_t Worker::progress() {
  const std::size_t moved = api_.worker_progress(worker_);
  if (has_leaving_) tend_endpoints();
  return moved;
}

}  // namespace tutti::ucx
