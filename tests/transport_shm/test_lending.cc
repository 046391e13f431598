// Memory that the transport lends: for what payloads, how much of it, and what becomes of it when a link ends.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/transport_shm/node.h"
#include "transports/shm/layout.h"
#include "transports/shm/lending.h"

namespace tutti::shm_test {
namespace {

constexpr std::size_t kBytes = 128 << 10;

std::vector<std::byte*> borrow_all(Node& node, const std::vector<std::byte>& payload) {
  std::vector<std::byte*> borrowed;
  while (std::byte* const memory = node.transport->borrow(payload.data(), payload.size())) borrowed.push_back(memory);
  return borrowed;
}

TEST(ShmLending, LendsABoundedAmountThatPeersReadInPlace) {
  Node a(1);
  Node b(2);
  Node c(3);
  Link* const links[] = {a.join(b), a.join(c)};
  const std::vector<std::byte> payload(kBytes, std::byte{5});
  std::vector<Event> held;
  b.on_delivery = c.on_delivery = [&](const Event& event) { held.push_back(event); };

  const auto borrowed = borrow_all(a, payload);
  EXPECT_EQ(borrowed.size(), shm::kLentBytes / kBytes);
  std::memcpy(borrowed[1], payload.data(), kBytes);
  for (Link* const link : links) ASSERT_EQ(link->send(header_of(1), borrowed[1], kBytes, 9), SendState::pending);
  ASSERT_TRUE(a.until([&] {
    b.poll();
    c.poll();
    return held.size() == 2;
  }));
  for (const Event& event : held) {
    EXPECT_TRUE(event.in_place);
    EXPECT_EQ(std::memcmp(event.data, payload.data(), kBytes), 0);
    event.link->release(event.token);
  }
  ASSERT_TRUE(a.until([&] { return a.sent == 2; }));

  for (std::byte* const memory : borrowed) a.transport->give_back(memory);
  EXPECT_EQ(borrow_all(a, payload), borrowed) << "what has come back is not lent again";
}

TEST(ShmLending, OnlyForWhatWouldBeCopiedThroughStaging) {
  Node a(1);
  const std::vector<std::byte> payload(kBytes);
  EXPECT_EQ(a.transport->borrow(payload.data(), shm::kInlineBytesMax), nullptr);
  EXPECT_NE(a.transport->borrow(payload.data(), shm::kInlineBytesMax + 1), nullptr);
  std::byte* const in_place = *a.regions.allocate(2 * kBytes);
  EXPECT_EQ(a.transport->borrow(in_place, kBytes), nullptr);
  EXPECT_EQ(a.transport->borrow(payload.data(), shm::kLentBytes + 1), nullptr);

  ShmOptions options = options_for(2);
  options.copy_mode = ShmCopyMode::cross_memory;
  Node reader(std::move(options));
  EXPECT_EQ(reader.transport->borrow(payload.data(), kBytes), nullptr);
}

TEST(ShmLending, NothingIsAllocatedBeforeItIsNeededAndAllIsFreedWithTheTransport) {
  Node a(1);
  const std::uint64_t before = a.regions.serial();
  const std::vector<std::byte> payload(kBytes);
  std::byte* const memory = a.transport->borrow(payload.data(), kBytes);
  ASSERT_NE(memory, nullptr);
  EXPECT_TRUE(a.regions.find(memory, kBytes).has_value());
  a.transport->give_back(memory);
  EXPECT_EQ(a.regions.serial(), before);  // kept for the next one
  a.transport.reset();
  EXPECT_FALSE(a.regions.find(memory, kBytes).has_value());
}

// b is stopped, say, while it holds the frame: what a lends to others from then on must not show there.
TEST(ShmLending, WhatALinkThatEndedHadNotHadReadIsNotWrittenAgain) {
  Node a(1);
  Node b(2);
  Link* const link = a.join(b);
  const std::vector<std::byte> payload(kBytes, std::byte{5});
  std::vector<Event> held;
  b.on_delivery = [&](const Event& event) { held.push_back(event); };
  const auto borrowed = borrow_all(a, payload);
  std::memcpy(borrowed[0], payload.data(), kBytes);
  ASSERT_EQ(link->send(header_of(1), borrowed[0], kBytes, 9), SendState::pending);
  ASSERT_TRUE(a.until([&] { return b.poll() > 0 && held.size() == 1; }));

  link->close(Status(Code::aborted, "silent for too long"));
  EXPECT_TRUE(a.regions.find(borrowed[0], kBytes).has_value());  // others may still read the rest
  for (std::byte* const memory : borrowed) a.transport->give_back(memory);
  const auto again = borrow_all(a, payload);
  EXPECT_EQ(again.size(), borrowed.size());
  for (std::byte* const memory : again) std::memset(memory, 0xee, kBytes);

  EXPECT_EQ(std::memcmp(held[0].data, payload.data(), kBytes), 0);
  ASSERT_TRUE(b.until([&] {
    a.poll();
    return b.closed.size() == 1;
  }));
  b.closed[0]->release(held[0].token);
}

// As what is staged does: whoever has sent it need not wait for a receiver that comes late.
TEST(ShmLending, WhatWasSentArrivesThoughItsSenderHasEnded) {
  Node b(2);
  std::vector<std::byte> got;
  b.on_delivery = [&](const Event& event) {
    got.assign(event.data, event.data + event.bytes);
    event.link->release(event.token);
  };
  const std::vector<std::byte> payload(kBytes, std::byte{5});
  {
    Node a(1);
    Link* const link = a.join(b);
    std::byte* const memory = a.transport->borrow(payload.data(), kBytes);
    std::memcpy(memory, payload.data(), kBytes);
    ASSERT_EQ(link->send(header_of(1), memory, kBytes, 9), SendState::pending);
    EXPECT_TRUE(link->is_drained());
  }
  ASSERT_TRUE(b.until([&] { return b.closed.size() == 1; }));
  EXPECT_EQ(got, payload);
}

// What is the caller's is its own again once the link is closed, whatever else is under way.
TEST(ShmLending, DoesNotBringWhatLiesInTheCallersMemoryAfterTheEnd) {
  Node a(1);
  Node b(2);
  Link* const link = a.join(b);
  const std::vector<std::byte> payload(kBytes, std::byte{5});
  std::byte* const lent = a.transport->borrow(payload.data(), kBytes);
  std::byte* const own = *a.regions.allocate(kBytes);
  ASSERT_EQ(link->send(header_of(1), lent, kBytes, 9), SendState::pending);
  ASSERT_EQ(link->send(header_of(2), own, kBytes, 10), SendState::pending);
  EXPECT_FALSE(link->is_drained());
  link->close(Status(Code::aborted, "changed its mind"));
  std::memset(own, 0xee, kBytes);
  ASSERT_TRUE(b.until([&] { return b.closed.size() == 1; }));
  EXPECT_EQ(b.delivered, 0u);
}

}  // namespace
}  // namespace tutti::shm_test
