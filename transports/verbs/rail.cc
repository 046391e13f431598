#include "transports/verbs/rail.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {

constexpr std::size_t kCompletionsAtFirst = 1024;

// The domain comes before the registrar that uses it.
ibv_pd* allocate_domain(const Port& port) { return port.device->library.alloc_pd(port.device->context); }

void make_nonblocking(int descriptor) { fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK); }

}  // namespace

Rail::Rail(Port port, const VerbsOptions& options)
    : port_(std::move(port)),
      unit_bytes_(options.ring_bytes / kRingUnits),
      slot_bytes_(unit_bytes_ * kFrameUnitsMax),
      domain_(allocate_domain(port_)),
      registrar_(library(), domain_, options.regions, options.find_dma_buf, options.pinned_bytes_max, port_.name()) {}

Result<std::unique_ptr<Rail>> Rail::open(Port port, const VerbsOptions& options) {
  std::unique_ptr<Rail> rail(new Rail(std::move(port), options));
  TUTTI_RETURN_IF_ERROR(rail->prepare());
  return rail;
}

Status Rail::prepare() {
  const auto failed = [this](const char* what) {
    return Status::from_errno(errno, format("verbs: no {} on {}", what, port_.name()));
  };
  if (domain_ == nullptr) return failed("protection domain");
  channel_ = library().create_comp_channel(port_.device->context);
  if (channel_ == nullptr) return failed("completion channel");
  capacity_ = std::min(kCompletionsAtFirst, static_cast<std::size_t>(port_.limits.max_cqe));
  queue_ = library().create_cq(port_.device->context, static_cast<int>(capacity_), nullptr, channel_, 0);
  if (queue_ == nullptr) return failed("completion queue");
  make_nonblocking(channel_->fd);
  make_nonblocking(port_.device->context->async_fd);
  auto staging = Pages::allocate(kStagingSlots * slot_bytes_);
  if (!staging) return staging.status();
  staging_ = *std::move(staging);
  ibv_mr* const region = (library().reg_mr)(domain_, staging_.data(), staging_.bytes(), 0u);
  if (region == nullptr) return registration_error(errno, staging_.bytes(), port_.name());
  staging_registration_ = Registration(library(), region);
  for (std::size_t slot = 0; slot < kStagingSlots; ++slot) free_.push_back(static_cast<std::uint16_t>(slot));
  return {};
}

Rail::~Rail() {
  disarm();
  staging_registration_ = Registration();
  if (queue_ != nullptr) library().destroy_cq(queue_);
  if (channel_ != nullptr) library().destroy_comp_channel(channel_);
  // What the registrar keeps goes before the domain that it belongs to.
  registrar_.forget_all();
  if (domain_ != nullptr) library().dealloc_pd(domain_);
}

Status Rail::reserve(std::size_t completions) {
  const std::size_t needed = reserved_ + completions;
  if (needed > capacity_) {
    const std::size_t most = static_cast<std::size_t>(port_.limits.max_cqe);
    const std::size_t larger = std::min(std::max(needed, 2 * capacity_), most);
    if (needed > most) {
      return Status(Code::unsupported,
                    format("verbs: {} holds at most {} completions, too few for another link", port_.name(), most));
    }
    if (const int error = library().resize_cq(queue_, static_cast<int>(larger)); error != 0) {
      return Status::from_errno(error, format("verbs: the completion queue of {} cannot grow from {} to {}",
                                              port_.name(), capacity_, larger));
    }
    capacity_ = larger;
  }
  reserved_ = needed;
  return {};
}

std::size_t Rail::take(std::span<ibv_wc> out) {
  const int count = ibv_poll_cq(queue_, static_cast<int>(out.size()), out.data());
  const std::size_t taken = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (taken < out.size() && released_ > 0) {
    reserved_ -= released_;
    released_ = 0;
  }
  return taken;
}

std::uint16_t Rail::take_slot() {
  if (free_.empty()) return kNoSlot;
  const std::uint16_t slot = free_.back();
  free_.pop_back();
  return slot;
}

void Rail::arm() {
  if (is_armed_) disarm();
  ibv_req_notify_cq(queue_, 0);
  is_armed_ = true;
}

void Rail::disarm() {
  if (!is_armed_) return;
  is_armed_ = false;
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  unsigned events = 0;
  while (library().get_cq_event(channel_, &queue, &context) == 0) ++events;
  if (events > 0) library().ack_cq_events(queue_, events);
}

bool Rail::take_event(DeviceEvent& event) {
  ibv_async_event raw{};
  while (library().get_async_event(port_.device->context, &raw) == 0) {
    event = {};
    event.type = raw.event_type;
    event.text = library().event_type_str(raw.event_type);
    bool is_ours = true;
    switch (raw.event_type) {
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR:
        event.queue_pair = raw.element.qp->qp_num;
        break;
      case IBV_EVENT_PORT_ACTIVE:
      case IBV_EVENT_PORT_ERR:
      case IBV_EVENT_LID_CHANGE:
      case IBV_EVENT_GID_CHANGE:
        is_ours = raw.element.port_num == port_.number;
        break;
      default:
        break;
    }
    library().ack_async_event(&raw);
    if (is_ours) return true;
  }
  return false;
}

}  // namespace tutti::verbs
