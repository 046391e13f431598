// A peer that knows the key but writes nonsense into shared memory and onto the socket: it costs its own link, with a
// sentence, and nothing else. The peer is played by the test, with the transport's own message and memory layouts.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/handshake.h"
#include "src/base/random.h"
#include "tests/transport_shm/node.h"
#include "transports/shm/address.h"
#include "transports/shm/layout.h"
#include "transports/shm/memory.h"
#include "transports/shm/socket.h"

namespace tutti::shm_test {
namespace {

using namespace tutti::shm;

constexpr std::size_t kStaging = std::size_t{4} << 20;

class RawPeer {
 public:
  explicit RawPeer(Node& node) : node_(node) {
    socket_ = std::move(*new_socket());
    const auto address = decode(node.transport->address());
    EXPECT_EQ(connect_socket(socket_, address->socket_name), 0);
    pair = std::move(*create_shared("test-pair", pair_bytes(kStaging), kPageBytes));
    segment = std::move(*create_shared("test-segment", options_for(1).segment_bytes, kPageBytes));
    doorbell = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    offer.type = MessageType::offer;
    offer.sender = ProcessId{{66, 66}};
    offer.target = node.id;
    offer.staging_bytes = kStaging;
    offer.segment_bytes = options_for(1).segment_bytes;
  }

