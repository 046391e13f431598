// FileStore: a store among the processes of one machine, in a directory. The file in it is a journal of changes; each
// process keeps the table it has read so far, and every call takes the file's lock, reads what others appended, and
// appends its own. A process that dies in the middle of an append leaves an unfinished record, which whoever locks
// next cuts off. Waiting looks at the file's size, a few hundred times a second.
//
// Not for network file systems. Open it after fork: parent and child would share one lock.
#pragma once

#include <mutex>
#include <string>

#include "src/membership/store.h"
#include "src/membership/store_protocol.h"
#include "src/membership/store_table.h"
#include "src/membership/tcp_socket.h"

namespace tutti {

class FileStore final : public Store {
 public:
  enum class Lifetime {
    kept,       // the directory stays
    ephemeral,  // the last process that has it open removes it
  };

  // Creates the directory, for its owner alone, where it is missing (its parent must be there). One that belongs to
  // somebody else, or that others may write to, is refused: they could make a job take any value.
  static Result<std::unique_ptr<FileStore>> open(const std::string& directory, Lifetime lifetime, Instant deadline);
  ~FileStore() override;

  Status set(std::string_view key, std::string_view value, Instant deadline) override;
  Result<std::string> get(std::string_view key, Instant deadline) override;
  Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                std::string_view desired, Instant deadline) override;
  Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) override;
  Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) override;
  Result<std::int64_t> remove(std::string_view prefix, Instant deadline) override;
  std::string address() const override { return "file://" + directory_; }

 private:
  FileStore(std::string directory, Lifetime lifetime, Descriptor users, Descriptor journal);

  // Runs `body`, which returns a Status, while this thread holds the file's lock and the table is up to date.
  template <typename Body>
  Status locked(Instant deadline, Body body);
  // Waits until `ready`, which looks at the table, is true. TIMEOUT without a sentence when it never was.
  template <typename Ready>
  Status wait_for(Instant deadline, Ready ready);

  Status read_journal();
  Status append(const StoreRequest& change);
  Status undo(const Status& why);
  std::int64_t journal_bytes() const;

  const std::string directory_;
  const Lifetime lifetime_;
  Descriptor users_;  // locked shared by every process that has the store open
  Descriptor journal_;
  mutable std::mutex mutex_;
  StoreTable table_;
  FrameReader reader_{kStoreRequestBytes};
  std::int64_t position_ = 0;  // how far the journal is in the table
};

}  // namespace tutti
