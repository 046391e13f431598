// The recorder's reader and its reports, on any bytes.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "src/diagnosis/recorder_report.h"

// Most random bytes fail at the header, so inputs are a small file's header laid over with the input's first bytes,
// then the input's rest.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tutti;
  RecorderHeader header{};
  header.magic = kRecorderMagic;
  header.version = kRecorderVersion;
  header.header_bytes = kRecorderHeaderBytes;
  const std::size_t changed = size < 2 ? 0 : data[0] % size;
  const std::size_t rest = size - changed;
  header.file_bytes = kRecorderHeaderBytes + rest;
  std::uint64_t offset = kRecorderHeaderBytes;
  const auto place = [&](TableLayout& table, std::size_t share, std::size_t entry_bytes) {
    table = {offset, static_cast<std::uint32_t>(rest / share / entry_bytes), static_cast<std::uint32_t>(entry_bytes)};
    offset += table.entries * entry_bytes;
  };
  place(header.communicators, 4, sizeof(CommunicatorEntry));
  place(header.members, 4, sizeof(MemberEntry));
  place(header.operations, 4, sizeof(OperationEntry));
  place(header.peers, 4, sizeof(PeerEntry));
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
      describe_pending(*snapshot, now_ns);
    }
  }
  close(fd);
  return 0;
}
