// Closing: by us, by the peer, by the end of a transport; what ends with it, and what may start anew after it.
#include <algorithm>

#include "tests/conformance/conformance.h"

namespace tutti::conformance {

TEST_P(Conformance, ClosingGivesEachSideOneClosedEventAndThePeerASentenceThatNamesUs) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  expect_talks(a, *joined.first, b, *joined.second);

  joined.first->link->close(Status(Code::aborted, "the test is done with this link"));
  EXPECT_EQ(a.send(*joined.first, Header{}, {}), SendState::closed);
  ASSERT_TRUE(until([&] { return joined.first->closed && joined.second->closed; }, "closed at both ends"));
  settle();

  // Party refuses a second closed event, and any other after it.
  EXPECT_NE(joined.first->why.text().find("the test is done with this link"), std::string::npos)
      << joined.first->why.text();
  EXPECT_EQ(joined.first->why.code(), Code::aborted);
  EXPECT_TRUE(world_->names(joined.second->why.text(), a.id())) << joined.second->why.text();
  EXPECT_GT(joined.second->why.text().size(), 20u);
  EXPECT_EQ(b.send(*joined.second, Header{}, {}), SendState::closed);
  joined.first->link->close(Status(Code::aborted, "once more"));
  settle();
  a.forget(*joined.first);
  b.forget(*joined.second);
  settle();
}

TEST_P(Conformance, WhatIsPendingEndsWithTheLink) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  const std::size_t bytes = std::min<std::size_t>(1 << 20, frame_bytes_max());

  // b does not poll, so these stay under way.
  for (std::uint64_t k = 0; k < 8; ++k) {
    if (a.send(*joined.first, stream_header(1, k, bytes), stream_payload(1, k, bytes)) == SendState::again) break;
  }
  joined.first->link->close(Status(Code::aborted, "closed with frames under way"));
  ASSERT_TRUE(until([&] { return joined.first->closed && joined.second->closed; }, "closed at both ends"));

  // Party has scribbled over the payloads; whatever came must have been whole before that.
  ASSERT_LE(joined.second->received.size(), joined.first->frames_sent);
  for (std::size_t k = 0; k < joined.second->received.size(); ++k) {
    EXPECT_EQ(joined.second->received[k].index(), k);
    if (joined.second->received[k].complete) expect_frame(*joined.second, k, 1, k, bytes);
  }
  settle();
  a.forget(*joined.first);
  b.forget(*joined.second);
}

TEST_P(Conformance, AfterACloseANewLinkStartsAfresh) {
  Party& a = add();
  Party& b = add();
  for (int round = 0; round < 6; ++round) {
    Party& opener = round % 2 == 0 ? a : b;
    Party& other = round % 2 == 0 ? b : a;
    const auto joined = join(opener, other);
    ASSERT_NE(joined.second, nullptr);
    for (std::uint64_t k = 0; k < 20; ++k) ASSERT_TRUE(send_frame(opener, *joined.first, 1, k, 50 * k));
    ASSERT_TRUE(
        until([&] { return joined.second->received.size() == 20 && joined.second->owes_nothing(); }, "20 frames"));
    for (std::uint64_t k = 0; k < 20; ++k) expect_frame(*joined.second, k, 1, k, 50 * k);
    expect_talks(other, *joined.second, opener, *joined.first);

    Line* const closer = round % 3 == 0 ? joined.first : joined.second;
    closer->link->close(Status(Code::aborted, "round over"));
    ASSERT_TRUE(until([&] { return joined.first->closed && joined.second->closed; }, "closed at both ends"));
    // In every other round the closed links are kept for a while.
    if (round % 2 == 0) {
      opener.forget(*joined.first);
      other.forget(*joined.second);
    }
  }
  for (Party* const party : {&a, &b}) {
    EXPECT_EQ(party->lines().size(), 6u);
    for (const auto& line : party->lines()) {
      if (line->link != nullptr) party->forget(*line);
    }
  }
}

