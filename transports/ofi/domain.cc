#include "transports/ofi/domain.h"

#include <rdma/fi_cm.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "src/base/format.h"
#include "transports/fabric/idle.h"
#include "transports/ofi/listener.h"
#include "transports/ofi/regions.h"
#include "transports/ofi/wire.h"

namespace tutti::ofi {

namespace {

// Places for what comes, and how long a message is at most: a piece of a body, and what stands before it.
struct Sizes {
  std::size_t places;
  std::size_t message_bytes;
};
// Over tcp;ofi_rxm, which has a rendezvous for what is longer than 16 KiB, pieces of 16 and 64 KiB move half as much,
// and of 256 KiB no more (benchmark_fabrics).
constexpr Sizes kOfOneEndpoint = {64, (128 << 10) + fabric::kPreambleBytes};
// Over tcp and net, pieces of 128 KiB move two thirds as much, and 64 places, which no cache holds, half as much.
// Whoever sends more than there are places for waits, as the connection has its own flow control.
constexpr Sizes kOfConnections = {8, (512 << 10) + fabric::kPreambleBytes};

std::string_view provider_of(const fi_info& info) { return info.fabric_attr->prov_name; }

bool has_connections(const fi_info& info) { return info.ep_attr->type == FI_EP_MSG; }
const Sizes& sizes_of(const fi_info& info) { return has_connections(info) ? kOfConnections : kOfOneEndpoint; }

// Over ofi_rxm nothing tells of such a message that went with a connection while it was being made (seen with
// tcp;ofi_rxm, once in ten jobs beside a build).
bool loses_what_is_injected(const fi_info& info) {
  return provider_of(info).find("ofi_rxm") != std::string_view::npos;
}

// What net has for a descriptor stays readable once it was (1.17, the last one that has net).
bool is_never_calm(const fi_info& info) { return provider_of(info) == "net"; }

// libfabric's tcp takes errno for the cause when a connection ends before it has said anything, and waits for it to
// go on where the last call of anybody's had failed with EAGAIN. That would be forever, and nobody could sleep
// meanwhile.
void forget_errno() { errno = 0; }

bool has_regions(const fi_info& info) { return provider_of(info) == "shm"; }

// Of a connection: what is not sent in place.
constexpr std::size_t kCopiedBytesMax = fabric::kPreambleBytes + fabric::kHeadBytes + kSmallBytesMax;
constexpr std::size_t kCompletions = 32;
constexpr std::uint32_t kEventsEvery = 64;

using Idle = fabric::Idle<Domain>;

}  // namespace

Domain::Domain(const Api& api, Info info)
    : api_(api),
      pid_(getpid()),
      info_(std::move(info)),
      places_max_(sizes_of(*info_).places),
      message_bytes_max_(std::min(sizes_of(*info_).message_bytes, info_->ep_attr->max_msg_size)),
      copied_bytes_max_(has_connections(*info_) ? std::min(kCopiedBytesMax, message_bytes_max_) : message_bytes_max_),
      injected_bytes_max_(loses_what_is_injected(*info_) ? 0 : info_->tx_attr->inject_size) {}

// Of the same provider and device, and used in the same way.
bool Domain::is(const fi_info& info) const {
  return provider_of(info) == provider_of(*info_) &&
         std::string_view(info.domain_attr->name) == info_->domain_attr->name &&
         info.ep_attr->type == info_->ep_attr->type;
}

Result<std::unique_ptr<Domain>> Domain::take(const Api& api, Info info) {
  auto idle = Idle::all().take([&](const Domain& each) { return each.is(*info); });
  if (idle) return idle;
  std::unique_ptr<Domain> domain(new Domain(api, std::move(info)));
  TUTTI_RETURN_IF_ERROR(domain->start());
  return domain;
}

void Domain::give(std::unique_ptr<Domain> domain) {
  domain->set_wire(nullptr);
  Idle::all().give(std::move(domain));
}

Status Domain::start() {
  TUTTI_RETURN_IF_ERROR(check(api_.fabric(info_->fabric_attr, &fabric_, nullptr), "open its fabric"));
  TUTTI_RETURN_IF_ERROR(check(fi_domain(fabric_, info_.get(), &domain_, nullptr), "open a domain"));
  fi_cq_attr queue{};
  queue.format = FI_CQ_FORMAT_MSG;
  queue.wait_obj = FI_WAIT_FD;
  if (fi_cq_open(domain_, &queue, &queue_, nullptr) == 0) {
    if (fi_control(&queue_->fid, FI_GETWAIT, &queue_descriptor_) != 0) queue_descriptor_ = -1;
  } else {
    queue.wait_obj = FI_WAIT_NONE;
    TUTTI_RETURN_IF_ERROR(check(fi_cq_open(domain_, &queue, &queue_, nullptr), "open a completion queue"));
  }
  TUTTI_RETURN_IF_ERROR(has_connections(*info_) ? start_connections() : start_endpoint());
  make_places();
  if (places_ == 0) return check(-FI_EAGAIN, "take places for messages");
  limit_reads_of_accepted(address());
  return {};
}

Status Domain::start_endpoint() {
  descriptor_ = queue_descriptor_;
  fi_av_attr addresses{};
  addresses.type = FI_AV_UNSPEC;
  TUTTI_RETURN_IF_ERROR(check(fi_av_open(domain_, &addresses, &addresses_, nullptr), "make an address vector"));
  TUTTI_RETURN_IF_ERROR(check(fi_endpoint(domain_, info_.get(), &receiver_, nullptr), "make an endpoint"));
  TUTTI_RETURN_IF_ERROR(check(fi_ep_bind(receiver_, &addresses_->fid, 0), "bind an address vector"));
  TUTTI_RETURN_IF_ERROR(check(fi_ep_bind(receiver_, &queue_->fid, FI_TRANSMIT | FI_RECV), "bind a completion queue"));
  if (has_regions(*info_)) TUTTI_RETURN_IF_ERROR(name_region());
  TUTTI_RETURN_IF_ERROR(check(fi_enable(receiver_), "enable an endpoint"));
  if (!region_.empty()) TUTTI_RETURN_IF_ERROR(hold_region(region_));
  auto address = address_of(api_, *info_, receiver_->fid);
  if (!address) return address.status();
  address_ = *std::move(address);
  return {};
}

Status Domain::name_region() {
  remove_dead_regions();
  auto name = new_region_name();
  if (!name) return name.status();
  region_ = *std::move(name);
  return check(fi_setname(&receiver_->fid, region_.data(), region_.size() + 1), "name an endpoint");
}

Status Domain::start_connections() {
  fi_rx_attr places = *info_->rx_attr;
  TUTTI_RETURN_IF_ERROR(check(fi_srx_context(domain_, &places, &receiver_, nullptr), "make a receive context"));
  connections_ = std::make_unique<Connections>(api_, *info_, Connections::Parts{fabric_, domain_, queue_, receiver_});
  TUTTI_RETURN_IF_ERROR(connections_->start());
  if (queue_descriptor_ < 0 || connections_->descriptor() < 0 || is_never_calm(*info_)) return {};
  descriptor_ = epoll_create1(EPOLL_CLOEXEC);
  if (descriptor_ < 0) return Status::from_errno(errno, "epoll_create1");
  for (const int each : {queue_descriptor_, connections_->descriptor()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = each}};
    if (epoll_ctl(descriptor_, EPOLL_CTL_ADD, each, &event) != 0)
      return Status::from_errno(errno, "waiting for a descriptor of libfabric's");
  }
  return {};
}

