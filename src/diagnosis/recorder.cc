#include "src/diagnosis/recorder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>
#include <optional>
#include <vector>

#include "src/base/format.h"
#include "src/diagnosis/recorder_directory.h"

namespace tutti {

namespace {

constexpr std::uint32_t kCommunicators = 256;
constexpr std::uint32_t kMembers = 2048;
constexpr std::uint32_t kPeersPerOperation = 4;
constexpr std::uint32_t kLanes = 64;
constexpr std::uint32_t kOperationsMin = 64;

// Copies with a NUL byte at the end, cutting what does not fit.
template <std::size_t size>
void copy_text(char (&to)[size], std::string_view text) {
  const std::size_t length = std::min(text.size(), size - 1);
  std::memcpy(to, text.data(), length);
  std::memset(to + length, 0, size - length);
}

RecorderHeader make_layout(std::uint32_t operations, std::uint32_t communicators, std::uint32_t members) {
  RecorderHeader header{};
  std::uint64_t offset = kRecorderHeaderBytes;
  const auto place = [&](std::uint32_t entries, std::size_t entry_bytes) {
    const TableLayout table{offset, entries, static_cast<std::uint32_t>(entry_bytes)};
    offset += static_cast<std::uint64_t>(entries) * entry_bytes;
    return table;
  };
  header.version = kRecorderVersion;
  header.header_bytes = kRecorderHeaderBytes;
  header.communicators = place(communicators, sizeof(CommunicatorEntry));
  header.members = place(members, sizeof(MemberEntry));
  header.operations = place(operations, sizeof(OperationEntry));
  header.peers = place(operations * kPeersPerOperation, sizeof(PeerEntry));
  header.lanes = place(kLanes, sizeof(LaneEntry));
  header.file_bytes = offset;
  return header;
}

std::int64_t utc_now_ns() {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return time.tv_sec * 1'000'000'000ll + time.tv_nsec;
}

void describe_process(RecorderHeader& header, const RecorderOptions& options, Instant now) {
  header.process_high = options.process.high;
  header.process_low = options.process.low;
  header.pid = static_cast<std::uint32_t>(getpid());
  header.started_utc_ns = utc_now_ns();
  header.started_ns = now.time_since_epoch().count();
  header.heartbeat_ns = header.started_ns;
  copy_text(header.host, host_name());
  copy_text(header.program, program_invocation_short_name);
  copy_text(header.library, options.library_version);
}

}  // namespace

// The mapped bytes, and the file behind them if there is one.
class Recorder::Mapping {
 public:
  // In memory of its own; throws bad_alloc.
  explicit Mapping(std::uint64_t bytes) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) throw std::bad_alloc();
  }

  static Result<std::unique_ptr<Mapping>> make_file(const std::string& path, bool is_private, const std::string& name,
                                                    std::uint64_t bytes) {
    auto directory = RecorderDirectory::open(path, is_private);
    if (!directory) return directory.status();
    directory->prune(utc_now_ns());
    const Result<int> fd = directory->create(name, bytes);
    if (!fd) return fd.status().prefixed(format("directory {}", path));
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (data == MAP_FAILED) {
      const Status status = Status::from_errno(errno, format("map {}/{}", path, name));
      close(*fd);
      directory->remove(name);
      return status;
    }
    return std::unique_ptr<Mapping>(new Mapping(data, bytes, *fd, std::move(*directory), name));
  }

  ~Mapping() {
    munmap(data_, bytes_);
    if (fd_ >= 0) close(fd_);
  }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  void remove_file() const { directory_->remove(name_); }
  // A forked child has the mapping too, but it is not the child's.
  bool is_own_file() const { return directory_ && getpid() == pid_; }

 private:
  Mapping(void* data, std::uint64_t bytes, int fd, RecorderDirectory directory, std::string name)
      : data_(data), bytes_(bytes), fd_(fd), directory_(std::move(directory)), name_(std::move(name)) {}

  void* data_;
  std::uint64_t bytes_;
  int fd_ = -1;  // kept open for the lock on it
  std::optional<RecorderDirectory> directory_;
  std::string name_;
  pid_t pid_ = getpid();
};

std::unique_ptr<Recorder> Recorder::open(const RecorderOptions& options, Instant now, const Log& log) {
  if (!options.enabled) return none();
  RecorderHeader header = make_layout(std::max(options.operations, kOperationsMin), kCommunicators, kMembers);
  describe_process(header, options, now);
  const std::string name = recorder_file_name(header.pid, options.process);
  std::string troubles;
  for (const std::string& path : recorder_directories(options.directory)) {
    auto mapping = Mapping::make_file(path, path != options.directory, name, header.file_bytes);
    if (!mapping) {
      troubles += (troubles.empty() ? "" : "; ") + mapping.status().text();
      continue;
    }
    std::memcpy((*mapping)->data(), &header, sizeof header);
    auto recorder = std::unique_ptr<Recorder>(new Recorder(std::move(*mapping)));
    recorder->path_ = path + "/" + name;
    put(recorder->header_->magic, kRecorderMagic);
    if (!troubles.empty())
      log.write(LogLevel::warn, "recorder", "{}. The flight recorder writes to {}.", troubles, recorder->path_);
    return recorder;
  }
  log.write(
      LogLevel::warn, "recorder",
      "{}. There is no flight recorder: operations work, but there will be no record of them. Make room, or name a "
      "directory by TUTTI_RECORDER_DIRECTORY.",
      troubles);
  return none();
}

