#include "transports/ofi/endpoint.h"

#include <rdma/fi_cm.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>
#include <utility>

#include "src/base/format.h"
#include "transports/ofi/wire.h"

namespace tutti::ofi {

namespace {

constexpr std::size_t kPlaces = 64;
// A piece of a body, and what stands before it. Over tcp;ofi_rxm, which has a rendezvous for what is longer than 16
// KiB, pieces of 16 and 64 KiB move half as much, and of 256 KiB no more (benchmark_fabrics).
constexpr std::size_t kMessageBytesMax = (128 << 10) + fabric::kPreambleBytes;
constexpr std::size_t kCompletions = 32;

// Endpoints that nobody uses.
struct Idle {
  std::mutex mutex;
  std::vector<std::unique_ptr<Endpoint>> endpoints;
};
Idle& idle() {
  static Idle* const all = new Idle;  // threads of a provider's may be at work on them while the program ends
  return *all;
}

}  // namespace

Endpoint::Endpoint(const Api& api, std::string provider, Info info)
    : api_(api),
      provider_(std::move(provider)),
      pid_(getpid()),
      info_(std::move(info)),
      message_bytes_max_(std::min(kMessageBytesMax, info_->ep_attr->max_msg_size)) {}

Result<std::unique_ptr<Endpoint>> Endpoint::take(const Api& api, const std::string& provider) {
  {
    const std::lock_guard lock(idle().mutex);
    auto& endpoints = idle().endpoints;
    const auto found = std::find_if(endpoints.begin(), endpoints.end(), [&](const auto& each) {
      return each->provider_ == provider && each->pid_ == getpid();  // not a parent's
    });
    if (found != endpoints.end()) {
      auto endpoint = std::move(*found);
      endpoints.erase(found);
      return endpoint;
    }
  }
  auto info = choose(api, provider);
  if (!info) return info.status();
  std::unique_ptr<Endpoint> endpoint(new Endpoint(api, provider, *std::move(info)));
  TUTTI_RETURN_IF_ERROR(endpoint->start());
  return endpoint;
}

void Endpoint::give(std::unique_ptr<Endpoint> endpoint) {
  endpoint->set_wire(nullptr);
  const std::lock_guard lock(idle().mutex);
  idle().endpoints.push_back(std::move(endpoint));
}

Status Endpoint::check(int error, std::string_view what) const {
  if (error == 0) return {};
  return {Code::unsupported, format("libfabric {} ({}) cannot {}: {}", api_.version, info_->fabric_attr->prov_name,
                                    what, words_of(api_, -error))};
}

Status Endpoint::start() {
  TUTTI_RETURN_IF_ERROR(check(api_.fabric(info_->fabric_attr, &fabric_, nullptr), "open its fabric"));
  TUTTI_RETURN_IF_ERROR(check(fi_domain(fabric_, info_.get(), &domain_, nullptr), "open a domain"));
  fi_cq_attr queue{};
  queue.format = FI_CQ_FORMAT_MSG;
  queue.wait_obj = FI_WAIT_FD;
  if (fi_cq_open(domain_, &queue, &queue_, nullptr) == 0) {
    if (fi_control(&queue_->fid, FI_GETWAIT, &descriptor_) != 0) descriptor_ = -1;
  } else {
    queue.wait_obj = FI_WAIT_NONE;
    TUTTI_RETURN_IF_ERROR(check(fi_cq_open(domain_, &queue, &queue_, nullptr), "open a completion queue"));
  }
  fi_av_attr addresses{};
  addresses.type = FI_AV_UNSPEC;
  TUTTI_RETURN_IF_ERROR(check(fi_av_open(domain_, &addresses, &addresses_, nullptr), "make an address vector"));
  TUTTI_RETURN_IF_ERROR(check(fi_endpoint(domain_, info_.get(), &endpoint_, nullptr), "make an endpoint"));
  TUTTI_RETURN_IF_ERROR(check(fi_ep_bind(endpoint_, &addresses_->fid, 0), "bind an address vector"));
  TUTTI_RETURN_IF_ERROR(check(fi_ep_bind(endpoint_, &queue_->fid, FI_TRANSMIT | FI_RECV), "bind a completion queue"));
  TUTTI_RETURN_IF_ERROR(check(fi_enable(endpoint_), "enable an endpoint"));
  std::array<std::byte, 512> name{};
  std::size_t bytes = name.size();
  TUTTI_RETURN_IF_ERROR(check(fi_getname(&endpoint_->fid, name.data(), &bytes), "tell an endpoint's address"));
  address_.assign(name.begin(), name.begin() + static_cast<std::ptrdiff_t>(std::min(bytes, name.size())));
  make_places();
  if (places_ == 0) return check(-FI_EAGAIN, "take places for messages");
  return {};
}

void Endpoint::make_places() {
  while (places_ < kPlaces) {
    Op* const op = take_op();
    op->is_place = true;
    if (fi_recv(endpoint_, op->memory.get(), message_bytes_max_, nullptr, FI_ADDR_UNSPEC, &op->context) != 0)
      return give_op(op);
    ++places_;
  }
}

Result<fi_addr_t> Endpoint::add_peer(const std::byte* address) {
  fi_addr_t peer = FI_ADDR_UNSPEC;
  const int inserted = fi_av_insert(addresses_, address, 1, &peer, 0, nullptr);
  if (inserted == 1) return peer;
  return check(inserted < 0 ? inserted : -FI_EINVAL, "use the address that the peer gave");
}

Op* Endpoint::take_op() {
  if (free_.empty()) {
    ops_.push_back(std::make_unique<Op>());
    ops_.back()->memory.reset(new std::byte[message_bytes_max_]);
    free_.push_back(ops_.back().get());
  }
  Op* const op = free_.back();
  free_.pop_back();
  return op;
}

void Endpoint::give_op(Op* op) {
  op->port = nullptr;
  op->chunk_of = 0;
  op->is_place = false;
  free_.push_back(op);
}

int Endpoint::send(Op* op, std::size_t bytes, fi_addr_t peer) {
  const ssize_t outcome = fi_send(endpoint_, op->memory.get(), bytes, nullptr, peer, &op->context);
  if (outcome != 0) give_op(op);
  return static_cast<int>(-outcome);
}

void Endpoint::forget(const OfiPort& port) {
  for (const auto& op : ops_) {
    if (op->port == &port) op->port = nullptr;
  }
}

void Endpoint::finished(Op* op, std::size_t bytes) {
  if (op->is_place) {
    --places_;
    if (wire_ != nullptr) wire_->on_message({op->memory.get(), bytes});
  } else if (op->port != nullptr) {
    op->port->on_done(op->chunk_of);
  }
  give_op(op);
}

bool Endpoint::read_error() {
  fi_cq_err_entry error{};
  if (fi_cq_readerr(queue_, &error, 0) != 1) return false;
  auto* const op = static_cast<Op*>(error.op_context);
  if (op == nullptr) return true;
  if (op->is_place) --places_;
  // fi_cq_strerror knows more, and reads what the queue of a lost connection no longer has.
  if (op->port != nullptr)
    op->port->on_error(format("{}, the provider's own number is {}", words_of(api_, error.err), error.prov_errno));
  give_op(op);
  return true;
}

std::size_t Endpoint::progress() {
  std::array<fi_cq_msg_entry, kCompletions> entries;
  const ssize_t count = fi_cq_read(queue_, entries.data(), entries.size());
  if (count == -FI_EAVAIL) return read_error() ? 1 : 0;
  for (ssize_t i = 0; i < count; ++i) {
    const fi_cq_msg_entry& entry = entries[static_cast<std::size_t>(i)];
    finished(static_cast<Op*>(entry.op_context), entry.len);
  }
  make_places();
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}

bool Endpoint::prepare_wait() {
  if (descriptor_ < 0) return true;
  fid* waited = &queue_->fid;
  return fi_trywait(fabric_, &waited, 1) == FI_SUCCESS;
}

}  // namespace tutti::ofi