void Domain::make_places() {
  while (places_ < places_max_) {
    Op* const op = take(free_places_, message_bytes_max_);
    op->is_place = true;
    if (fi_recv(receiver_, op->memory.get(), message_bytes_max_, nullptr, FI_ADDR_UNSPEC, &op->context) != 0)
      return give_op(op);
    ++places_;
  }
}

Result<Way> Domain::find(const std::byte* address) {
  Way way{receiver_, FI_ADDR_UNSPEC};
  const int inserted = fi_av_insert(addresses_, address, 1, &way.peer, 0, nullptr);
  if (inserted == 1) return way;
  return check(inserted < 0 ? inserted : -FI_EINVAL, "use the address that the peer gave");
}

Op* Domain::take(std::vector<Op*>& from, std::size_t bytes) {
  if (from.empty()) {
    ops_.push_back(std::make_unique<Op>());
    ops_.back()->memory.reset(new std::byte[bytes]);
    from.push_back(ops_.back().get());
  }
  Op* const op = from.back();
  from.pop_back();
  return op;
}

Op* Domain::take_op() { return take(free_, copied_bytes_max_); }

void Domain::give_op(Op* op) {
  op->port = nullptr;
  op->chunk_of = 0;
  (op->is_place ? free_places_ : free_).push_back(op);
}