  bool send(const Message& message, std::span<const int> descriptors = {}) {
    return send_message(socket_, message, descriptors) == 0;
  }
  void send_bytes(const std::vector<std::byte>& bytes) {
    (void)::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void hang_up() { socket_.reset(); }

  // The next message from the transport, or one of type 0 when it hangs up.
  Message receive() {
    Message message;
    node_.until([&] {
      node_.poll();
      Received received = receive_message(socket_);
      if (received.state == Received::State::nothing) return false;
      if (received.state == Received::State::message) message = received.message;
      return true;
    });
    return message;
  }

  void prove_key() {
    Handshake handshake(Handshake::Role::client, options_for(1).key, *new_nonce(), "the transport");
    send_text(handshake.take_output());
    const Message answer = receive();
    const auto text = answer.get_text();
    handshake.feed(std::as_bytes(std::span(text.data(), text.size())));
    ASSERT_TRUE(handshake.done()) << handshake.status().text();
    send_text(handshake.take_output());
  }

  void open() {
    prove_key();
    ASSERT_TRUE(send(offer, std::array{pair.descriptor.get(), segment.descriptor.get(), doorbell.get()}));
    ASSERT_EQ(receive().type, MessageType::accept);
    ASSERT_TRUE(node_.until([&] { return !node_.connected.empty(); }));
  }

  Direction& to_node() { return *reinterpret_cast<Direction*>(pair.mapping.base()); }
  Direction& from_node() { return *reinterpret_cast<Direction*>(pair.mapping.base() + kDirectionBytes); }

  // Writes the entry at `position` of what we send.
  void put(std::uint64_t position, FrameKind kind, std::uint64_t slot, std::size_t bytes, std::uint64_t argument) {
    Entry& entry = to_node().entries[position % kEntries];
    entry.argument = argument;
    entry.state.store(pack_state(position, kind, slot, bytes));
  }

  SharedMemory pair;
  SharedMemory segment;
  Descriptor doorbell;
  Message offer;

 private:
  void send_text(const std::vector<std::byte>& bytes) {
    Message message;
    message.type = MessageType::handshake;
    message.set_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    EXPECT_TRUE(send(message));
  }

  Node& node_;
  Descriptor socket_;
};

struct Nonsense {
  const char* name;
  const char* expected;  // in the sentence
  std::function<void(RawPeer&, Node&)> act;
};

void PrintTo(const Nonsense& nonsense, std::ostream* out) { *out << nonsense.name; }

class HostilePeer : public ::testing::TestWithParam<Nonsense> {};

TEST_P(HostilePeer, LosesItsOwnLinkAndNothingElse) {
  Node node(1);
  Node good(2);
  Link* const to_good = node.join(good);
  node.connected.clear();
  RawPeer peer(node);
  peer.open();
  ASSERT_EQ(node.connected.size(), 1u);
  Link* const link = node.connected[0];
  node.on_delivery = [](const Event& event) {
    std::vector<std::byte> target(event.bytes);
    if (!event.data && event.bytes > 0) (void)event.link->fetch(event.token, target.data());
    event.link->release(event.token);
  };

  GetParam().act(peer, node);
  ASSERT_TRUE(node.until([&] { return !node.closed.empty(); }));
  for (int i = 0; i < 600; ++i) node.poll();

  ASSERT_EQ(node.closed.size(), 1u);
  EXPECT_EQ(node.closed[0], link);
  EXPECT_EQ(link->status().code(), Code::peer_lost);
  EXPECT_NE(link->status().text().find(GetParam().expected), std::string::npos) << link->status().text();
  EXPECT_TRUE(to_good->is_open());
  ASSERT_EQ(to_good->send(header_of(1), nullptr, 0, 0), SendState::copied);
  EXPECT_TRUE(good.until([&] { return good.delivered == 1; }));
  node.transport->forget(link);
}

void send_some(Node& node) {
  const std::vector<std::byte> payload(50'000);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(node.connected[0]->send(Header{}, payload.data(), 50'000, 1), SendState::copied);
}

const Nonsense kNonsense[] = {
    {"stamp", "out of turn", [](RawPeer& p, Node&) { p.to_node().entries[0].state = ~std::uint64_t{0}; }},
    {"kind_zero", "kind that does not exist", [](RawPeer& p, Node&) { p.put(0, FrameKind{0}, 0, 8, 0); }},
    {"kind_unused", "kind that does not exist", [](RawPeer& p, Node&) { p.put(0, FrameKind{15}, 0, 8, 0); }},
    {"too_long", "longer than frames can be",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::staged, 0, kFrameBytesMax + 1, 0); }},
    {"entry_too_long", "longer than its entry", [](RawPeer& p, Node&) { p.put(0, FrameKind::in_entry, 0, 9, 0); }},
    {"inline_outside", "outside the inline area",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::in_area, 0, 100, kInlineAreaBytes - 99); }},
    {"inline_far_outside", "outside the inline area",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::in_area, 0, 100, ~std::uint64_t{0} - 50); }},
    {"staged_outside", "outside the staging area",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::staged, 0, kFrameBytesMax, kStagingSlots - 1); }},
    {"staged_far_outside", "outside the staging area",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::staged, 0, 1, ~std::uint64_t{0}); }},
    {"slot_outside", "slot is in use", [](RawPeer& p, Node&) { p.put(0, FrameKind::staged, kSlots, 1, 0); }},
    {"slot_in_use", "slot is in use",
     [](RawPeer& p, Node& node) {
       node.on_delivery = [](const Event&) {};  // held
       p.put(0, FrameKind::staged, 3, 1, 0);
       p.put(1, FrameKind::staged, 3, 1, 0);
     }},
    {"region_unknown", "outside the memory regions",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::in_region, 0, 5000, std::uint64_t{5} << kRegionShift); }},
    {"region_outside", "outside the memory regions",
     [](RawPeer& p, Node&) {
       const auto memory = create_shared("test-region", 8192, 8192);
       Message message;
       message.type = MessageType::region;
       message.region = 1;
       message.region_bytes = 8192;
       p.send(message, std::array{memory->descriptor.get()});
       p.put(0, FrameKind::in_region, 0, 5000, std::uint64_t{1} << kRegionShift | 4000);
     }},
    {"region_longer_than_its_file", "but the file sent has 8192",
     [](RawPeer& p, Node&) {
       const auto memory = create_shared("test-region", 8192, 8192);
       Message message;
       message.type = MessageType::region;
       message.region = 1;
       message.region_bytes = 16384;
       p.send(message, std::array{memory->descriptor.get()});
     }},
    {"region_not_sealed", "not sealed",
     [](RawPeer& p, Node&) {
       const Descriptor memory(memfd_create("test-open", MFD_CLOEXEC));
       ASSERT_EQ(ftruncate(memory.get(), 8192), 0);
       Message message;
       message.type = MessageType::region;
       message.region = 1;
       message.region_bytes = 8192;
       p.send(message, std::array{memory.get()});
     }},
    {"region_without_descriptor", "region that is not possible",
     [](RawPeer& p, Node&) {
       Message message;
       message.type = MessageType::region;
       message.region = 1;
       p.send(message);
     }},
    {"region_gone_unknown", "never announced",
     [](RawPeer& p, Node&) {
       Message message;
       message.type = MessageType::region_gone;
       message.region = 77;
       p.send(message);
     }},
    {"memory_that_cannot_be_read", "said it cannot read",
     [](RawPeer& p, Node&) { p.put(0, FrameKind::cross_memory, 0, 5000, 4096); }},
    {"consumed_too_much", "consumed frames that is not possible",
     [](RawPeer& p, Node& node) {
       p.from_node().consumed = 1'000'000;
       for (int i = 0; i < 1000 && node.connected[0]->send(Header{}, nullptr, 0, 0) == SendState::copied; ++i) {
       }
     }},
    {"acknowledged_unsent", "was not sent",
     [](RawPeer& p, Node& node) {
       send_some(node);
       p.from_node().acknowledgements[0] = std::uint64_t{1} << 32 | 200;
     }},
    {"acknowledged_twice", "was not sent",
     [](RawPeer& p, Node& node) {
       send_some(node);
       p.from_node().acknowledgements[0] = std::uint64_t{1} << 32;
       p.from_node().acknowledgements[1] = std::uint64_t{1} << 32;
     }},
    {"acknowledged_out_of_turn", "acknowledgement out of turn",
     [](RawPeer& p, Node& node) {
       send_some(node);
       p.from_node().acknowledgements[0] = std::uint64_t{9} << 32;
     }},
    {"message_of_set_up", "does not belong on an open link", [](RawPeer& p, Node&) { p.send(p.offer); }},
    {"message_of_no_type", "does not belong on an open link",
     [](RawPeer& p, Node&) {
       Message message;
       message.type = MessageType{4711};
       p.send(message);
     }},
    {"packet_of_another_size", "broke the protocol",
     [](RawPeer& p, Node&) { p.send_bytes(std::vector<std::byte>(17)); }},
    {"hangs_up", "its connection closed", [](RawPeer& p, Node&) { p.hang_up(); }},
};

