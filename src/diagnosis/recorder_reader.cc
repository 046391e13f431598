#include "src/diagnosis/recorder_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <unordered_map>

#include "src/base/format.h"
#include "src/diagnosis/recorder_directory.h"

namespace tutti {

namespace {

constexpr std::uint32_t kEntriesMax = 1u << 27;
constexpr std::size_t kBlockBytes = 1u << 18;

std::string printable(std::string_view text) {
  std::string result(text.substr(0, text.find('\0')));
  for (char& c : result) {
    if (c < ' ' || c > '~') c = '?';
  }
  return result;
}

std::string text_of(const ShortName& name) {
  return printable(std::string_view(reinterpret_cast<const char*>(name.words.data()), sizeof name.words));
}

Code code_of(unsigned number) {
  return number <= static_cast<unsigned>(Code::internal) ? static_cast<Code>(number) : Code::internal;
}

class Reader {
 public:
  Reader(int fd, const std::string& path) : fd_(fd), path_(path) {}

  Status read_header() {
    struct stat info;
    if (fstat(fd_, &info) != 0) return Status::from_errno(errno, format("look at {}", path_));
    if (!S_ISREG(info.st_mode)) return damaged("it is not a regular file");
    if (!read(0, &header_, sizeof header_)) return damaged(format("it has {} bytes", info.st_size));
    if (header_.magic != kRecorderMagic) return damaged("it does not begin with TUTTIREC");
    if (header_.version != kRecorderVersion) {
      return damaged(format("its version is {}, this program reads {}", header_.version, kRecorderVersion));
    }
    if (header_.header_bytes != kRecorderHeaderBytes || info.st_size < 0 ||
        header_.file_bytes != static_cast<std::uint64_t>(info.st_size)) {
      return damaged(format("it has {} bytes where {} were written", info.st_size, header_.file_bytes));
    }
    TUTTI_RETURN_IF_ERROR(check(header_.communicators, sizeof(CommunicatorEntry), "communicators"));
    TUTTI_RETURN_IF_ERROR(check(header_.members, sizeof(MemberEntry), "members"));
    TUTTI_RETURN_IF_ERROR(check(header_.operations, sizeof(OperationEntry), "operations"));
    TUTTI_RETURN_IF_ERROR(check(header_.peers, sizeof(PeerEntry), "peers"));
    return check(header_.lanes, sizeof(LaneEntry), "lanes");
  }

  RecorderSnapshot read_tables() {
    copy_header();
    read_communicators();
    read_operations();
    read_peers();
    read_lanes();
    return std::move(snapshot_);
  }

 private:
  Status damaged(std::string_view why) const {
    return Status(Code::invalid, format("{} cannot be read as a flight recorder file: {}", path_, why));
  }

  Status check(const TableLayout& table, std::size_t entry_bytes, std::string_view what) const {
    const std::uint64_t bytes = static_cast<std::uint64_t>(table.entries) * entry_bytes;
    if (table.entry_bytes == entry_bytes && table.entries <= kEntriesMax && table.offset >= kRecorderHeaderBytes &&
        table.offset <= header_.file_bytes && bytes <= header_.file_bytes - table.offset) {
      return Status::ok();
    }
    return damaged(format("its table of {} ({} entries of {} bytes at {}) does not fit into {} bytes", what,
                          table.entries, table.entry_bytes, table.offset, header_.file_bytes));
  }

  bool read(std::uint64_t offset, void* to, std::size_t bytes) const {
    auto* position = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t got = pread(fd_, position, bytes, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      position += got;
      offset += static_cast<std::uint64_t>(got);
      bytes -= static_cast<std::size_t>(got);
    }
    return true;
  }

