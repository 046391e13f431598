#include "src/engine/address.h"

#include <cstring>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::uint32_t kMagic = 0x31415454;  // "TTA1"
constexpr std::size_t kTextMax = 255;
constexpr std::size_t kReachesMax = 16;
constexpr std::size_t kAddressMax = 4096;

class Writer {
 public:
  void number(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  void text(std::string_view value) {
    number(value.size(), 2);
    for (const char c : value) out.push_back(static_cast<std::byte>(c));
  }
  void blob(std::span<const std::byte> value) {
    number(value.size(), 2);
    out.insert(out.end(), value.begin(), value.end());
  }
  std::vector<std::byte> out;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t number(std::size_t bytes) {
    if (!has(bytes)) return 0;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::to_integer<std::uint64_t>(bytes_[at_ + i]) << (8 * i);
    at_ += bytes;
    return value;
  }
  std::span<const std::byte> blob(std::size_t longest) {
    const std::size_t length = number(2);
    if (length > longest || !has(length)) {
      ok = false;
      return {};
    }
    at_ += length;
    return bytes_.subspan(at_ - length, length);
  }
  std::string text() {
    const auto bytes = blob(kTextMax);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::size_t at() const { return at_; }
  bool ok = true;

 private:
  bool has(std::size_t bytes) {
    if (!ok || bytes_.size() - at_ < bytes) ok = false;
    return ok;
  }
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

}  // namespace

const ProcessAddress::Reach* ProcessAddress::find(std::string_view transport) const {
  for (const Reach& reach : reaches) {
    if (reach.transport == transport) return &reach;
  }
  return nullptr;
}

std::string ProcessAddress::describe() const { return format("{} pid {}", host_name, pid); }

std::vector<std::byte> ProcessAddress::encode() const {
  Writer writer;
  writer.number(kMagic, 4);
  for (const std::uint64_t word : {process.high, process.low, host.high, host.low}) writer.number(word, 8);
  writer.number(pid, 4);
  writer.number(pid_namespace, 8);
  writer.number(cores, 4);
  writer.number(lanes, 4);
  writer.number(has_segment ? 1 : 0, 1);
  writer.text(std::string_view(host_name).substr(0, kTextMax));
  writer.number(reaches.size(), 1);
  for (const Reach& reach : reaches) {
    writer.text(reach.transport);
    writer.blob(reach.address);
  }
  return std::move(writer.out);
}

Result<ProcessAddress> ProcessAddress::decode(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  ProcessAddress address;
  if (reader.number(4) != kMagic)
    return Status(Code::invalid, "a process address does not begin with its mark; another version of Tutti?");
  address.process.high = reader.number(8);
  address.process.low = reader.number(8);
  address.host.high = reader.number(8);
  address.host.low = reader.number(8);
  address.pid = static_cast<std::uint32_t>(reader.number(4));
  address.pid_namespace = reader.number(8);
  address.cores = static_cast<std::uint32_t>(reader.number(4));
  address.lanes = static_cast<std::uint32_t>(reader.number(4));
  address.has_segment = reader.number(1) != 0;
  address.host_name = reader.text();
  const std::size_t reaches = reader.number(1);
  if (reaches > kReachesMax)
    return Status(Code::invalid,
                  format("a process address lists {} transports; the most is {}", reaches, kReachesMax));
  for (std::size_t i = 0; i < reaches && reader.ok; ++i) {
    Reach reach;
    reach.transport = reader.text();
    const auto blob = reader.blob(kAddressMax);
    reach.address.assign(blob.begin(), blob.end());
    address.reaches.push_back(std::move(reach));
  }
  if (!reader.ok)
    return Status(Code::invalid,
                  format("a process address of {} bytes ends or is damaged at byte {}", bytes.size(), reader.at()));
  return address;
}

}  // namespace tutti
