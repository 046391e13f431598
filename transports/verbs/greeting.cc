#include "transports/verbs/greeting.h"

#include <algorithm>
#include <utility>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti::verbs {

namespace {

constexpr std::uint64_t kAddressMagic = 0x3156697474755400;  // and the version of what follows
constexpr std::uint32_t kMessageMagic = 0x31565454;
constexpr std::size_t kPathMtuMax = 5;
constexpr std::uint32_t kPacketNumbers = 1u << 24;
constexpr std::uint32_t kQueuePairs = 1u << 24;
constexpr std::uint32_t kUnitBytesMax = 1u << 20;

enum class Tag : std::uint8_t { hello = 1, offer = 2, ready = 3, farewell = 4 };

using Writer = ByteWriter<std::vector<std::byte>>;

void put_text(Writer& out, const std::string& text, std::size_t longest) {
  out.put_counted<std::uint16_t>(std::string_view(text).substr(0, longest));
}

// What is not printable ASCII becomes '?', since the text ends in messages.
std::string get_text(ByteReader& in, std::size_t longest) {
  std::string text = in.get_counted<std::uint16_t>(longest);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

void put_ports(Writer& out, std::span<const PortFacts> ports) {
  out.put(static_cast<std::uint8_t>(ports.size()));
  for (const PortFacts& port : ports) {
    put_text(out, port.name, kNameBytesMax);
    out.put(static_cast<std::uint8_t>(port.layer));
    out.put(static_cast<std::uint8_t>(port.type));
    out.put(std::span<const std::byte>(port.gid.bytes));
  }
}

std::vector<PortFacts> get_ports(ByteReader& in) {
  const std::size_t count = in.get<std::uint8_t>();
  if (count == 0 || count > kPortsMax) in.fail();
  std::vector<PortFacts> ports;
  while (!in.failed() && ports.size() < count) {
    PortFacts port;
    port.name = get_text(in, kNameBytesMax);
    const auto layer = in.get<std::uint8_t>();
    const auto type = in.get<std::uint8_t>();
    if (layer < 1 || layer > 2 || type > 2) in.fail();
    port.layer = static_cast<LinkLayer>(layer);
    port.type = static_cast<GidType>(type);
    const auto gid = in.take(port.gid.bytes.size());
    std::copy(gid.begin(), gid.end(), port.gid.bytes.begin());
    ports.push_back(std::move(port));
  }
  return ports;
}

struct Encoder {
  Writer& out;
  void operator()(const Hello& hello) const {
    out.put(static_cast<std::uint8_t>(Tag::hello));
    out.put(hello.pid);
    put_text(out, hello.host_name, kNameBytesMax);
    out.put(hello.frame_bytes_max);
    put_ports(out, hello.ports);
  }
  void operator()(const Offer& offer) const {
    out.put(static_cast<std::uint8_t>(Tag::offer));
    out.put(offer.queue_pair);
    out.put(offer.first_number);
    out.put(offer.lid);
    out.put(offer.mtu);
    out.put(offer.ring_address);
    out.put(offer.ring_key);
    out.put(offer.ring_unit_bytes);
    out.put(offer.listener);
    out.put(offer.key);
  }
  void operator()(const Ready&) const { out.put(static_cast<std::uint8_t>(Tag::ready)); }
  void operator()(const Farewell& farewell) const {
    out.put(static_cast<std::uint8_t>(Tag::farewell));
    out.put(static_cast<std::uint8_t>(farewell.is_cut_off));
    put_text(out, farewell.reason, kReasonBytesMax);
  }
};

Hello get_hello(ByteReader& in) {
  Hello hello;
  hello.pid = in.get<std::uint32_t>();
  hello.host_name = get_text(in, kNameBytesMax);
  hello.frame_bytes_max = in.get<std::uint64_t>();
  hello.ports = get_ports(in);
  return hello;
}

Offer get_offer(ByteReader& in) {
  Offer offer;
  offer.queue_pair = in.get<std::uint32_t>();
  offer.first_number = in.get<std::uint32_t>();
  offer.lid = in.get<std::uint16_t>();
  offer.mtu = in.get<std::uint8_t>();
  offer.ring_address = in.get<std::uint64_t>();
  offer.ring_key = in.get<std::uint32_t>();
  offer.ring_unit_bytes = in.get<std::uint32_t>();
  offer.listener = in.get<std::uint16_t>();
  offer.key = in.get<std::uint64_t>();
  const bool is_sound = offer.queue_pair < kQueuePairs && offer.first_number < kPacketNumbers && offer.mtu >= 1 &&
                        offer.mtu <= kPathMtuMax && offer.ring_unit_bytes >= 64 &&
                        offer.ring_unit_bytes <= kUnitBytesMax;
  if (!is_sound) in.fail();
  return offer;
}

Farewell get_farewell(ByteReader& in) {
  Farewell farewell;
  const auto is_cut_off = in.get<std::uint8_t>();
  if (is_cut_off > 1) in.fail();
  farewell.is_cut_off = is_cut_off == 1;
  farewell.reason = get_text(in, kReasonBytesMax);
  return farewell;
}

}  // namespace

Result<std::vector<std::byte>> encode(const Address& address) {
  Writer out;
  out.put(kAddressMagic);
  put_ports(out, address.ports);
  out.put(static_cast<std::uint16_t>(address.control.size()));
  out.put(std::span<const std::byte>(address.control));
  if (out.size() > kAddressBytesMax) {
    return Status(
        Code::unsupported,
        format("verbs: the address of {} ports and the control transport has {} bytes; {} are possible. Name "
               "fewer in TUTTI_TCP_INTERFACES or TUTTI_VERBS_DEVICES",
               address.ports.size(), out.size(), kAddressBytesMax));
  }
  return out.take();
}

Result<Address> parse_address(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  Address address;
  if (in.get<std::uint64_t>() != kAddressMagic) in.fail();
  address.ports = get_ports(in);
  const auto control = in.take(in.get<std::uint16_t>());
  address.control.assign(control.begin(), control.end());
  if (!in.is_at_end() || bytes.size() > kAddressBytesMax) {
    return Status(Code::invalid, format("verbs: {} bytes are no address of a process", bytes.size()));
  }
  return address;
}

std::vector<std::byte> encode(const Message& message) {
  Writer out;
  out.put(kMessageMagic);
  std::visit(Encoder{out}, message);
  return out.take();
}

std::optional<Message> parse_message(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  if (in.get<std::uint32_t>() != kMessageMagic) return std::nullopt;
  Message message;
  switch (static_cast<Tag>(in.get<std::uint8_t>())) {
    case Tag::hello:
      message = get_hello(in);
      break;
    case Tag::offer:
      message = get_offer(in);
      break;
    case Tag::ready:
      message = Ready{};
      break;
    case Tag::farewell:
      message = get_farewell(in);
      break;
    default:
      return std::nullopt;
  }
  if (!in.is_at_end()) return std::nullopt;
  return message;
}

// Lane i of equal hosts goes from the i-th port to the i-th; where the i-th of one cannot talk to it, to the next one
// of the other that can.
std::optional<std::pair<std::size_t, std::size_t>> pair_ports(std::span<const PortFacts> first,
                                                              std::span<const PortFacts> second, std::uint32_t lane) {
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (std::size_t turn = 0; turn < second.size(); ++turn) {
    for (std::size_t i = 0; i < first.size(); ++i) {
      const std::size_t j = (i + turn) % second.size();
      const bool is_alike =
          first[i].layer == second[j].layer && first[i].type == second[j].type &&
          first[i].gid.is_ipv4() == second[j].gid.is_ipv4() &&
          (first[i].layer == LinkLayer::ethernet ||
           std::equal(first[i].gid.bytes.begin(), first[i].gid.bytes.begin() + 8, second[j].gid.bytes.begin()));
      if (is_alike) pairs.emplace_back(i, j);
    }
  }
  if (pairs.empty()) return std::nullopt;
  return pairs[lane % pairs.size()];
}

}  // namespace tutti::verbs