  // Calls visit(entry) for each entry that was whole: its sequence word was even and the same in a read of the block
  // before and one after the read that counts.
  template <typename Entry, typename Visit>
  void for_each(const TableLayout& table, Visit visit) {
    const std::size_t block = kBlockBytes / sizeof(Entry);
    std::vector<Entry> before(block), entries(block), after(block);
    for (std::size_t first = 0; first < table.entries; first += block) {
      const std::size_t count = std::min(block, table.entries - first);
      const std::uint64_t offset = table.offset + first * sizeof(Entry);
      for (std::vector<Entry>* copy : {&before, &entries, &after}) {
        if (!read(offset, copy->data(), count * sizeof(Entry))) return;
        std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      for (std::size_t i = 0; i < count; ++i) {
        if (before[i].sequence == after[i].sequence && before[i].sequence % 2 == 0) {
          if (before[i].sequence != 0) visit(entries[i]);
        } else {
          ++snapshot_.entries_torn;
        }
      }
    }
  }

  void copy_header() {
    RecorderSnapshot& s = snapshot_;
    s.alive = recorder_is_locked(fd_);
    s.closed = header_.closed != 0;
    s.pid = header_.pid;
    s.process.high = header_.process_high;
    s.process.low = header_.process_low;
    s.host = printable({header_.host, sizeof header_.host});
    s.program = printable({header_.program, sizeof header_.program});
    s.library = printable({header_.library, sizeof header_.library});
    s.started_utc_ns = header_.started_utc_ns;
    s.started_ns = header_.started_ns;
    s.heartbeat_ns = header_.heartbeat_ns;
    s.operations_begun = header_.operations_begun;
    s.operations_done = header_.operations_done;
    s.operations_failed = header_.operations_failed;
    s.stragglers_reported = header_.stragglers_reported;
    s.lane_changes = header_.lane_changes;
    s.operations_dropped = header_.operations_dropped;
    for (const TransportCounters& counters : header_.transports) {
      s.transports.push_back({text_of(counters.name), counters.bytes_sent, counters.bytes_received});
    }
  }

  void read_communicators() {
    for_each<CommunicatorEntry>(header_.communicators, [&](const CommunicatorEntry& entry) {
      CommunicatorRecord record;
      record.serial = entry.serial;
      record.id = {entry.id_high, entry.id_low};
      record.name = printable({entry.name, sizeof entry.name});
      record.rank = entry.rank;
      record.ranks = entry.ranks;
      record.opened_ns = entry.opened_ns;
      record.closed_ns = entry.closed_ns;
      read_members(entry, record);
      snapshot_.communicators.push_back(std::move(record));
    });
    std::sort(snapshot_.communicators.begin(), snapshot_.communicators.end(),
              [](const auto& a, const auto& b) { return a.serial < b.serial; });
  }

  void read_members(const CommunicatorEntry& entry, CommunicatorRecord& record) {
    const std::uint64_t end = std::uint64_t{entry.first_member} + entry.member_count;
    if (entry.member_count == 0 || end > header_.members.entries) return;
    members_read_ += entry.member_count;
    if (members_read_ > header_.members.entries) return;  // entries that overlap: damaged
    std::vector<MemberEntry> members(entry.member_count);
    const std::uint64_t offset = header_.members.offset + entry.first_member * sizeof(MemberEntry);
    if (!read(offset, members.data(), members.size() * sizeof(MemberEntry))) return;
    for (const MemberEntry& member : members) {
      record.members.push_back({printable({member.host, sizeof member.host}), member.process_high, member.pid});
    }
  }

  void read_operations() {
    for_each<OperationEntry>(header_.operations, [&](const OperationEntry& entry) {
      if (entry.state == 0 || entry.state > static_cast<std::uint8_t>(OperationState::done)) {
        ++snapshot_.entries_torn;
        return;
      }
      OperationRecord record;
      record.index = entry.index;
      record.communicator = entry.communicator;
      record.number = entry.number;
      record.kind = entry.kind;
      record.type = entry.type;
      record.op = entry.op;
      record.state = static_cast<OperationState>(entry.state);
      record.root = entry.root;
      record.count = entry.count;
      record.bytes = entry.bytes;
      record.posted_ns = entry.posted_ns;
      record.started_ns = entry.started_ns;
      record.first_byte_ns = entry.first_byte_ns;
      record.last_byte_ns = entry.last_byte_ns;
      record.done_ns = entry.done_ns;
      record.algorithm = text_of(entry.algorithm);
      record.lanes = entry.lanes;
      record.result = code_of(entry.result);
      record.culprit = entry.culprit;
      snapshot_.operations.push_back(std::move(record));
    });
    std::sort(snapshot_.operations.begin(), snapshot_.operations.end(),
              [](const auto& a, const auto& b) { return a.index < b.index; });
  }

  void read_peers() {
    std::unordered_map<std::uint64_t, OperationRecord*> by_index;
    for (OperationRecord& operation : snapshot_.operations) by_index.emplace(operation.index, &operation);
    for_each<PeerEntry>(header_.peers, [&](const PeerEntry& entry) {
      const auto found = by_index.find(entry.operation);
      if (found == by_index.end()) return;
      PeerRecord record;
      record.index = entry.sequence / 2;
      record.operation = entry.operation;
      record.rank = entry.rank;
      record.lane = entry.lane;
      record.direction = entry.direction == 0 ? Direction::send : Direction::receive;
      record.transport = entry.transport % kRecorderTransports;
      record.pending = entry.result == PeerEntry::kPending;
      record.result = record.pending ? Code::ok : code_of(entry.result);
      record.posted_ns = entry.posted_ns;
      record.first_byte_ns = entry.first_byte_ns;
      record.last_byte_ns = entry.last_byte_ns;
      record.bytes = entry.bytes;
      record.bytes_done = entry.bytes_done;
      found->second->peers.push_back(record);
    });
    for (OperationRecord& operation : snapshot_.operations) {
      std::sort(operation.peers.begin(), operation.peers.end(),
                [](const auto& a, const auto& b) { return a.index < b.index; });
    }
  }

  void read_lanes() {
    for_each<LaneEntry>(header_.lanes, [&](const LaneEntry& entry) {
      LaneRecord record;
      record.index = entry.index;
      record.at_ns = entry.at_ns;
      record.host = printable({entry.host, sizeof entry.host});
      record.pid = entry.pid;
      record.lane = entry.lane;
      record.change = entry.change == 0 ? LaneChange::lost : LaneChange::back;
      record.transport = entry.transport % kRecorderTransports;
      record.text = printable({entry.text, sizeof entry.text});
      snapshot_.lanes.push_back(std::move(record));
    });
    std::sort(snapshot_.lanes.begin(), snapshot_.lanes.end(),
              [](const auto& a, const auto& b) { return a.index < b.index; });
  }

  const int fd_;
  const std::string& path_;
  RecorderHeader header_{};
  std::uint64_t members_read_ = 0;
  RecorderSnapshot snapshot_;
};

template <std::size_t size>
std::string name_in(const std::string_view (&names)[size], std::uint8_t number, std::string_view what) {
  return number < size ? std::string(names[number]) : format("{} {}", what, number);
}

}  // namespace

const CommunicatorRecord* RecorderSnapshot::communicator(std::uint32_t serial) const {
  for (const CommunicatorRecord& record : communicators) {
    if (record.serial == serial) return &record;
  }
  return nullptr;
}

Result<RecorderSnapshot> read_recorder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Status::from_errno(errno, format("open {}", path));
  auto snapshot = read_recorder(fd, path);
  close(fd);
  return snapshot;
}

Result<RecorderSnapshot> read_recorder(int fd, const std::string& path) {
  Reader reader(fd, path);
  TUTTI_RETURN_IF_ERROR(reader.read_header());
  return reader.read_tables();
}

std::vector<std::string> find_recorders(const std::string& directory) {
  std::vector<std::string> paths;
  DIR* listing = opendir(directory.c_str());
  if (!listing) return paths;
  while (const dirent* entry = readdir(listing)) {
    if (is_recorder_file_name(entry->d_name)) paths.push_back(directory + "/" + entry->d_name);
  }
  closedir(listing);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string name_of_kind(std::uint8_t kind) {
  static constexpr std::string_view kNames[kOperationKinds] = {
      "all_reduce", "reduce",  "broadcast", "all_gather", "reduce_scatter", "all_to_all", "gather",
      "scatter",    "barrier", "send",      "receive",    "split",          "finalize",   "agree"};
  return name_in(kNames, kind, "kind");
}

std::string name_of_type(std::uint8_t type) {
  static constexpr std::string_view kNames[] = {"int8",    "uint8",   "int16",       "uint16",     "int32",
                                                "uint32",  "int64",   "uint64",      "float16",    "bfloat16",
                                                "float32", "float64", "float8_e4m3", "float8_e5m2"};
  return name_in(kNames, type, "type");
}

std::string name_of_op(std::uint8_t op) {
  static constexpr std::string_view kNames[] = {
      "sum",    "product", "min",         "max",        "average",          "bit_and",
      "bit_or", "bit_xor", "logical_and", "logical_or", "premultiplied_sum"};
  return name_in(kNames, op, "op");
}

}  // namespace tutti
