#include "src/membership/file_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "src/base/format.h"
#include "src/membership/store_errors.h"

namespace tutti {

namespace {

using namespace std::chrono_literals;

// Grows from a spin to a few milliseconds while the caller waits for another process.
class Pause {
 public:
  // False once the deadline passed.
  bool sleep(Instant deadline) {
    const Instant now = monotonic_now();
    if (now >= deadline) return false;
    std::this_thread::sleep_for(std::min<Nanoseconds>(length_, deadline - now));
    length_ = std::min<Nanoseconds>(length_ * 2, 4ms);
    return true;
  }

 private:
  Nanoseconds length_ = 20us;
};

Status lock_file(int fd, int kind, Instant deadline) {
  Pause pause;
  while (flock(fd, kind | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return Status::from_errno(errno, "flock");
    if (!pause.sleep(deadline))
      return {Code::timeout, "another process held the lock of the store until the deadline"};
  }
  return {};
}

Status make_private_directory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Status::from_errno(errno, format("mkdir {}", directory));
  }
  struct stat facts = {};
  if (lstat(directory.c_str(), &facts) != 0) return Status::from_errno(errno, format("stat {}", directory));
  if (!S_ISDIR(facts.st_mode)) return {Code::invalid, format("{} is not a directory", directory)};
  if (facts.st_uid != geteuid()) {
    return {Code::invalid, format("{} belongs to user {}, not to {}; refused", directory, facts.st_uid, geteuid())};
  }
  if ((facts.st_mode & 022) != 0) {
    return {Code::invalid, format("others may write to {} (mode {:03o}); run chmod 700 on it", directory,
                                  static_cast<unsigned>(facts.st_mode & 0777))};
  }
  return {};
}

// AGAIN when the directory has just been removed.
Result<Descriptor> open_file(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd && errno == ENOENT) return Status(Code::again, path);
  if (!fd) return Status::from_errno(errno, format("open {}", path));
  return fd;
}

// Whether `path` still is the file that `fd` has open.
bool same_file(int fd, const std::string& path) {
  struct stat open_facts = {};
  struct stat path_facts = {};
  return fstat(fd, &open_facts) == 0 && stat(path.c_str(), &path_facts) == 0 &&
         open_facts.st_ino == path_facts.st_ino && open_facts.st_dev == path_facts.st_dev;
}

std::string users_path(const std::string& directory) { return directory + "/users"; }
std::string journal_path(const std::string& directory) { return directory + "/journal"; }

}  // namespace

FileStore::FileStore(std::string directory, Lifetime lifetime, Descriptor users, Descriptor journal)
    : directory_(std::move(directory)), lifetime_(lifetime), users_(std::move(users)), journal_(std::move(journal)) {}

// The last user of an ephemeral store may remove the directory at any step of this; then all starts again.
Result<std::unique_ptr<FileStore>> FileStore::open(const std::string& directory, Lifetime lifetime,
                                                   Instant deadline) {
  const std::string context = "store file://" + directory;
  if (!directory.starts_with('/')) {
    return Status(Code::invalid,
                  format("the address \"file://{}\" is malformed; expected file:///DIRECTORY", directory));
  }
  Pause pause;
  do {
    TUTTI_RETURN_IF_ERROR(make_private_directory(directory).prefixed(context));
    auto users = open_file(users_path(directory));
    if (users.status().code() == Code::again) continue;
    if (!users) return users.status().prefixed(context);
    TUTTI_RETURN_IF_ERROR(lock_file(users->get(), LOCK_SH, deadline).prefixed(context));
    if (!same_file(users->get(), users_path(directory))) continue;
    auto journal = open_file(journal_path(directory));  // nobody removes it while our lock is there
    if (!journal) return journal.status().prefixed(context);
    return std::unique_ptr<FileStore>(new FileStore(directory, lifetime, *std::move(users), *std::move(journal)));
  } while (pause.sleep(deadline));
  return Status(Code::timeout, format("{}: it was removed whenever it was opened, until the deadline", context));
}

FileStore::~FileStore() {
  if (lifetime_ == Lifetime::kept || flock(users_.get(), LOCK_EX | LOCK_NB) != 0) return;
  unlink(journal_path(directory_).c_str());
  unlink(users_path(directory_).c_str());
  rmdir(directory_.c_str());
}

template <typename Body>
Status FileStore::locked(Instant deadline, Body body) {
  const std::lock_guard lock(mutex_);
  Status status = lock_file(journal_.get(), LOCK_EX, deadline);
  if (status) {
    status = read_journal();
    if (status) status = body();
    flock(journal_.get(), LOCK_UN);
  }
  return at_store(*this, status);
}

template <typename Ready>
Status FileStore::wait_for(Instant deadline, Ready ready) {
  Pause pause;
  while (true) {
    bool is_ready = false;
    std::int64_t seen = 0;
    TUTTI_RETURN_IF_ERROR(locked(deadline, [&]() -> Status {
      is_ready = ready();
      seen = position_;
      return {};
    }));
    if (is_ready) return {};
    while (journal_bytes() == seen) {
      if (!pause.sleep(deadline)) return {Code::timeout, ""};
    }
  }
}

