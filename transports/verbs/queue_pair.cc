#include "transports/verbs/queue_pair.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti::verbs {

namespace {

constexpr std::uint8_t kRetries = 7;
constexpr std::uint8_t kRetriesWithoutEnd = 7;  // the standard's value for it: a peer that does not look is not lost
constexpr std::uint8_t kNotReadyPause = 12;     // 0.64 ms, by the standard's table
constexpr std::uint8_t kHopsMax = 64;

// The standard's exponent for the time between two tries (4.096 us * 2^n): the longest with which all are over within
// the limit.
std::uint8_t retry_exponent(Nanoseconds limit) {
  const auto all = [](std::uint8_t exponent) { return Nanoseconds((4096ll << exponent) * (kRetries + 1)); };
  std::uint8_t exponent = 8;
  while (exponent < 20 && all(static_cast<std::uint8_t>(exponent + 1)) <= limit) ++exponent;
  return exponent;
}

}  // namespace

QueuePair::QueuePair(Rail& rail, std::uint64_t serial, QueuePairOptions options)
    : rail_(rail), serial_(serial), options_(options) {}

QueuePair::~QueuePair() {
  if (pair_ != nullptr) rail_.library().destroy_qp(pair_);
  for (const Posted& posted : posted_) {
    if (posted.slot != Rail::kNoSlot) rail_.free_slot(posted.slot);
  }
  if (has_reserved_) rail_.release(kSendDepth + kReceiveDepth);
}

