#include "src/membership/agreement_messages.h"

#include <algorithm>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::uint8_t kVersion = 1;

bool has_ballot(AgreementKind kind) { return kind >= AgreementKind::prepare && kind <= AgreementKind::refused; }

bool has_value(AgreementKind kind) {
  return kind == AgreementKind::contribution || kind == AgreementKind::promise || kind == AgreementKind::accept ||
         kind == AgreementKind::decided;
}

// Of a request, the ballot is the sender's own; of an answer, the receiver's.
bool is_request(AgreementKind kind) { return kind == AgreementKind::prepare || kind == AgreementKind::accept; }

// What is wrong with a message whose fields are all there; empty: nothing.
std::string wrong(const AgreementMessage& message, std::uint32_t members, std::uint32_t from, std::uint32_t to) {
  if (message.dead.contains(to)) return format("it says that member {}, which reads it, is dead", to);
  if (message.dead.contains(from)) return "it says that its sender is dead";
  if (!has_ballot(message.kind)) return {};
  const Ballot ballot = message.ballot;
  if (ballot == 0 || ballot > kBallotMax) return format("ballot {} is not between 1 and {}", ballot, kBallotMax);
  const std::uint32_t owner = is_request(message.kind) ? from : to;
  if ((ballot - 1) % members != owner) {
    return format("ballot {} belongs to member {}, not to member {}", ballot, (ballot - 1) % members, owner);
  }
  if (message.kind == AgreementKind::promise) {
    if (message.accepted >= ballot) {
      return format("ballot {} cannot have been accepted before ballot {}", message.accepted, ballot);
    }
    if (message.accepted == 0 && !message.value.empty()) return "it has a value that no ballot brought";
  }
  if (message.kind == AgreementKind::refused && (message.promised <= ballot || message.promised > kBallotMax)) {
    return format("a promise to ballot {} does not stand against ballot {}", message.promised, ballot);
  }
  return {};
}

}  // namespace

std::string encode(const AgreementFrame& frame, const AgreementMessage& message) {
  ByteWriter<std::string> out;
  out.put(kVersion);
  out.put(static_cast<std::uint8_t>(message.kind));
  out.put(frame.tag);
  for (std::uint32_t first = 0; first < frame.members; first += 8) {
    std::uint8_t bits = 0;
    for (std::uint32_t member = first; member < std::min(first + 8, frame.members); ++member) {
      if (message.dead.contains(member)) bits = static_cast<std::uint8_t>(bits | 1u << (member - first));
    }
    out.put(bits);
  }
  if (has_ballot(message.kind)) out.put(message.ballot);
  if (message.kind == AgreementKind::promise) out.put(message.accepted);
  if (message.kind == AgreementKind::refused) out.put(message.promised);
  if (has_value(message.kind)) out.put_counted<std::uint32_t>(message.value);
  return out.take();
}

Result<AgreementMessage> decode(const AgreementFrame& frame, std::uint32_t from, std::uint32_t to,
                                std::span<const std::byte> bytes) {
  const auto refuse = [&](const std::string& why) {
    return Status(
        Code::invalid,
        format("an agreement message of {} bytes from member {} was not taken: {}", bytes.size(), from, why),
        static_cast<int>(from));
  };
  ByteReader reader(bytes);
  const auto version = reader.get<std::uint8_t>();
  const auto kind = reader.get<std::uint8_t>();
  const auto tag = reader.get<std::uint64_t>();
  if (reader.failed()) return refuse("it ends within its header");
  if (version != kVersion) return refuse(format("its version is {}, not {}", version, kVersion));
  if (tag != frame.tag) return refuse(format("it belongs to agreement {:x}, this is {:x}", tag, frame.tag));
  if (kind < 1 || kind > static_cast<std::uint8_t>(AgreementKind::decided)) {
    return refuse(format("there is no kind {}", kind));
  }
  AgreementMessage message{.kind = static_cast<AgreementKind>(kind), .dead = MemberSet(frame.members)};
  const auto dead = reader.take((frame.members + 7) / 8);
  for (std::uint32_t bit = 0; bit < 8 * dead.size(); ++bit) {
    if ((std::to_integer<unsigned>(dead[bit / 8]) >> (bit % 8) & 1) == 0) continue;
    if (bit >= frame.members) return refuse(format("member {} is not among the {}", bit, frame.members));
    message.dead.add(bit);
  }
  if (has_ballot(message.kind)) message.ballot = reader.get<Ballot>();
  if (message.kind == AgreementKind::promise) message.accepted = reader.get<Ballot>();
  if (message.kind == AgreementKind::refused) message.promised = reader.get<Ballot>();
  if (has_value(message.kind)) {
    const auto length = reader.get<std::uint32_t>();
    if (length > kAgreementValueBytes) {
      return refuse(format("its value has {} bytes; at most {} are allowed", length, kAgreementValueBytes));
    }
    const auto value = reader.take(length);
    message.value.assign(reinterpret_cast<const char*>(value.data()), value.size());
  }
  if (reader.failed()) return refuse("it ends within its fields");
  if (reader.left() > 0) return refuse(format("{} bytes stand after its end", reader.left()));
  if (const std::string why = wrong(message, frame.members, from, to); !why.empty()) return refuse(why);
  return message;
}

}  // namespace tutti
