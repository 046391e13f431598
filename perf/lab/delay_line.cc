#include "perf/lab/delay_line.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace tutti_lab {

namespace {

constexpr std::size_t kBatch = 32;
constexpr int kBatchesAtOnce = 8;
constexpr std::size_t kLargestPacket = 128 * 1024;            // a large segment, its headers, and room
constexpr std::size_t kMostBytesWaiting = 256 * 1024 * 1024;  // 100 ms at 20 Gbit/s
constexpr int kSocketBuffer = 64 * 1024 * 1024;
constexpr Nanoseconds kSecond = 1'000'000'000;

Nanoseconds clock_ns(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

// What one recvmmsg or sendmmsg works on. Receiving needs the room below; it is shared by all lines, as there is one
// thread.
struct Batch {
  std::array<mmsghdr, kBatch> messages = {};
  std::array<iovec, kBatch> vectors = {};
};

struct ReceiveRoom {
  Batch batch;
  std::vector<std::byte> bytes = std::vector<std::byte>(kBatch * kLargestPacket);
  std::array<std::array<std::byte, 64>, kBatch> controls = {};

  void prepare() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      batch.vectors[i] = {bytes.data() + i * kLargestPacket, kLargestPacket};
      msghdr& header = batch.messages[i].msg_hdr;
      header = {};
      header.msg_iov = &batch.vectors[i];
      header.msg_iovlen = 1;
      header.msg_control = controls[i].data();
      header.msg_controllen = controls[i].size();
    }
  }
};

// How long ago the kernel took the packet in: the relay may have been late to look.
Nanoseconds age_of(msghdr& header, Nanoseconds real_now) {
  for (cmsghdr* one = CMSG_FIRSTHDR(&header); one != nullptr; one = CMSG_NXTHDR(&header, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp = {};
    std::memcpy(&stamp, CMSG_DATA(one), sizeof stamp);
    const Nanoseconds age = real_now - (stamp.tv_sec * kSecond + stamp.tv_nsec);
    return std::clamp<Nanoseconds>(age, 0, kSecond);  // the real clock may be set meanwhile
  }
  return 0;
}

}  // namespace

Nanoseconds monotonic_ns() { return clock_ns(CLOCK_MONOTONIC); }

int open_device(const char* name, const char** step) {
  *step = "socket(AF_PACKET)";
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1;
  const auto set = [&](int level, int option, const int& value, const char* what) {
    *step = what;
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
  };
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  *step = "if_nametoindex";
  address.sll_ifindex = static_cast<int>(if_nametoindex(name));
  if (address.sll_ifindex != 0 && set(SOL_PACKET, PACKET_VNET_HDR, on, "setsockopt(PACKET_VNET_HDR)") &&
      set(SOL_PACKET, PACKET_IGNORE_OUTGOING, on, "setsockopt(PACKET_IGNORE_OUTGOING)") &&
      set(SOL_SOCKET, SO_TIMESTAMPNS, on, "setsockopt(SO_TIMESTAMPNS)") &&
      // The machine's root alone may have so much; in a user namespace it is what net.core.rmem_max allows.
      (set(SOL_SOCKET, SO_RCVBUFFORCE, kSocketBuffer, "setsockopt(SO_RCVBUFFORCE)") ||
       set(SOL_SOCKET, SO_RCVBUF, kSocketBuffer, "setsockopt(SO_RCVBUF)")) &&
      (set(SOL_SOCKET, SO_SNDBUFFORCE, kSocketBuffer, "setsockopt(SO_SNDBUFFORCE)") ||
       set(SOL_SOCKET, SO_SNDBUF, kSocketBuffer, "setsockopt(SO_SNDBUF)"))) {
    *step = "bind";
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  }
  const int reason = errno;
  close(fd);
  errno = reason;
  return -1;
}

void DelayLine::receive() {
  static ReceiveRoom room;
  for (int round = 0; round < kBatchesAtOnce; ++round) {
    room.prepare();
    const int got = recvmmsg(from_, room.batch.messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (got <= 0) return;  // nothing there, or the device is down for the moment
    const Nanoseconds now = monotonic_ns();
    const Nanoseconds real_now = clock_ns(CLOCK_REALTIME);
    for (int i = 0; i < got; ++i) {
      mmsghdr& message = room.batch.messages[i];
      if (waiting_bytes_ + message.msg_len > kMostBytesWaiting) {
        ++dropped_full_;
        continue;
      }
      last_due_ = std::max(last_due_, now - age_of(message.msg_hdr, real_now) + delay_);
      const auto* bytes = static_cast<const std::byte*>(room.batch.vectors[i].iov_base);
      waiting_.push_back({last_due_, {bytes, bytes + message.msg_len}});
      waiting_bytes_ += message.msg_len;
    }
    if (static_cast<std::size_t>(got) < kBatch) return;
  }
}

void DelayLine::send() {
  while (!waiting_.empty()) {
    const Nanoseconds now = monotonic_ns();
    Batch batch;
    std::size_t count = 0;
    while (count < std::min(kBatch, waiting_.size()) && waiting_[count].due <= now) {
      std::vector<std::byte>& bytes = waiting_[count].bytes;
      batch.vectors[count] = {bytes.data(), bytes.size()};
      batch.messages[count].msg_hdr.msg_iov = &batch.vectors[count];
      batch.messages[count].msg_hdr.msg_iovlen = 1;
      ++count;
    }
    if (count == 0) return;
    int sent = sendmmsg(to_, batch.messages.data(), static_cast<unsigned>(count), MSG_DONTWAIT);
    if (sent <= 0) {  // the device is down or full: a cable would lose the packet as well
      sent = 1;
      ++dropped_by_device_;
    }
    for (int i = 0; i < sent; ++i) {
      waiting_bytes_ -= waiting_.front().bytes.size();
      waiting_.pop_front();
    }
  }
}

}  // namespace tutti_lab