// REQUIRES: the file's lock is held.
Status FileStore::read_journal() {
  std::vector<char> chunk(64 * 1024);
  while (true) {
    const ssize_t got =
        pread(journal_.get(), chunk.data(), chunk.size(), position_ + static_cast<off_t>(reader_.buffered()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Status::from_errno(errno, "read the journal");
    if (got == 0) break;
    reader_.feed({chunk.data(), static_cast<std::size_t>(got)});
    while (true) {
      const auto frame = reader_.next();
      if (!frame) return frame.status().prefixed("the journal is damaged");
      if (!*frame) break;
      position_ += static_cast<std::int64_t>((*frame)->size() + 4);
      const auto change = decode_request(**frame);
      if (!change) return change.status().prefixed("the journal is damaged");
      if (change->operation == StoreOperation::remove) {
        table_.remove(change->key);
      } else {
        TUTTI_RETURN_IF_ERROR(table_.set(change->key, change->value));
      }
    }
  }
  if (reader_.buffered() == 0) return {};
  // Nobody can be writing while the lock is ours: the writer of this record died.
  if (ftruncate(journal_.get(), position_) != 0) return Status::from_errno(errno, "cut off an unfinished record");
  reader_ = FrameReader(kStoreRequestBytes);
  return {};
}

// REQUIRES: the file's lock is held and the journal is read to its end.
Status FileStore::append(const StoreRequest& change) {
  constexpr std::int64_t kJournalBytes = std::int64_t{1} << 30;
  const std::string frame = encode(change);
  if (position_ > kJournalBytes) {
    return undo(
        {Code::system, format("the journal has reached {}; nothing was stored", format_bytes(kJournalBytes))});
  }
  std::size_t written = 0;
  while (written < frame.size()) {
    const ssize_t done = pwrite(journal_.get(), frame.data() + written, frame.size() - written,
                                position_ + static_cast<off_t>(written));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return undo(Status::from_errno(errno, "write the journal"));
    written += static_cast<std::size_t>(done);
  }
  position_ += static_cast<std::int64_t>(frame.size());
  return {};
}

// The table is ahead of the journal: cuts off what may have been written and reads all of it again at the next call.
Status FileStore::undo(const Status& why) {
  if (ftruncate(journal_.get(), position_) != 0) return Status::from_errno(errno, "cut off an unfinished record");
  table_ = StoreTable();
  position_ = 0;
  return why;
}

std::int64_t FileStore::journal_bytes() const {
  struct stat facts = {};
  return fstat(journal_.get(), &facts) == 0 ? facts.st_size : -1;
}

Status FileStore::set(std::string_view key, std::string_view value, Instant deadline) {
  return locked(deadline, [&]() -> Status {
    TUTTI_RETURN_IF_ERROR(table_.set(key, value));
    return append({.operation = StoreOperation::set, .key = std::string(key), .value = std::string(value)});
  });
}

Result<std::string> FileStore::get(std::string_view key, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  std::string value;
  const Status status = wait_for(deadline, [&] {
    const std::string* const present = table_.find(key);
    if (present) value = *present;
    return present != nullptr;
  });
  if (status.code() == Code::timeout && status.text().empty()) return at_store(*this, absent_key(key));
  if (!status) return status;
  return value;
}

Result<Store::Swap> FileStore::compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                                std::string_view desired, Instant deadline) {
  Swap outcome;
  TUTTI_RETURN_IF_ERROR(locked(deadline, [&]() -> Status {
    auto swap = table_.compare_and_swap(key, expected, desired);
    if (!swap) return swap.status();
    outcome = *std::move(swap);
    if (!outcome.stored) return {};
    return append({.operation = StoreOperation::set, .key = std::string(key), .value = std::string(desired)});
  }));
  return outcome;
}

Result<std::int64_t> FileStore::add(std::string_view key, std::int64_t delta, Instant deadline) {
  std::int64_t outcome = 0;
  TUTTI_RETURN_IF_ERROR(locked(deadline, [&]() -> Status {
    const auto sum = table_.add(key, delta);
    if (!sum) return sum.status();
    outcome = *sum;
    return append({.operation = StoreOperation::set, .key = std::string(key), .value = *table_.find(key)});
  }));
  return outcome;
}

Store::Gathered FileStore::gather(std::string_view prefix, std::size_t count, Instant deadline) {
  if (const Status status = StoreTable::check_prefix(prefix); !status) return {at_store(*this, status), {}};
  Gathered gathered;
  gathered.status = wait_for(deadline, [&] {
    const bool complete = table_.count(prefix) >= count;
    gathered.entries = table_.entries(prefix);
    return complete;
  });
  if (gathered.status.code() == Code::timeout && gathered.status.text().empty()) {
    gathered.status = at_store(*this, too_few_keys(prefix, gathered.entries.size(), count));
  }
  return gathered;
}

Result<std::int64_t> FileStore::remove(std::string_view prefix, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_prefix(prefix)));
  std::int64_t removed = 0;
  TUTTI_RETURN_IF_ERROR(locked(deadline, [&]() -> Status {
    removed = table_.remove(prefix);
    return append({.operation = StoreOperation::remove, .key = std::string(prefix)});
  }));
  return removed;
}

}  // namespace tutti
