// Lending: what is copied once into borrowed memory goes to several peers, who find it unchanged until they release
// it.
#include <algorithm>

#include "tests/conformance/conformance.h"

namespace tutti::conformance {

namespace {

std::size_t lent_frame_bytes(const Transport& transport, std::size_t most) {
  return std::min(most, std::max<std::size_t>(30'000, 2 * transport.capabilities().copied_bytes_max));
}

// All that can be had for such payloads.
std::vector<std::byte*> borrow_all(Transport& transport, const std::vector<std::byte>& payload) {
  std::vector<std::byte*> borrowed;
  while (std::byte* const memory = transport.borrow(payload.data(), payload.size())) {
    borrowed.push_back(memory);
    if (borrowed.size() > 4096) break;
  }
  return borrowed;
}

void scribble(const std::vector<std::byte*>& borrowed, std::size_t bytes) {
  for (std::byte* const memory : borrowed) std::fill(memory, memory + bytes, std::byte{0xee});
}

}  // namespace

TEST_P(Conformance, BorrowedMemoryGoesToSeveralPeersAndMayBeBorrowedAgain) {
  Party& a = add();
  Party& b = add();
  Party& c = add();
  const std::size_t bytes = lent_frame_bytes(a.transport(), frame_bytes_max());
  const auto probe = stream_payload(1, 0, bytes);
  std::vector<std::byte*> borrowed = borrow_all(a.transport(), probe);
  if (borrowed.empty()) GTEST_SKIP() << "this transport lends nothing";
  const std::size_t room = borrowed.size();
  ASSERT_LE(room, 4096u) << "it lends without end";
  const auto to_b = join(a, b);
  const auto to_c = join(a, c);
  ASSERT_NE(to_b.second, nullptr);
  ASSERT_NE(to_c.second, nullptr);
  b.taste = [](const Line& line, const Event&) { return line.held.size() < 4 ? Take::hold : Take::copy; };

  std::uint64_t next = 0;
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t first = next;
    for (std::byte* const memory : borrowed) {
      const auto payload = stream_payload(1, next, bytes);
      std::copy(payload.begin(), payload.end(), memory);
      ASSERT_TRUE(send_from(*to_b.first, 1, next, memory, bytes));
      ASSERT_TRUE(send_from(*to_c.first, 1, next, memory, bytes));
      ++next;
    }
    ASSERT_TRUE(until(
        [&] {
          b.release_all(*to_b.second);
          return to_b.first->pending.empty() && to_c.first->pending.empty() && to_b.second->received.size() == next &&
                 to_c.second->received.size() == next && to_b.second->owes_nothing() && to_c.second->owes_nothing();
        },
        "all frames, and the end of their sends"));
    scribble(borrowed, bytes);
    for (std::byte* const memory : borrowed) a.transport().give_back(memory);
    for (std::uint64_t k = first; k < next; ++k) {
      expect_frame(*to_b.second, k, 1, k, bytes);
      expect_frame(*to_c.second, k, 1, k, bytes);
    }
    borrowed = borrow_all(a.transport(), probe);
    EXPECT_EQ(borrowed.size(), room) << "in round " << round;
  }
  for (std::byte* const memory : borrowed) a.transport().give_back(memory);
}

TEST_P(Conformance, APeerWhoseLinkWasClosedMayGoOnReadingWhatWasBorrowed) {
  Party& a = add();
  Party& b = add();
  const std::size_t bytes = lent_frame_bytes(a.transport(), frame_bytes_max());
  const auto payload = stream_payload(1, 0, bytes);
  std::byte* const memory = a.transport().borrow(payload.data(), bytes);
  if (memory == nullptr) GTEST_SKIP() << "this transport lends nothing";
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  b.taste = [](const Line&, const Event&) { return Take::hold; };
  std::copy(payload.begin(), payload.end(), memory);
  ASSERT_TRUE(send_from(*joined.first, 1, 0, memory, bytes));
  ASSERT_TRUE(until([&] { return joined.second->received.size() == 1; }, "the frame"));

  joined.first->link->close(Status(Code::aborted, "the peer is too slow"));
  ASSERT_TRUE(until([&] { return joined.first->closed && joined.second->closed; }, "both closed events"));
  a.transport().give_back(memory);
  const auto again = borrow_all(a.transport(), payload);
  EXPECT_FALSE(again.empty());
  scribble(again, bytes);

  b.release_all(*joined.second);  // having looked at the data once more
  for (std::byte* const other : again) a.transport().give_back(other);
}

}  // namespace tutti::conformance
