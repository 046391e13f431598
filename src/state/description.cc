#include "src/state/description.h"

#include <algorithm>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::string_view kMagic = "TUTTISTA";
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kWhole = 1;
constexpr std::uint8_t kStrict = 2;

std::string shape_of(const StateDescription::Entry& tensor) {
  return format("{} x {}", tensor.count, name(tensor.type));
}

}  // namespace

std::array<std::byte, StateSummary::kBytes> StateSummary::encode() const {
  ByteWriter<std::vector<std::byte>> out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(static_cast<std::uint8_t>((is_whole ? kWhole : 0u) | (is_strict ? kStrict : 0u)));
  out.put(revision);
  out.put(host.high);
  out.put(host.low);
  out.put(description_bytes);
  out.put(description.high);
  out.put(description.low);
  std::array<std::byte, kBytes> bytes;
  std::ranges::copy(out.take(), bytes.begin());
  return bytes;
}

Result<StateSummary> StateSummary::decode(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const bool is_one = std::ranges::equal(reader.take(kMagic.size()), std::as_bytes(std::span(kMagic)));
  const auto version = reader.get<std::uint8_t>();
  const auto flags = reader.get<std::uint8_t>();
  StateSummary summary;
  summary.revision = reader.get<std::uint64_t>();
  summary.host.high = reader.get<std::uint64_t>();
  summary.host.low = reader.get<std::uint64_t>();
  summary.description_bytes = reader.get<std::uint64_t>();
  summary.description.high = reader.get<std::uint64_t>();
  summary.description.low = reader.get<std::uint64_t>();
  summary.is_whole = (flags & kWhole) != 0;
  summary.is_strict = (flags & kStrict) != 0;
  if (!is_one || !reader.is_at_end())
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
  ByteWriter<std::string> out;
  out.put_counted<std::uint32_t>(name);
  out.put(static_cast<std::uint32_t>(tensors.size()));
  for (const Entry& tensor : tensors) {
    out.put(static_cast<std::uint8_t>(tensor.type));
    out.put(tensor.count);
    out.put_counted<std::uint32_t>(tensor.name);
  }
  return out.take();
}

Result<StateDescription> StateDescription::decode(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto damaged = [&](const std::string& why) {
    return Status(Code::internal, format("{} bytes that should describe a state do not: {}", bytes.size(), why));
  };
  StateDescription description;
  description.name = reader.get_counted<std::uint32_t>(Tensors::kNameBytesMax);
  const auto count = reader.get<std::uint32_t>();
  if (count > Tensors::kTensorsMax) return damaged(format("{} tensors", count));
  for (std::uint32_t i = 0; i < count && !reader.failed(); ++i) {
    const auto type = reader.get<std::uint8_t>();
    Entry tensor{.count = reader.get<std::uint64_t>()};
    tensor.name = reader.get_counted<std::uint32_t>(Tensors::kNameBytesMax);
    if (type >= kDataTypes) return damaged(format("type {}", type));
    if (!description.tensors.empty() && tensor.name <= description.tensors.back().name)
      return damaged("the names do not ascend");
    tensor.type = static_cast<DataType>(type);
    description.tensors.push_back(std::move(tensor));
  }
  if (!reader.is_at_end()) return damaged("a length in them does not fit");
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
