// The recorder's reader and its reports, on any bytes.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "src/diagnosis/recorder_report.h"

// Most random bytes fail at the header, so the file read here is a good header, changed by as many bytes of the input
// as its first byte says, and the rest of the input as tables.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti;
  RecorderHeader header{};
  header.magic = kRecorderMagic;
  header.version = kRecorderVersion;
  header.header_bytes = kRecorderHeaderBytes;
  if (size == 0) return 0;
  const std::size_t changed = std::min<std::size_t>(*data++, --size);
  const std::size_t rest = size - changed;
  header.file_bytes = kRecorderHeaderBytes + rest;
  std::uint64_t offset = kRecorderHeaderBytes;
  const auto place = [&](TableLayout& table, std::size_t share, std::size_t entry_bytes) {
    table = {offset, static_cast<std::uint32_t>(rest / share / entry_bytes), static_cast<std::uint32_t>(entry_bytes)};
    offset += table.entries * entry_bytes;
  };
  place(header.communicators, 5, sizeof(CommunicatorEntry));
  place(header.members, 5, sizeof(MemberEntry));
  place(header.operations, 5, sizeof(OperationEntry));
  place(header.peers, 5, sizeof(PeerEntry));
  place(header.lanes, 5, sizeof(LaneEntry));
  std::string bytes(kRecorderHeaderBytes, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  for (std::size_t i = 0; i < changed; ++i) bytes[i % sizeof header] ^= static_cast<char>(data[i]);
  bytes.append(reinterpret_cast<const char*>(data) + changed, rest);

  const int fd = memfd_create("record", MFD_CLOEXEC);
  if (write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) {
    if (const auto snapshot = read_recorder(fd, "record")) {
      const std::int64_t now_ns = reference_ns(*snapshot, 1000);
      describe_process(*snapshot, now_ns);
      describe_operations(*snapshot, 50, now_ns);
      describe_lanes(*snapshot, 50);
      describe_pending(*snapshot, now_ns);
    }
  }
  close(fd);
  return 0;
}
