#include "transports/ofi/connections.h"

#include <algorithm>
#include <array>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "transports/ofi/wire.h"

namespace tutti::ofi {

namespace {

constexpr std::size_t kRequestBytes = sizeof(std::uint64_t);
constexpr std::size_t kRequestBytesMax = 1024;  // of anybody, where the provider does not tell
constexpr int kEventsMax = 32;                  // in one look

}  // namespace

Status Connections::start() {
  fi_eq_attr events{};
  events.wait_obj = FI_WAIT_FD;
  if (fi_eq_open(parts_.fabric, &events, &events_, nullptr) == 0) {
    if (fi_control(&events_->fid, FI_GETWAIT, &descriptor_) != 0) descriptor_ = -1;
  } else {
    events.wait_obj = FI_WAIT_NONE;
    TUTTI_RETURN_IF_ERROR(check(fi_eq_open(parts_.fabric, &events, &events_, nullptr), "open an event queue"));
  }
  const Info own(api_.dupinfo(&info_), {&api_});
  if (!own) return {Code::system, "libfabric has no memory for an endpoint"};
  TUTTI_RETURN_IF_ERROR(check(fi_passive_ep(parts_.fabric, own.get(), &listener_, nullptr), "make a listener"));
  TUTTI_RETURN_IF_ERROR(check(fi_pep_bind(listener_, &events_->fid, 0), "bind a listener"));
  TUTTI_RETURN_IF_ERROR(check(fi_listen(listener_), "listen"));
  auto address = address_of(api_, info_, listener_->fid);
  if (!address) return address.status();
  address_ = *std::move(address);
  std::size_t request = 0;
  std::size_t size = sizeof(request);
  if (fi_getopt(&listener_->fid, FI_OPT_ENDPOINT, FI_OPT_CM_DATA_SIZE, &request, &size) != 0) request = 0;
  event_.resize(sizeof(fi_eq_cm_entry) + std::max(request, kRequestBytesMax));
  return {};
}

Result<fid_ep*> Connections::make(fi_info& info) {
  info.ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT;
  fid_ep* endpoint = nullptr;
  TUTTI_RETURN_IF_ERROR(check(fi_endpoint(parts_.domain, &info, &endpoint, nullptr), "make an endpoint"));
  Status made = check(fi_ep_bind(endpoint, &events_->fid, 0), "bind an event queue");
  if (made.is_ok())
    made = check(fi_ep_bind(endpoint, &parts_.queue->fid, FI_TRANSMIT | FI_RECV), "bind a completion queue");
  if (made.is_ok()) made = check(fi_ep_bind(endpoint, &parts_.receiver->fid, 0), "bind a receive context");
  if (made.is_ok()) made = check(fi_enable(endpoint), "enable an endpoint");
  if (made.is_ok()) return endpoint;
  fi_close(&endpoint->fid);
  return made;
}

Status Connections::connect(OfiPort& port, const std::byte* address, std::uint64_t peer_key) {
  const Info own(api_.dupinfo(&info_), {&api_});
  if (!own) return {Code::system, "libfabric has no memory for an endpoint"};
  const auto made = make(*own);
  if (!made) return made.status();
  fid_ep* const endpoint = *made;
  std::array<std::byte, kRequestBytes> request;
  store_little_endian(request.data(), peer_key);
  ports_[&endpoint->fid] = &port;
  port.take_endpoint(endpoint);
  return check(fi_connect(endpoint, address, request.data(), request.size()), "connect to the peer");
}

std::string Connections::close(fid_ep* endpoint) {
  ports_.erase(&endpoint->fid);
  const int error = fi_close(&endpoint->fid);
  return error == 0 ? std::string() : format("closing an endpoint: {}", words_of(api_, -error));
}

void Connections::on_request(const fi_eq_cm_entry& entry, std::size_t bytes, OfiWire* wire) {
  const Info info(entry.info, {&api_});
  OfiPort* const port = wire != nullptr && bytes >= sizeof(entry) + kRequestBytes
                            ? wire->awaits(load_little_endian<std::uint64_t>(event_.data() + sizeof(entry)))
                            : nullptr;
  if (port == nullptr) {
    fi_reject(listener_, info->handle, nullptr, 0);
    return;
  }
  const auto made = make(*info);
  if (!made) {
    fi_reject(listener_, info->handle, nullptr, 0);
    return port->fail(made.status().text());
  }
  ports_[&(*made)->fid] = port;
  port->take_endpoint(*made);
  if (const Status accepted = check(fi_accept(*made, nullptr, 0), "accept a connection"); !accepted)
    port->fail(accepted.text());
}

bool Connections::on_error() {
  fi_eq_err_entry error{};
  if (fi_eq_readerr(events_, &error, 0) < 0) return false;
  const auto found = ports_.find(error.fid);
  if (found == ports_.end()) return true;
  found->second->fail(format("{}, the provider's own number is {}", words_of(api_, error.err), error.prov_errno));
  return true;
}

std::size_t Connections::progress(OfiWire* wire) {
  std::size_t count = 0;
  for (int i = 0; i < kEventsMax; ++i) {
    std::uint32_t event = 0;
    const ssize_t bytes = fi_eq_read(events_, &event, event_.data(), event_.size(), 0);
    if (bytes == -FI_EAVAIL && on_error()) {
      ++count;
      continue;
    }
    if (bytes < static_cast<ssize_t>(sizeof(fi_eq_cm_entry))) break;
    ++count;
    const auto& entry = *reinterpret_cast<const fi_eq_cm_entry*>(event_.data());
    if (event == FI_CONNREQ) {
      on_request(entry, static_cast<std::size_t>(bytes), wire);
      continue;
    }
    const auto found = ports_.find(entry.fid);
    if (found == ports_.end()) continue;
    if (event == FI_CONNECTED) found->second->on_connected();
    if (event == FI_SHUTDOWN) found->second->fail("the peer's side of the connection has ended (FI_SHUTDOWN)");
  }
  return count;
}

}  // namespace tutti::ofi
