#include "tests/transport_verbs/fake_verbs.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "src/base/format.h"
#include "tests/transport_verbs/fake_state.h"

namespace tutti::verbs {

namespace {

Fabric& fabric() {
  static Fabric* const the_fabric = new Fabric;
  return *the_fabric;
}

using Lock = std::lock_guard<std::mutex>;

template <typename Fake, typename Base>
Fake& fake(Base* base) {
  return *reinterpret_cast<Fake*>(base);
}

void breach(std::string text) { fabric().breaches.push_back(std::move(text)); }

void ring(int descriptor) {
  const std::uint64_t one = 1;
  static_cast<void>(!write(descriptor, &one, sizeof one));
}

void push(FakeQueue& queue, const ibv_wc& completion) {
  if (queue.completions.size() == queue.capacity) breach("a completion queue has overflowed");
  queue.completions.push_back(completion);
  if (!queue.armed) return;
  queue.armed = false;
  queue.channel->events.push_back(&queue.base);
  ring(queue.channel->base.fd);
}

FakePair* find_pair(std::uint32_t number) {
  const auto found = fabric().pairs.find(number);
  return found == fabric().pairs.end() ? nullptr : found->second;
}

void complete_send(FakePair& pair, const Request& request, ibv_wc_status status) {
  ++pair.unreported;
  if (status == IBV_WC_SUCCESS && !request.is_signaled) return;
  pair.ends.push_back(std::exchange(pair.unreported, 0));
  ibv_wc completion{};
  completion.wr_id = request.id;
  completion.status = status;
  const bool is_write = request.opcode == IBV_WR_RDMA_WRITE_WITH_IMM || request.opcode == IBV_WR_RDMA_WRITE;
  completion.opcode = is_write ? IBV_WC_RDMA_WRITE : IBV_WC_SEND;
  completion.qp_num = pair.base.qp_num;
  completion.vendor_err = status == IBV_WC_SUCCESS ? 0 : 0x42;
  push(fake<FakeQueue>(pair.base.send_cq), completion);
}

void break_pair(FakePair& pair, ibv_wc_status first) {
  pair.base.state = IBV_QPS_ERR;
  for (const Request& request : pair.sends) {
    complete_send(pair, request, first);
    first = IBV_WC_WR_FLUSH_ERR;
  }
  pair.sends.clear();
  for (const std::uint64_t id : pair.receives) {
    ibv_wc completion{};
    completion.wr_id = id;
    completion.status = IBV_WC_WR_FLUSH_ERR;
    completion.opcode = IBV_WC_RECV;
    push(fake<FakeQueue>(pair.base.recv_cq), completion);
  }
  pair.receives.clear();
}

bool covers(std::uint32_t key, std::uint64_t address, std::size_t bytes, int access) {
  const auto found = fabric().regions.find(key);
  if (found == fabric().regions.end()) return false;
  const FakeRegion& region = *found->second;
  const auto begin = reinterpret_cast<std::uintptr_t>(region.base.addr);
  return (region.access & access) == access && address >= begin && address + bytes <= begin + region.base.length;
}

// The bytes of a request, or nothing where a key does not cover them.
bool gather(const Request& request, std::vector<std::byte>& bytes) {
  if (request.is_inline) {
    bytes = request.in_line;
    return true;
  }
  for (const ibv_sge& part : request.parts) {
    if (!covers(part.lkey, part.addr, part.length, 0)) return false;
    const auto* const from = reinterpret_cast<const std::byte*>(part.addr);
    bytes.insert(bytes.end(), from, from + part.length);
  }
  return true;
}

bool is_up(const FakePair& pair) { return fabric().ports[pair.port].state == IBV_PORT_ACTIVE; }

// The oldest request of the pair. False: it waits for the peer to expect it, or the pair is broken.
bool run_one(FakePair& pair) {
  Fabric& f = fabric();
  const Request& request = pair.sends.front();
  FakePair* const peer = find_pair(pair.target);
  if (peer == nullptr || peer->base.state != IBV_QPS_RTS || !is_up(pair) || !is_up(*peer)) {
    if (peer != nullptr && peer->base.state == IBV_QPS_RTR) return false;
    break_pair(pair, IBV_WC_RETRY_EXC_ERR);
    return false;
  }
  if (request.opcode == IBV_WR_RDMA_WRITE) {
    if (!request.parts.empty()) breach("payload without an immediate number");
    complete_send(pair, request, IBV_WC_SUCCESS);
    pair.sends.pop_front();
    return true;
  }
  if (peer->receives.empty()) return false;
  std::vector<std::byte> bytes;
  if (!gather(request, bytes)) {
    break_pair(pair, IBV_WC_LOC_PROT_ERR);
    return false;
  }
  const bool is_write = request.opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
  if (is_write) {
    const bool is_payload = ntohl(request.immediate) >> 30 == 2;
    const std::uint32_t key = is_payload && std::exchange(f.break_key, f.break_key && !is_payload) ? 0 : request.key;
    if (!covers(key, request.address, bytes.size(), IBV_ACCESS_REMOTE_WRITE)) {
      break_pair(pair, IBV_WC_REM_ACCESS_ERR);
      break_pair(*peer, IBV_WC_WR_FLUSH_ERR);
      return false;
    }
    if (!is_payload && std::exchange(f.garble, false)) bytes[0] ^= std::byte{0xff};
    std::memcpy(reinterpret_cast<void*>(request.address), bytes.data(), bytes.size());
  }
  ibv_wc arrival{};
  arrival.wr_id = peer->receives.front();
  arrival.opcode = is_write ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV;
  arrival.byte_len = static_cast<std::uint32_t>(bytes.size());
  arrival.imm_data = request.immediate;
  arrival.qp_num = peer->base.qp_num;
  peer->receives.pop_front();
  push(fake<FakeQueue>(peer->base.recv_cq), arrival);
  complete_send(pair, request, IBV_WC_SUCCESS);
  pair.sends.pop_front();
  return true;
}

void run(FakePair& pair) {
  while (!pair.sends.empty() && run_one(pair)) {
  }
}

void run_senders_to(std::uint32_t number) {
  for (const auto& [own, pair] : fabric().pairs) {
    if (pair->target == number) run(*pair);
  }
}

// Devices.

ibv_device** get_device_list(int* count) {
  const Lock lock(fabric().mutex);
  const auto& devices = fabric().devices;
  auto** const list = new ibv_device*[devices.size() + 1];
  for (std::size_t i = 0; i < devices.size(); ++i) list[i] = &devices[i]->base;
  list[devices.size()] = nullptr;
  *count = static_cast<int>(devices.size());
  return list;
}

void free_device_list(ibv_device** list) { delete[] list; }

const char* get_device_name(ibv_device* device) { return device->name; }

int poll_cq(ibv_cq* queue, int count, ibv_wc* out) {
  const Lock lock(fabric().mutex);
  auto& completions = fake<FakeQueue>(queue).completions;
  int taken = 0;
  for (; taken < count && !completions.empty(); ++taken) {
    out[taken] = completions.front();
    completions.pop_front();
    FakePair* const pair = find_pair(out[taken].qp_num);
    const bool is_send = (out[taken].opcode & IBV_WC_RECV) == 0;
    if (pair == nullptr || !is_send || pair->ends.empty()) continue;
    pair->outstanding -= pair->ends.front();
    pair->ends.pop_front();
  }
  return taken;
}

int req_notify_cq(ibv_cq* queue, int) {
  const Lock lock(fabric().mutex);
  fake<FakeQueue>(queue).armed = true;
  return 0;
}

int post_recv(ibv_qp* pair, ibv_recv_wr* request, ibv_recv_wr**) {
  const Lock lock(fabric().mutex);
  FakePair& ours = fake<FakePair>(pair);
  if (ours.base.state == IBV_QPS_ERR) return 0;
  for (; request != nullptr; request = request->next) {
    if (ours.receives.size() == ours.receive_max) return ENOMEM;
    ours.receives.push_back(request->wr_id);
  }
  run_senders_to(ours.base.qp_num);
  return 0;
}

int post_send(ibv_qp* pair, ibv_send_wr* wanted, ibv_send_wr**) {
  const Lock lock(fabric().mutex);
  FakePair& ours = fake<FakePair>(pair);
  if (ours.base.state != IBV_QPS_RTS && ours.base.state != IBV_QPS_ERR) return EINVAL;
  if (ours.outstanding == ours.send_max) {
    breach("more work requests than a queue pair holds");
    return ENOMEM;
  }
  Request request;
  request.id = wanted->wr_id;
  request.opcode = wanted->opcode;
  request.immediate = wanted->imm_data;
  request.parts.assign(wanted->sg_list, wanted->sg_list + wanted->num_sge);
  request.address = wanted->wr.rdma.remote_addr;
  request.key = wanted->wr.rdma.rkey;
  request.is_inline = (wanted->send_flags & IBV_SEND_INLINE) != 0;
  request.is_signaled = (wanted->send_flags & IBV_SEND_SIGNALED) != 0;
  for (const ibv_sge& part : request.parts) {
    const auto* const from = reinterpret_cast<const std::byte*>(part.addr);
    if (request.is_inline) request.in_line.insert(request.in_line.end(), from, from + part.length);
  }
  ++ours.outstanding;
  if (ours.base.state == IBV_QPS_ERR) {
    complete_send(ours, request, IBV_WC_WR_FLUSH_ERR);
    return 0;
  }
  ours.sends.push_back(std::move(request));
  run(ours);
  return 0;
}

ibv_context* open_device(ibv_device* device) {
  const Lock lock(fabric().mutex);
  auto* const context = new FakeContext;
  context->port = fake<FakeDevice>(device).port;
  context->base.device = device;
  context->base.async_fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
  context->base.ops.poll_cq = poll_cq;
  context->base.ops.req_notify_cq = req_notify_cq;
  context->base.ops.post_send = post_send;
  context->base.ops.post_recv = post_recv;
  fabric().contexts.push_back(context);
  return &context->base;
}

int close_device(ibv_context* context) {
  const Lock lock(fabric().mutex);
  close(context->async_fd);
  std::erase(fabric().contexts, &fake<FakeContext>(context));
  delete &fake<FakeContext>(context);
  return 0;
}

int query_device(ibv_context*, ibv_device_attr* limits) {
  *limits = {};
  limits->phys_port_cnt = 1;
  limits->max_cqe = 1 << 20;
  return 0;
}

int query_port(ibv_context* context, std::uint8_t, _compat_ibv_port_attr* out) {
  const Lock lock(fabric().mutex);
  const FakePort& port = fabric().ports[fake<FakeContext>(context).port];
  auto& attributes = *reinterpret_cast<ibv_port_attr*>(out);
  attributes.state = port.state;
  attributes.active_mtu = port.mtu;
  attributes.gid_tbl_len = static_cast<int>(port.gids.size());
  attributes.max_msg_sz = 8u << 20;
  attributes.lid = 7;
  attributes.active_width = 2;
  attributes.active_speed = 32;
  attributes.link_layer = static_cast<std::uint8_t>(port.layer == LinkLayer::ethernet ? IBV_LINK_LAYER_ETHERNET
                                                                                      : IBV_LINK_LAYER_INFINIBAND);
  return 0;
}

int query_gid(ibv_context* context, std::uint8_t, int index, ibv_gid* gid) {
  const Lock lock(fabric().mutex);
  const auto& gids = fabric().ports[fake<FakeContext>(context).port].gids;
  std::memcpy(gid->raw, gids[static_cast<std::size_t>(index)].gid.bytes.data(), sizeof gid->raw);
  return 0;
}

void describe_gid(const std::string& device, std::uint8_t, int index, GidEntry& entry) {
  const Lock lock(fabric().mutex);
  for (const FakePort& port : fabric().ports) {
    if (port.device == device) entry = port.gids[static_cast<std::size_t>(index)];
  }
}

int get_async_event(ibv_context* context, ibv_async_event* event) {
  const Lock lock(fabric().mutex);
  auto& events = fake<FakeContext>(context).events;
  if (events.empty()) return -1;
  std::uint64_t drained = 0;
  static_cast<void>(!read(context->async_fd, &drained, sizeof drained));
  *event = events.front();
  events.pop_front();
  return 0;
}

void ack_async_event(ibv_async_event*) {}

// What a device makes.

ibv_pd* alloc_pd(ibv_context* context) { return new ibv_pd{context, 1}; }

int dealloc_pd(ibv_pd* domain) {
  delete domain;
  return 0;
}

ibv_mr* reg_mr(ibv_pd* domain, void* address, std::size_t bytes, int access) {
  const Lock lock(fabric().mutex);
  Fabric& f = fabric();
  if (f.pinned + bytes > f.pinned_limit) {
    errno = ENOMEM;
    return nullptr;
  }
  auto* const region = new FakeRegion;
  const std::uint32_t key = f.next_key++;
  region->base = {domain->context, domain, address, bytes, 0, key, key};
  region->access = access;
  f.regions[key] = region;
  f.pinned += bytes;
  f.pinned_most = std::max(f.pinned_most, f.pinned);
  return &region->base;
}

// As the kernel, it takes the descriptor only where that is open.
ibv_mr* reg_dmabuf_mr(ibv_pd* domain, std::uint64_t, std::size_t bytes, std::uint64_t address, int descriptor,
                      int access) {
  if (fcntl(descriptor, F_GETFD) < 0) return nullptr;
  ibv_mr* const region = reg_mr(domain, reinterpret_cast<void*>(address), bytes, access);
  if (region != nullptr) ++fabric().dma_bufs;
  return region;
}

int dereg_mr(ibv_mr* region) {
  const Lock lock(fabric().mutex);
  fabric().pinned -= region->length;
  fabric().regions.erase(region->lkey);
  delete &fake<FakeRegion>(region);
  return 0;
}

ibv_comp_channel* create_comp_channel(ibv_context* context) {
  auto* const channel = new FakeChannel;
  channel->base.context = context;
  channel->base.fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
  return &channel->base;
}

int destroy_comp_channel(ibv_comp_channel* channel) {
  close(channel->fd);
  delete &fake<FakeChannel>(channel);
  return 0;
}

ibv_cq* create_cq(ibv_context* context, int capacity, void*, ibv_comp_channel* channel, int) {
  auto* const queue = new FakeQueue;
  queue->base.context = context;
  queue->channel = &fake<FakeChannel>(channel);
  queue->capacity = static_cast<std::size_t>(capacity);
  return &queue->base;
}

int resize_cq(ibv_cq* queue, int capacity) {
  const Lock lock(fabric().mutex);
  fake<FakeQueue>(queue).capacity = static_cast<std::size_t>(capacity);
  return 0;
}

int destroy_cq(ibv_cq* queue) {
  delete &fake<FakeQueue>(queue);
  return 0;
}

int get_cq_event(ibv_comp_channel* channel, ibv_cq** queue, void**) {
  const Lock lock(fabric().mutex);
  auto& events = fake<FakeChannel>(channel).events;
  if (events.empty()) return -1;
  std::uint64_t drained = 0;
  static_cast<void>(!read(channel->fd, &drained, sizeof drained));
  *queue = events.front();
  events.pop_front();
  return 0;
}

void ack_cq_events(ibv_cq*, unsigned) {}

ibv_qp* create_qp(ibv_pd* domain, ibv_qp_init_attr* wanted) {
  const Lock lock(fabric().mutex);
  if (wanted->cap.max_inline_data > 128) {  // so that both ways are tested
    errno = EINVAL;
    return nullptr;
  }
  auto* const pair = new FakePair;
  pair->base.context = domain->context;
  pair->base.send_cq = wanted->send_cq;
  pair->base.recv_cq = wanted->recv_cq;
  pair->base.qp_num = fabric().next_number++;
  pair->base.state = IBV_QPS_RESET;
  pair->port = fake<FakeContext>(domain->context).port;
  pair->send_max = wanted->cap.max_send_wr;
  pair->receive_max = wanted->cap.max_recv_wr;
  fabric().pairs[pair->base.qp_num] = pair;
  return &pair->base;
}

int modify_qp(ibv_qp* pair, ibv_qp_attr* attributes, int mask) {
  const Lock lock(fabric().mutex);
  if ((mask & IBV_QP_STATE) == 0) return EINVAL;
  if (attributes->qp_state == IBV_QPS_RTR) {
    const auto is_there = [&](const FakePort& port) {
      return std::any_of(port.gids.begin(), port.gids.end(), [&](const GidEntry& entry) {
        return std::memcmp(entry.gid.bytes.data(), attributes->ah_attr.grh.dgid.raw, 16) == 0;
      });
    };
    if (std::none_of(fabric().ports.begin(), fabric().ports.end(), is_there)) return ENETUNREACH;
    fake<FakePair>(pair).target = attributes->dest_qp_num;
  }
  pair->state = attributes->qp_state;
  if (pair->state == IBV_QPS_RTS) run_senders_to(pair->qp_num);
  return 0;
}

int destroy_qp(ibv_qp* pair) {
  const Lock lock(fabric().mutex);
  const std::uint32_t number = pair->qp_num;
  fabric().pairs.erase(number);
  delete &fake<FakePair>(pair);
  run_senders_to(number);
  return 0;
}

const char* wc_status_str(ibv_wc_status status) {
  if (status == IBV_WC_RETRY_EXC_ERR) return "transport retry counter exceeded";
  if (status == IBV_WC_REM_ACCESS_ERR) return "remote access error";
  return status == IBV_WC_WR_FLUSH_ERR ? "Work Request Flushed Error" : "another error";
}

const char* event_type_str(ibv_event_type type) {
  return type == IBV_EVENT_PORT_ERR ? "port error" : type == IBV_EVENT_PORT_ACTIVE ? "port active" : "another event";
}

}  // namespace

FakePort fake_port(const std::string& device) {
  FakePort port;
  port.device = device;
  GidEntry entry;
  entry.type = GidType::roce_v2;
  entry.interface = "lo";
  entry.gid.bytes[10] = entry.gid.bytes[11] = std::byte{255};
  entry.gid.bytes[12] = std::byte{127};
  entry.gid.bytes[15] = static_cast<std::byte>(1 + device.back() % 100);
  port.gids.push_back(entry);
  return port;
}

void reset_fake_verbs(std::vector<FakePort> ports) {
  const Lock lock(fabric().mutex);
  Fabric& f = fabric();
  f.ports = std::move(ports);
  f.devices.clear();
  for (std::size_t i = 0; i < f.ports.size(); ++i) {
    f.devices.push_back(std::make_unique<FakeDevice>());
    f.devices.back()->port = i;
    std::strncpy(f.devices.back()->base.name, f.ports[i].device.c_str(), sizeof f.devices.back()->base.name - 1);
  }
  f.pinned_most = f.pinned;
  f.pinned_limit = SIZE_MAX;
  f.dma_bufs = 0;
  f.break_key = f.garble = false;
  f.breaches.clear();
}

const Library& fake_library() {
  static const Library library = [] {
    Library made;
#define TUTTI_VERBS_FAKE(name) made.name = name;
    TUTTI_VERBS_CALLS(TUTTI_VERBS_FAKE)
#undef TUTTI_VERBS_FAKE
    made.reg_dmabuf_mr = reg_dmabuf_mr;
    made.describe_gid = describe_gid;
    return made;
  }();
  return library;
}

void limit_fake_pinned_bytes(std::size_t bytes) {
  const Lock lock(fabric().mutex);
  fabric().pinned_limit = bytes;
}

std::size_t fake_pinned_bytes() {
  const Lock lock(fabric().mutex);
  return fabric().pinned;
}

std::size_t fake_pinned_bytes_most() {
  const Lock lock(fabric().mutex);
  return fabric().pinned_most;
}

std::size_t fake_dma_bufs() {
  const Lock lock(fabric().mutex);
  return fabric().dma_bufs;
}

void set_fake_port_state(const std::string& device, ibv_port_state state) {
  const Lock lock(fabric().mutex);
  Fabric& f = fabric();
  for (std::size_t i = 0; i < f.ports.size(); ++i) {
    if (f.ports[i].device != device) continue;
    f.ports[i].state = state;
    for (FakeContext* const context : f.contexts) {
      if (context->port != i) continue;
      ibv_async_event event{};
      event.event_type = state == IBV_PORT_ACTIVE ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR;
      event.element.port_num = 1;
      context->events.push_back(event);
      ring(context->base.async_fd);
    }
  }
}

void break_next_fake_key() {
  const Lock lock(fabric().mutex);
  fabric().break_key = true;
}

void garble_next_fake_frame() {
  const Lock lock(fabric().mutex);
  fabric().garble = true;
}

std::vector<std::string> fake_breaches() {
  const Lock lock(fabric().mutex);
  return fabric().breaches;
}

}  // namespace tutti::verbs
