// What a process on a fabric says: addresses, greetings and farewells over the control connection, heads, and
// messages to a port, of which the input is a script. Whatever comes, a port writes only to targets that were fetched
// to and not finished, and ends each fetch and each send at most once.
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "src/base/bytes.h"
#include "tests/fuzz/check.h"
#include "transports/fabric/chunk_port.h"
#include "transports/fabric/words.h"

namespace {

using namespace tutti;
using namespace tutti::fabric;

constexpr std::uint64_t kKey = 0x0102030405060708;
constexpr std::size_t kChunkBytes = 16;
constexpr std::size_t kTargetBytesMax = 4096;
constexpr std::byte kCanary{0x5a};

struct Target {
  std::vector<std::byte> memory;
  std::size_t bytes = 0;
};

class ScriptedWire final : public ChunkWire {
 public:
  void take(std::span<const std::byte> bytes) {
    if (ChunkPort* const port = addressee(bytes); port != nullptr) port->hear(bytes, user());
  }
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return true; }

 private:
  std::unique_ptr<ChunkPort> make_port(PortUser&, std::uint64_t) override { return nullptr; }
  std::size_t move() override { return 0; }
};

class ScriptedPort final : public ChunkPort, private PortUser, private WireUser {
 public:
  explicit ScriptedPort(ScriptedWire& wire) : ChunkPort(wire, *this, kKey, {}, kChunkBytes) {
    wire.set_user(*this);
    greet(kKey);
  }
  ~ScriptedPort() override {
    for (const Message& offer : offers) give_back(offer);
    close();
  }

  Status connect(std::span<const std::byte>) override { return {}; }
  bool is_closed() const override { return is_closing(); }
  bool is_broken() const { return has_failed(); }

  void fetch_one() {
    if (offers.empty()) return;
    const Message offer = offers.back();
    offers.pop_back();
    const std::uint64_t token = next_token++;
    Target& target = targets[token];
    target.bytes = offer.bytes;
    target.memory.assign(offer.bytes + 2, kCanary);
    fetch(offer, target.memory.data() + 1, token);
  }
  void decline_one() {
    if (offers.empty()) return;
    const Message offer = offers.back();
    offers.pop_back();
    give_back(offer);
  }
  void send_one(std::size_t bytes) {
    Head head;
    head.bytes = bytes;
    if (send_large(head, body, bytes, next_token)) sending.insert(next_token);
    ++next_token;
  }

  bool has_room_now = true;

 private:
  bool say(std::span<const std::byte>, const std::byte*, std::size_t) override { return has_room_now; }
  bool say_in_place(std::span<const std::byte>, const std::byte* from, std::size_t bytes,
                    std::uint64_t number) override {
    FUZZ_CHECK(from >= body && from + bytes <= body + sizeof body);
    if (has_room_now) said(number);
    return has_room_now;
  }
  void let_go() override {}
  void on_message(const Message& message) override {
    FUZZ_CHECK(message.is_large == (message.handle != nullptr));
    if (!message.is_large) return;
    message.bytes <= kTargetBytesMax ? offers.push_back(message) : give_back(message);
  }
  void on_sent(std::uint64_t cookie) override { FUZZ_CHECK(sending.erase(cookie) == 1); }
  void on_fetched(std::uint64_t token) override {
    const Target& target = targets.at(token);
    FUZZ_CHECK(target.memory.front() == kCanary && target.memory.back() == kCanary);
    targets.erase(token);
  }
  void on_failed(const std::string& words) override { FUZZ_CHECK(!words.empty()); }
  static void give_back(const Message& message) { PullPort::give_back(message); }

  std::vector<Message> offers;
  std::map<std::uint64_t, Target> targets;
  std::set<std::uint64_t> sending;
  std::uint64_t next_token = 1;
  std::byte body[256] = {};
};

template <typename Words>
void check_again(const Result<Words>& parsed, Result<Words> (*parse)(std::span<const std::byte>)) {
  if (!parsed) {
    FUZZ_CHECK(!parsed.status().text().empty());
    return;
  }
  const auto again = parse(encode(*parsed));
  FUZZ_CHECK(again && *again == *parsed);
}

void play(std::span<const std::byte> script) {
  ScriptedWire wire;
  ScriptedPort port(wire);
  ByteReader in(script);
  while (!in.failed() && in.left() > 0 && !port.is_broken()) {
    const auto what = in.get<std::uint8_t>();
    const auto size = in.get<std::uint8_t>();
    switch (what % 6) {
      case 0: {  // what comes, with the right key
        const auto rest = in.take(size);
        std::vector<std::byte> message(sizeof kKey + rest.size());
        store_little_endian(message.data(), kKey);
        if (!rest.empty()) std::memcpy(message.data() + sizeof kKey, rest.data(), rest.size());
        wire.take(message);
        break;
      }
      case 1:
        wire.take(in.take(size));
        break;
      case 2:
        port.fetch_one();
        break;
      case 3:
        port.decline_one();
        break;
      case 4:
        port.send_one(size);
        break;
      case 5:
        port.has_room_now = size % 2 == 0;
        wire.progress();
        static_cast<void>(port.flush());
        break;
    }
  }
  wire.progress();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  check_again(parse_address(bytes), &parse_address);
  check_again(parse_greeting(bytes), &parse_greeting);
  check_again(parse_farewell(bytes), &parse_farewell);
  if (const auto head = parse_head(bytes)) {
    std::array<std::byte, kHeadBytes> again;
    encode(*head, again.data());
    FUZZ_CHECK(std::memcmp(again.data(), bytes.data(), again.size()) == 0);
  }
  play(bytes);
  return 0;
}