INSTANTIATE_TEST_SUITE_P(Nonsense, HostilePeer, ::testing::ValuesIn(kNonsense),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(HostilePeerMemory, RandomBytesAnywhereNeverDoMoreThanCloseTheLink) {
  Random random(20261121);
  const int rounds = std::getenv("TUTTI_TEST_LONG") ? 2000 : 60;
  for (int round = 0; round < rounds; ++round) {
    Node node(1);
    RawPeer peer(node);
    peer.open();
    Link* const link = node.connected[0];
    std::vector<Event> held;
    node.on_delivery = [&](const Event& event) {
      std::uint64_t sum = 0;  // every byte that is offered must be there
      for (std::size_t i = 0; event.data && i < event.bytes; ++i) sum += static_cast<std::uint64_t>(event.data[i]);
      if (sum % 2 == 0 && !event.transient) {
        held.push_back(event);
      } else {
        event.link->release(event.token);
      }
    };
    std::uint64_t position = 0;
    for (int step = 0; step < 200 && node.closed.empty(); ++step) {
      const std::uint64_t choice = random.below(10);
      if (choice < 6) {
        // Well formed at first sight, so that it gets further.
        const auto kind = static_cast<FrameKind>(1 + random.below(4));
        peer.put(position++, kind, random.below(kSlots + 2), random.below(random.chance(0.1) ? 1 << 24 : 9),
                 random.below(random.chance(0.2) ? ~std::uint64_t{0} : 64));
      } else if (choice < 8) {
        const std::vector<std::byte> payload(1 + random.below(100'000));
        (void)link->send(Header{}, payload.data(), payload.size(), 1);
      } else {
        auto* const words = reinterpret_cast<std::atomic<std::uint64_t>*>(peer.pair.mapping.base());
        words[random.below(2 * kDirectionBytes / 8)] = random.chance(0.5) ? random.next() : random.below(300);
      }
      node.poll();
    }
    for (const Event& event : held) event.link->release(event.token);
    link->close(Status(Code::aborted, "round over"));
    ASSERT_TRUE(node.until([&] { return !node.closed.empty(); }));
    for (int i = 0; i < 10; ++i) node.poll();
    ASSERT_EQ(node.closed.size(), 1u);
  }
}

class HostileOffer : public ::testing::Test {
 protected:
  // Makes an offer after `spoil` and expects it to be refused with a sentence, and no event.
  void expect_refused(const std::function<std::vector<int>(RawPeer&)>& spoil, const std::string& expected) {
    Node node(1);
    RawPeer peer(node);
    peer.prove_key();
    const std::vector<int> descriptors = spoil(peer);
    ASSERT_TRUE(peer.send(peer.offer, descriptors));
    const Message answer = peer.receive();
    EXPECT_EQ(answer.type, MessageType::refuse);
    EXPECT_NE(answer.get_text().find(expected), std::string::npos) << answer.get_text();
    for (int i = 0; i < 600; ++i) node.poll();
    EXPECT_TRUE(node.connected.empty());
    EXPECT_TRUE(node.closed.empty());
    EXPECT_TRUE(node.has_logged(expected));
  }
  static std::vector<int> usual(const RawPeer& peer) {
    return {peer.pair.descriptor.get(), peer.segment.descriptor.get(), peer.doorbell.get()};
  }
};

TEST_F(HostileOffer, IsRefusedWithASentence) {
  expect_refused([](RawPeer& p) { return std::vector{p.pair.descriptor.get()}; }, "not possible");
  expect_refused(
      [](RawPeer& p) {
        p.offer.staging_bytes = std::size_t{1} << 62;
        return usual(p);
      },
      "not possible");
  expect_refused(
      [](RawPeer& p) {
        p.offer.staging_bytes = 2 * kStaging;  // more than the memory that is sent
        return usual(p);
      },
      "but the file sent has");
  expect_refused(
      [](RawPeer& p) {
        p.offer.target = ProcessId{{5, 5}};
        return usual(p);
      },
      "is looking for process");
  expect_refused(
      [](RawPeer& p) {
        p.offer.segment_bytes /= 2;
        return usual(p);
      },
      "give both the same size");
  expect_refused(
      [](RawPeer& p) {
        p.doorbell = Descriptor(eventfd(0, EFD_CLOEXEC));
        return usual(p);
      },
      "would block");
  expect_refused(
      [](RawPeer& p) {
        p.segment.descriptor = Descriptor(memfd_create("test-open", MFD_CLOEXEC));
        EXPECT_EQ(ftruncate(p.segment.descriptor.get(), static_cast<off_t>(p.offer.segment_bytes)), 0);
        return usual(p);
      },
      "not sealed");
}

TEST(HostileListener, ThatHangsUpBeforeTheOfferIsALostPeer) {
  // Given a process that answers the handshake and ends before it is told anything
  Node node(1);
  std::string name;
  const auto listener = listen_socket(name);
  ASSERT_TRUE(listener.is_ok()) << listener.status().text();
  auto address = *decode(node.transport->address());
  address.process = ProcessId{{66, 66}};
  address.socket_name = name;
  Link* const link = node.connect(address.process, encode(address));
  Descriptor socket;
  ASSERT_TRUE(node.until([&] {
    socket = Descriptor(accept4(listener->get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return socket.get() >= 0;
  }));
  Handshake handshake(Handshake::Role::server, options_for(1).key, *new_nonce(), "the transport");
  Received hello;
  ASSERT_TRUE(node.until([&] {
    hello = receive_message(socket);
    return hello.state == Received::State::message;
  }));
  handshake.feed(std::as_bytes(std::span(hello.message.get_text())));
  Message answer;
  answer.type = MessageType::handshake;
  const std::vector<std::byte> output = handshake.take_output();
  answer.set_text({reinterpret_cast<const char*>(output.data()), output.size()});

  // When its answer and its end come together
  ASSERT_EQ(send_message(socket, answer), 0);
  socket.reset();

  // Then the link ends as every link to a process that has ended
  ASSERT_TRUE(node.until([&] { return !node.closed.empty(); }));
  EXPECT_EQ(link->status().code(), Code::peer_lost) << link->status().text();
  EXPECT_NE(link->status().text().find("its connection closed"), std::string::npos) << link->status().text();
}

TEST(HostileStranger, IsSentAwayWhateverItSays) {
  Random random(5);
  Node node(1);
  for (int round = 0; round < 200; ++round) {
    RawPeer peer(node);
    if (round % 3 == 0) {
      std::vector<std::byte> bytes(1 + random.below(1000));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
      peer.send_bytes(bytes);
    } else {
      Message message;
      message.type = static_cast<MessageType>(random.below(12));
      message.text_bytes = static_cast<std::uint32_t>(random.below(~std::uint32_t{0}));
      for (char& c : message.text) c = static_cast<char>(random.next());
      peer.send(message, std::array{peer.doorbell.get(), peer.pair.descriptor.get()});
    }
    const Message answer = peer.receive();
    EXPECT_NE(answer.type, MessageType::accept);
  }
  EXPECT_TRUE(node.connected.empty());
  EXPECT_TRUE(node.closed.empty());
  Node good(2);
  node.join(good);
}

}  // namespace
}  // namespace tutti::shm_test