int Domain::send(Op* op, const Way& way, std::size_t copied, const std::byte* body, std::size_t bytes) {
  std::array<iovec, 2> parts = {{{op->memory.get(), copied}, {const_cast<std::byte*>(body), bytes}}};
  const ssize_t outcome = bytes == 0
                              ? fi_send(way.endpoint, op->memory.get(), copied, nullptr, way.peer, &op->context)
                              : fi_sendv(way.endpoint, parts.data(), nullptr, parts.size(), way.peer, &op->context);
  if (outcome != 0) give_op(op);
  return static_cast<int>(-outcome);
}

int Domain::inject(Op* op, const Way& way, std::size_t bytes) {
  const ssize_t outcome = fi_inject(way.endpoint, op->memory.get(), bytes, way.peer);
  give_op(op);
  return static_cast<int>(-outcome);
}

void Domain::forget(const OfiPort& port) {
  for (const auto& op : ops_) {
    if (op->port == &port) op->port = nullptr;
  }
}

void Domain::finished(Op* op, std::size_t bytes) {
  if (op->is_place) {
    --places_;
    if (wire_ != nullptr) wire_->on_message({op->memory.get(), bytes});
  } else if (op->port != nullptr) {
    op->port->on_done(op->chunk_of);
  }
  give_op(op);
}

bool Domain::read_error() {
  fi_cq_err_entry error{};
  if (fi_cq_readerr(queue_, &error, 0) != 1) return false;
  auto* const op = static_cast<Op*>(error.op_context);
  if (op == nullptr) return true;
  if (op->is_place) --places_;
  // Of what is withdrawn when a connection ends the connection's event tells the cause. fi_cq_strerror knows more,
  // and reads what the queue of a lost connection no longer has.
  const bool is_withdrawn = connections_ != nullptr && error.err == FI_ECANCELED;
  if (op->port != nullptr && !is_withdrawn)
    op->port->fail(format("{}, the provider's own number is {}", words_of(api_, error.err), error.prov_errno));
  give_op(op);
  return true;
}

// Events come after what has come before them.
std::size_t Domain::progress() {
  std::size_t moved = 0;
  const auto finish = [&](const fi_cq_msg_entry& entry) {
    finished(static_cast<Op*>(entry.op_context), entry.len);
    ++moved;
  };
  if (news_) finish(*std::exchange(news_, std::nullopt));
  std::array<fi_cq_msg_entry, kCompletions> entries;
  forget_errno();
  const ssize_t count = fi_cq_read(queue_, entries.data(), entries.size());
  if (count == -FI_EAVAIL && read_error()) ++moved;
  for (ssize_t i = 0; i < count; ++i) finish(entries[static_cast<std::size_t>(i)]);
  make_places();
  if (until_events_ > 0) --until_events_;
  const bool is_read_out = count != -FI_EAVAIL && count != static_cast<ssize_t>(entries.size());
  if (!connections_ || !is_read_out || (until_events_ > 0 && !connections_->is_expecting())) return moved;
  until_events_ = kEventsEvery;
  forget_errno();
  return moved + connections_->progress(wire_);
}

// Of a queue without a descriptor.
bool Domain::has_news() {
  if (news_) return true;
  fi_cq_msg_entry entry{};
  const ssize_t count = fi_cq_read(queue_, &entry, 1);
  if (count == 1) news_ = entry;
  return count == 1 || count == -FI_EAVAIL;
}

bool Domain::prepare_wait() {
  until_events_ = 0;
  if (descriptor_ < 0) return !has_news();
  std::array<fid*, 2> waited = {&queue_->fid, connections_ ? &connections_->events()->fid : nullptr};
  return fi_trywait(fabric_, waited.data(), connections_ ? 2 : 1) == FI_SUCCESS;
}

}  // namespace tutti::ofi