std::unique_ptr<Recorder> Recorder::none() {
  const RecorderHeader header = make_layout(kOperationsMin, 1, 0);
  auto mapping = std::make_unique<Mapping>(header.file_bytes);
  std::memcpy(mapping->data(), &header, sizeof header);
  return std::unique_ptr<Recorder>(new Recorder(std::move(mapping)));
}

Recorder::Recorder(std::unique_ptr<Mapping> mapping)
    : mapping_(std::move(mapping)),
      header_(reinterpret_cast<RecorderHeader*>(mapping_->data())),
      communicators_(reinterpret_cast<CommunicatorEntry*>(mapping_->data() + header_->communicators.offset)),
      members_(reinterpret_cast<MemberEntry*>(mapping_->data() + header_->members.offset)),
      operations_(reinterpret_cast<OperationEntry*>(mapping_->data() + header_->operations.offset)),
      peers_(reinterpret_cast<PeerEntry*>(mapping_->data() + header_->peers.offset)),
      lanes_(reinterpret_cast<LaneEntry*>(mapping_->data() + header_->lanes.offset)),
      operation_of_peer_(std::make_unique<const OperationEntry*[]>(header_->peers.entries)) {}

Recorder::~Recorder() {
  if (!mapping_->is_own_file()) return;
  put(header_->closed, std::uint32_t{1});
  if (header_->operations_failed == 0) mapping_->remove_file();
}

// A slot never used, else that of the communicator closed longest ago, else the last one.
CommunicatorEntry& Recorder::free_communicator() {
  const std::span<CommunicatorEntry> entries(communicators_, header_->communicators.entries);
  CommunicatorEntry* best = nullptr;
  for (CommunicatorEntry& entry : entries) {
    if (entry.serial == 0) return entry;
    if (entry.closed_ns != 0 && (!best || entry.closed_ns < best->closed_ns)) best = &entry;
  }
  return best ? *best : entries.back();
}

// The first of `count` free member entries, or the table's size if there are not so many together. Members of closed
// communicators stay until their entry is used again.
std::uint32_t Recorder::place_members(std::uint32_t count) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> taken;  // first, behind the last
  for (const CommunicatorEntry& entry : std::span(communicators_, header_->communicators.entries)) {
    if (entry.member_count != 0) taken.emplace_back(entry.first_member, entry.first_member + entry.member_count);
  }
  std::sort(taken.begin(), taken.end());
  std::uint32_t first = 0;
  for (const auto& [begin, end] : taken) {
    if (begin - first >= count) return first;
    first = end;
  }
  return header_->members.entries - first >= count ? first : header_->members.entries;
}

std::uint32_t Recorder::open_communicator(const RecordedCommunicator& communicator, Instant now) {
  CommunicatorEntry& entry = free_communicator();
  const std::uint32_t sequence = entry.sequence;
  put(entry.sequence, sequence + 1);
  put(entry.member_count, std::uint32_t{0});
  const auto count = static_cast<std::uint32_t>(communicator.members.size());
  const std::uint32_t first = place_members(count);
  if (first + count <= header_->members.entries) {
    for (std::uint32_t i = 0; i < count; ++i) {
      const RecordedMember& member = communicator.members[i];
      MemberEntry& to = members_[first + i];
      copy_text(to.host, member.host);
      to.process_high = member.process.high;
      to.pid = member.pid;
    }
    put(entry.first_member, first);
    put(entry.member_count, count);
  }
  put(entry.serial, ++serial_);
  put(entry.id_high, communicator.id.high);
  put(entry.id_low, communicator.id.low);
  copy_text(entry.name, communicator.name);
  put(entry.rank, communicator.rank);
  put(entry.ranks, communicator.ranks);
  put(entry.opened_ns, since_epoch(now));
  put(entry.closed_ns, std::int64_t{0});
  put(entry.sequence, sequence + 2);
  put(header_->communicators_begun, std::uint64_t{serial_});
  put(header_->heartbeat_ns, since_epoch(now));
  return serial_;
}

void Recorder::close_communicator(std::uint32_t serial, Instant now) {
  for (CommunicatorEntry& entry : std::span(communicators_, header_->communicators.entries)) {
    if (entry.serial == serial) put(entry.closed_ns, since_epoch(now));
  }
}

void Recorder::note_lane(const RecordedLane& lane, Instant now) {
  LaneEntry& entry = lanes_[header_->lane_changes % header_->lanes.entries];
  const std::uint64_t index = header_->lane_changes + 1;
  const std::uint32_t sequence = entry.sequence;
  put(entry.sequence, sequence + 1);
  put(entry.pid, lane.pid);
  put(entry.index, index);
  put(entry.at_ns, since_epoch(now));
  put(entry.lane, lane.lane);
  put(entry.change, static_cast<std::uint8_t>(lane.change));
  put(entry.transport, lane.transport);
  copy_text(entry.host, lane.host);
  copy_text(entry.text, lane.text);
  put(entry.sequence, sequence + 2);
  put(header_->lane_changes, index);
  put(header_->heartbeat_ns, since_epoch(now));
}

std::uint8_t Recorder::transport(std::string_view name) {
  const ShortName wanted(name);
  for (std::uint8_t i = 0; i < kRecorderTransports; ++i) {
    ShortName& have = header_->transports[i].name;
    if (have.words[0] == 0) put(have, wanted);
    if (have.words == wanted.words) return i;
  }
  return kRecorderTransports - 1;
}

}  // namespace tutti