Status QueuePair::make_ring() {
  const std::size_t bytes = rail_.unit_bytes() * kRingUnits;
  auto ring = Pages::allocate(bytes);
  if (!ring) return ring.status();
  ring_ = *std::move(ring);
  ibv_mr* const region = (rail_.library().reg_mr)(
      rail_.domain(), ring_.data(), bytes, static_cast<unsigned>(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
  if (region == nullptr) return registration_error(errno, bytes, rail_.port().name());
  ring_registration_ = Registration(rail_.library(), region);
  return {};
}

Status QueuePair::create() {
  TUTTI_RETURN_IF_ERROR(make_ring());
  TUTTI_RETURN_IF_ERROR(rail_.reserve(kSendDepth + kReceiveDepth));
  has_reserved_ = true;
  ibv_qp_init_attr wanted{};
  wanted.send_cq = rail_.queue();
  wanted.recv_cq = rail_.queue();
  wanted.qp_type = IBV_QPT_RC;
  // As much in line as the device takes: the head and a few words matter most.
  for (const std::uint32_t in_line : {256u, 192u, 128u, 64u, 0u}) {
    wanted.cap = {kSendDepth, kReceiveDepth, 2, 1, in_line};
    pair_ = rail_.library().create_qp(rail_.domain(), &wanted);
    if (pair_ != nullptr || errno != EINVAL) break;
  }
  const std::string& port = rail_.port().name();
  if (pair_ == nullptr) return Status::from_errno(errno, format("verbs: no queue pair on {}", port));
  inline_bytes_ = wanted.cap.max_inline_data;
  std::array<std::byte, 4> chance{};
  TUTTI_RETURN_IF_ERROR(secure_random(chance));
  first_number_ = load_little_endian<std::uint32_t>(chance.data()) & 0xffffff;
  ibv_qp_attr start{};
  start.qp_state = IBV_QPS_INIT;
  start.port_num = rail_.port().number;
  start.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
  if (const int error = rail_.library().modify_qp(
          pair_, &start, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
      error != 0) {
    return Status::from_errno(error, format("verbs: a queue pair on {} does not start", port));
  }
  for (std::size_t posted = 0; posted < kReceiveDepth; posted += kReceiveBatch)
    TUTTI_RETURN_IF_ERROR(post_receives(std::min(kReceiveBatch, kReceiveDepth - posted)));
  return {};
}

Offer QueuePair::offer() const {
  Offer offer;
  offer.queue_pair = pair_->qp_num;
  offer.first_number = first_number_;
  offer.lid = rail_.port().lid;
  offer.mtu = static_cast<std::uint8_t>(rail_.port().mtu);
  offer.ring_address = reinterpret_cast<std::uintptr_t>(ring_.data());
  offer.ring_key = ring_registration_.remote_key();
  offer.ring_unit_bytes = static_cast<std::uint32_t>(rail_.unit_bytes());
  return offer;
}

void QueuePair::set_retries(ibv_qp_attr& attributes) const {
  attributes.timeout = retry_exponent(options_.silence_limit);
  attributes.retry_cnt = kRetries;
  attributes.rnr_retry = kRetriesWithoutEnd;
  attributes.max_rd_atomic = 1;
}

int QueuePair::connect_to(const Offer& peer, const PortFacts& peer_port) {
  const Port& port = rail_.port();
  path_mtu_ = std::min(port.mtu, static_cast<ibv_mtu>(peer.mtu));
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = path_mtu_;
  attributes.dest_qp_num = peer.queue_pair;
  attributes.rq_psn = peer.first_number;
  attributes.max_dest_rd_atomic = 1;
  attributes.min_rnr_timer = kNotReadyPause;
  attributes.ah_attr.port_num = port.number;
  attributes.ah_attr.dlid = peer.lid;
  attributes.ah_attr.sl = options_.service_level;
  attributes.ah_attr.is_global = port.facts.layer == LinkLayer::ethernet ? 1 : 0;
  std::memcpy(attributes.ah_attr.grh.dgid.raw, peer_port.gid.bytes.data(), peer_port.gid.bytes.size());
  attributes.ah_attr.grh.sgid_index = static_cast<std::uint8_t>(port.gid.index);
  attributes.ah_attr.grh.hop_limit = kHopsMax;
  attributes.ah_attr.grh.traffic_class = options_.traffic_class;
  const auto move = [&](int mask) { return rail_.library().modify_qp(pair_, &attributes, mask); };
  const int error = move(IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                         IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) return error;
  attributes.qp_state = IBV_QPS_RTS;
  attributes.sq_psn = first_number_;
  set_retries(attributes);
  return move(IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
              IBV_QP_MAX_QP_RD_ATOMIC);
}

int QueuePair::connect_by(const Manager& manager) {
  for (const ibv_qp_state state : {IBV_QPS_RTR, IBV_QPS_RTS}) {
    ibv_qp_attr attributes{};
    attributes.qp_state = state;
    int mask = 0;
    int error = manager(attributes, mask);
    if (error != 0) return error;
    if (state == IBV_QPS_RTR) path_mtu_ = attributes.path_mtu;
    attributes.max_dest_rd_atomic = 1;
    attributes.min_rnr_timer = kNotReadyPause;
    attributes.ah_attr.sl = options_.service_level;
    attributes.ah_attr.grh.traffic_class = options_.traffic_class;
    set_retries(attributes);
    error = rail_.library().modify_qp(pair_, &attributes, mask);
    if (error != 0) return error;
  }
  return 0;
}

Status QueuePair::connect(const Offer& peer, const PortFacts& peer_port, const Manager& manager) {
  const Port& port = rail_.port();
  if (peer.ring_unit_bytes != rail_.unit_bytes()) {
    return Status(Code::invalid,
                  format("the rings have {} here and {} there; set TUTTI_VERBS_RING_BYTES alike in all processes",
                         format_bytes(rail_.unit_bytes() * kRingUnits),
                         format_bytes(std::size_t{peer.ring_unit_bytes} * kRingUnits)));
  }
  if (const int error = manager ? connect_by(manager) : connect_to(peer, peer_port); error != 0) {
    return Status::from_errno(
        error, format("{} ({}, MTU {}) cannot be connected to {} ({}, MTU {}){}", port.name(),
                      to_string(port.gid.gid), mtu_bytes(port.mtu), peer_port.name, to_string(peer_port.gid),
                      mtu_bytes(static_cast<ibv_mtu>(peer.mtu)), manager ? " as rdma_cm says" : ""));
  }
  peer_ring_ = peer.ring_address;
  peer_ring_key_ = peer.ring_key;
  return {};
}

Status QueuePair::receive_one() {
  if (++receives_missing_ < kReceiveBatch) return {};
  receives_missing_ = 0;
  return post_receives(kReceiveBatch);
}

Status QueuePair::post_receives(std::size_t count) {
  std::array<ibv_recv_wr, kReceiveBatch> requests{};
  for (std::size_t i = 0; i < count; ++i) {
    requests[i].wr_id = serial_;
    requests[i].next = i + 1 < count ? &requests[i + 1] : nullptr;
  }
  ibv_recv_wr* refused = nullptr;
  const int error = ibv_post_recv(pair_, requests.data(), &refused);
  return error == 0 ? Status() : Status::from_errno(error, "a receive cannot be posted");
}

bool QueuePair::can_send(std::size_t depth, std::size_t bytes) const {
  return has_room(depth) && (kHeadBytes + bytes <= inline_bytes_ || rail_.has_slot());
}

Status QueuePair::send_frame(std::uint32_t at, std::uint32_t units, const std::byte* head, const std::byte* payload,
                             std::size_t bytes) {
  std::array<ibv_sge, 2> parts{};
  ibv_send_wr request{};
  request.sg_list = parts.data();
  Posted posted;
  if (kHeadBytes + bytes <= inline_bytes_) {
    parts[0] = {reinterpret_cast<std::uintptr_t>(head), kHeadBytes, 0};
    parts[1] = {reinterpret_cast<std::uintptr_t>(payload), static_cast<std::uint32_t>(bytes), 0};
    request.num_sge = bytes > 0 ? 2 : 1;
    request.send_flags = IBV_SEND_INLINE;
  } else {
    posted.slot = rail_.take_slot();
    std::byte* const slot = rail_.slot(posted.slot);
    std::memcpy(slot, head, kHeadBytes);
    if (bytes > 0) std::memcpy(slot + kHeadBytes, payload, bytes);
    parts[0] = {reinterpret_cast<std::uintptr_t>(slot), static_cast<std::uint32_t>(kHeadBytes + bytes),
                rail_.staging_key()};
    request.num_sge = 1;
  }
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  request.imm_data = htonl(pack_immediate(Immediate::frame, units));
  request.wr.rdma.remote_addr = peer_ring_ + at * rail_.unit_bytes();
  request.wr.rdma.rkey = peer_ring_key_;
  return post(request, posted);
}

Status QueuePair::send_report(std::uint32_t count) {
  ibv_send_wr request{};
  request.opcode = IBV_WR_SEND_WITH_IMM;
  request.imm_data = htonl(pack_immediate(Immediate::credit, count));
  return post(request, {Work::report, Rail::kNoSlot});
}

// Writes nothing to nowhere, and completes.
Status QueuePair::send_marker() {
  ibv_send_wr request{};
  request.opcode = IBV_WR_RDMA_WRITE;
  request.wr.rdma.remote_addr = peer_ring_;
  request.wr.rdma.rkey = peer_ring_key_;
  return post(request, {Work::marker, Rail::kNoSlot});
}

Status QueuePair::write(const std::byte* payload, std::size_t bytes, std::uint32_t local_key, std::uint64_t address,
                        std::uint32_t remote_key, std::uint64_t number) {
  ibv_sge part{reinterpret_cast<std::uintptr_t>(payload), static_cast<std::uint32_t>(bytes), local_key};
  ibv_send_wr request{};
  request.sg_list = &part;
  request.num_sge = 1;
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  request.imm_data = htonl(pack_immediate(Immediate::written, number));
  request.wr.rdma.remote_addr = address;
  request.wr.rdma.rkey = remote_key;
  return post(request, {Work::write, Rail::kNoSlot});
}

Status QueuePair::post(ibv_send_wr& request, Posted posted) {
  request.wr_id = serial_;
  const bool is_waited_for =
      posted.work == Work::write || posted.work == Work::marker || posted.slot != Rail::kNoSlot;
  posted.is_signaled = is_waited_for || unsignaled_ + 1 == kSignalEvery;
  if (posted.is_signaled) request.send_flags |= IBV_SEND_SIGNALED;
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(pair_, &request, &refused);
  if (error != 0) {
    if (posted.slot != Rail::kNoSlot) rail_.free_slot(posted.slot);
    return Status::from_errno(error, "work cannot be posted");
  }
  posted_.push_back(posted);
  unsignaled_ = posted.is_signaled ? 0 : unsignaled_ + 1;
  return {};
}

QueuePair::Work QueuePair::complete() {
  while (!posted_.front().is_signaled) posted_.pop_front();
  const Posted posted = posted_.front();
  posted_.pop_front();
  if (posted.slot != Rail::kNoSlot) rail_.free_slot(posted.slot);
  return posted.work;
}

}  // namespace tutti::verbs