TEST_P(Conformance, ReconnectingAtOnceAfterAClose) {
  Party& a = add();
  Party& b = add();
  for (int round = 0; round < 4; ++round) {
    const auto joined = join(a, b);
    ASSERT_NE(joined.second, nullptr);
    joined.first->link->close(Status(Code::aborted, "and once more"));
    ASSERT_TRUE(until(
        [&] {
          a.poll(world_->now());
          return joined.first->closed;
        },
        "our own closed event"));
    a.forget(*joined.first);

    // b may still hold its end of the old link for open when the new one comes.
    Line* const again = a.connect(b, soon());
    ASSERT_NE(again, nullptr);
    ASSERT_TRUE(until([&] { return again->closed || (again->connected && joined.second->closed); }, "the new link"));
    ASSERT_TRUE(again->open()) << again->why.text();
    ASSERT_TRUE(until([&] { return b.open_line(a.id()) != nullptr; }, "the peer's end of the new link"));
    expect_talks(a, *again, b, *b.open_line(a.id()));
    again->link->close(Status(Code::aborted, "round over"));
    ASSERT_TRUE(until([&] { return again->closed && b.open_line(a.id()) == nullptr; }, "closed at both ends"));
  }
}

TEST_P(Conformance, TheEndOfATransportClosesItsLinksAtThePeers) {
  Party& a = add();
  Party& b = add();
  Party& c = add();
  const auto with_b = join(a, b);
  const auto with_c = join(c, a);
  const auto rest = join(b, c);
  ASSERT_NE(with_b.second, nullptr);
  ASSERT_NE(with_c.second, nullptr);
  ASSERT_NE(rest.second, nullptr);
  const ProcessId gone = a.id();

  destroy(a);
  ASSERT_TRUE(until([&] { return with_b.second->closed && with_c.first->closed; }, "closed at both peers"));
  settle();

  EXPECT_TRUE(world_->names(with_b.second->why.text(), gone)) << with_b.second->why.text();
  EXPECT_TRUE(world_->names(with_c.first->why.text(), gone)) << with_c.first->why.text();
  EXPECT_TRUE(rest.first->open());
  expect_talks(b, *rest.first, c, *rest.second);
  b.forget(*with_b.second);
  c.forget(*with_c.first);
}

TEST_P(Conformance, WhatADrainedLinkHasTakenOutlivesItsSender) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  EXPECT_TRUE(joined.first->link->is_drained());
  const std::size_t most = frame_bytes_max();
  const auto size_of_frame = [&](std::uint64_t k) { return std::min<std::size_t>(k * k * 40, most); };

  for (std::uint64_t k = 0; k < 50; ++k) ASSERT_TRUE(send_frame(a, *joined.first, 1, k, size_of_frame(k)));
  ASSERT_TRUE(until([&] { return joined.first->link->is_drained(); }, "the link to drain"));
  EXPECT_EQ(joined.first->link->under_way().value_or(0), 0u);
  destroy(a);
  ASSERT_TRUE(until([&] { return joined.second->closed; }, "the closed event"));

  ASSERT_EQ(joined.second->received.size(), 50u) << "frames were lost though the link was drained";
  for (std::uint64_t k = 0; k < 50; ++k) expect_frame(*joined.second, k, 1, k, size_of_frame(k));
}

TEST_P(Conformance, HeldDeliveriesStayReadableAfterTheLinkHasClosed) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  b.taste = [](const Line&, const Event&) { return Take::hold; };
  const std::size_t small = std::min<std::size_t>(a.transport().capabilities().copied_bytes_max, 200);

  for (std::uint64_t k = 0; k < 2; ++k) ASSERT_TRUE(send_frame(a, *joined.first, 1, k, small));
  ASSERT_TRUE(until([&] { return at_b->received.size() == 2; }, "two deliveries"));
  destroy(a);
  ASSERT_TRUE(until([&] { return at_b->closed; }, "the closed event"));
  settle();

  // They were copied payloads, so nobody but the transport could have changed them.
  b.release_all(*at_b, true);
  b.forget(*at_b);
}

TEST_P(Conformance, ATransportMayGoWithEverythingUnderWay) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  b.taste = [](const Line& line, const Event&) {
    return line.received.size() % 2 == 0 ? Take::hold : Take::fetch_later;
  };
  const std::size_t bytes = std::min<std::size_t>(300'000, frame_bytes_max());
  for (std::uint64_t k = 0; k < 12; ++k) {
    (void)a.send(*joined.first, stream_header(1, k, bytes), stream_payload(1, k, bytes));
    (void)b.send(*joined.second, stream_header(2, k, bytes), stream_payload(2, k, bytes));
    pump();
  }

  // The receiver goes with deliveries held and sends pending; the other notices and goes on.
  destroy(b);
  ASSERT_TRUE(until([&] { return joined.first->closed; }, "the closed event"));
  EXPECT_TRUE(joined.first->pending.empty());
  a.forget(*joined.first);
  Party& c = add();
  const auto next = join(a, c);
  ASSERT_NE(next.second, nullptr);
  expect_talks(a, *next.first, c, *next.second);
}

}  // namespace tutti::conformance
