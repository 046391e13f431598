#include "src/state/description.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::string_view kMagic = "TUTTISTA";
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kWhole = 1;
constexpr std::uint8_t kStrict = 2;

void put(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

void put_text(std::string& out, std::string_view text) {
  put(out, text.size(), 4);
  out += text;
}

// Takes values off the front; after the first that is not all there, everything is 0 or empty and good() is false.
class Reader {
 public:
  explicit Reader(std::string_view rest) : rest_(rest) {}

  std::uint64_t number(std::size_t bytes) {
    const std::string_view taken = take(bytes);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < taken.size(); ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(taken[i])) << (8 * i);
    return value;
  }
  std::string_view take(std::size_t bytes) {
    if (bytes > rest_.size()) {
      good_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  std::string_view text() { return take(number(4)); }

  bool good() const { return good_; }
  std::size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
  bool good_ = true;
};

std::string shape_of(const StateDescription::Entry& tensor) {
  return format("{} x {}", tensor.count, name(tensor.type));
}

}  // namespace

std::array<std::byte, StateSummary::kBytes> StateSummary::encode() const {
  std::string text(kMagic);
  put(text, kVersion, 1);
  put(text, (is_whole ? kWhole : 0u) | (is_strict ? kStrict : 0u), 1);
  put(text, revision, 8);
  put(text, host.high, 8);
  put(text, host.low, 8);
  put(text, description_bytes, 8);
  put(text, description.high, 8);
  put(text, description.low, 8);
  std::array<std::byte, kBytes> bytes;
  std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  return bytes;
}

Result<StateSummary> StateSummary::decode(std::span<const std::byte> bytes) {
  Reader reader({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const bool is_one = reader.take(kMagic.size()) == kMagic;
  const std::uint64_t version = reader.number(1);
  const std::uint64_t flags = reader.number(1);
  StateSummary summary;
  summary.revision = reader.number(8);
  summary.host.high = reader.number(8);
  summary.host.low = reader.number(8);
  summary.description_bytes = reader.number(8);
  summary.description.high = reader.number(8);
  summary.description.low = reader.number(8);
  summary.is_whole = (flags & kWhole) != 0;
  summary.is_strict = (flags & kStrict) != 0;
  if (!is_one || !reader.good() || reader.left() > 0)
    return Status(Code::invalid, "has called something else than tutti_state_synchronize");
  if (version != kVersion || flags > (kWhole | kStrict))
    return Status(Code::invalid,
                  format("synchronizes states by version {} of that, not by version {}; all ranks need "
                         "one version of Tutti",
                         version, kVersion));
  constexpr std::uint64_t kDescriptionBytesMax = (Tensors::kTensorsMax + 1) * (Tensors::kNameBytesMax + 16);
  if (summary.description_bytes > kDescriptionBytesMax)
    return Status(Code::invalid, format("says that its tensors' description has {} bytes, which none has",
                                        summary.description_bytes));
  return summary;
}

StateDescription::StateDescription(std::string_view state_name, const Tensors& all) : name(state_name) {
  tensors.reserve(all.all().size());
  for (const auto& [tensor_name, tensor] : all.all()) tensors.push_back({tensor_name, tensor.type, tensor.count});
}

std::string StateDescription::encode() const {
  std::string bytes;
  put_text(bytes, name);
  put(bytes, tensors.size(), 4);
  for (const Entry& tensor : tensors) {
    put(bytes, static_cast<std::uint8_t>(tensor.type), 1);
    put(bytes, tensor.count, 8);
    put_text(bytes, tensor.name);
  }
  return bytes;
}

Result<StateDescription> StateDescription::decode(std::string_view bytes) {
  Reader reader(bytes);
  const auto damaged = [&](const std::string& why) {
    return Status(Code::internal, format("{} bytes that should describe a state do not: {}", bytes.size(), why));
  };
  StateDescription description;
  description.name = reader.text();
  const std::uint64_t count = reader.number(4);
  if (count > Tensors::kTensorsMax) return damaged(format("{} tensors", count));
  for (std::uint64_t i = 0; i < count && reader.good(); ++i) {
    const std::uint64_t type = reader.number(1);
    Entry tensor{.count = reader.number(8)};
    tensor.name = reader.text();
    if (type >= kDataTypes) return damaged(format("type {}", type));
    if (tensor.name.size() > Tensors::kNameBytesMax) return damaged("a name is too long");
    if (!description.tensors.empty() && tensor.name <= description.tensors.back().name)
      return damaged("the names do not ascend");
    tensor.type = static_cast<DataType>(type);
    description.tensors.push_back(std::move(tensor));
  }
  if (!reader.good()) return damaged("they end too early");
  if (reader.left() > 0) return damaged(format("{} stand after the end", reader.left()));
  return description;
}

std::string difference(const StateDescription& first, const std::string& first_rank, const StateDescription& second,
                       const std::string& second_rank) {
  if (first.name != second.name)
    return format("{} synchronizes the state {}, {} the state {}", second_rank, second.name, first_rank, first.name);
  const auto by_name = [](const StateDescription::Entry& a, const StateDescription::Entry& b) {
    return a.name < b.name;
  };
  std::string clause;
  std::size_t more = 0;
  const auto note = [&](std::string text) { clause.empty() ? void(clause = std::move(text)) : void(++more); };
  auto a = first.tensors.begin();
  auto b = second.tensors.begin();
  while (a != first.tensors.end() || b != second.tensors.end()) {
    const bool only_first = b == second.tensors.end() || (a != first.tensors.end() && by_name(*a, *b));
    const bool only_second = !only_first && (a == first.tensors.end() || by_name(*b, *a));
    if (only_first) {
      note(format("{} has no tensor {}, which {} has", second_rank, a->name, first_rank));
    } else if (only_second) {
      note(format("{} has a tensor {}, which {} has not", second_rank, b->name, first_rank));
    } else if (!(*a == *b)) {
      note(format("tensor {} is {} on {}, but {} on {}", a->name, shape_of(*b), second_rank, shape_of(*a),
                  first_rank));
    }
    if (!only_second) ++a;
    if (!only_first) ++b;
  }
  return more == 0 ? clause : format("{} ({} more difference{})", clause, more, more == 1 ? "" : "s");
}

}  // namespace tutti
