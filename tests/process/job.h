// A job of the tests: N ranks as real processes, or several ranks as threads of fewer processes, run from one
// function.
//
// The parent (GoogleTest) forks before any thread exists, and never makes a communicator itself. What ranks have to
// say comes back through a pipe; what each is doing stands in memory that parent and ranks share, so that a rank that
// hangs or crashes is reported with its last note. After `limit` the watchdog ends the processes it started, by pid,
// and names those that had not come to their end.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace tutti_test {

enum class Meeting { file, tcp };

struct Job {
  int ranks = 2;
  int processes = 0;  // 0: one per rank. Otherwise ranks are dealt out in blocks, one thread each
  Meeting meeting = Meeting::file;
  std::string settings;                            // for every communicator the ranks make
  std::map<std::string, std::string> environment;  // set in every process
  std::chrono::seconds limit{60};
  std::vector<std::string> namespaces;  // of the network: process p runs in number p modulo their count; empty: here
};

// What all processes of a job see.
struct SharedBlock {
  static constexpr int kRanksMax = 16;
  static constexpr int kCounters = 64;
  static constexpr int kSlots = 8192;
  static constexpr int kNoteBytes = 240;
  std::atomic<std::int64_t> counters[kCounters];
  std::atomic<std::int64_t> meetings;
  std::uint64_t slots[kSlots][kRanksMax];
  char notes[kRanksMax][kNoteBytes];
  char data[4096];
};

// One rank's view of its job. Used by that rank's thread only.
class Rank {
 public:
  Rank(const Job& job, SharedBlock& shared, int rank, int pipe, std::string store)
      : job_(job), shared_(shared), rank_(rank), pipe_(pipe), store_(std::move(store)) {}

  int rank() const { return rank_; }
  int size() const { return job_.ranks; }
  const Job& job() const { return job_; }
  SharedBlock& shared() { return shared_; }
  const std::string& store() const { return store_; }
  bool has_failed() const { return failures_ > 0; }

  // What this rank does now, for the report of a hang.
  void note(const std::string& text);
  // Says that something is wrong; the job has failed. Only the first few are kept.
  void fail(const std::string& text);
  bool check(bool good, const std::string& text) {
    if (!good) fail(text);
    return good;
  }
  // The call returned `expected`; if not, its sentence is reported.
  bool expect(tutti_status expected, tutti_status got, const std::string& what);
  bool ok(tutti_status got, const std::string& what) { return expect(TUTTI_OK, got, what); }
  // The last error's sentence contains each of these.
  void expect_text(const std::string& text, std::initializer_list<std::string> parts);

  // A communicator of all ranks, by the job's store. Null (and failed) if it cannot be made.
  tutti_comm* create(const std::string& name = "world", const std::string& settings = {});
  // Of the ranks below `size` alone, and who comes to them later.
  tutti_comm* create_of(int size);
  tutti_status try_join(tutti_comm** comm);
  tutti_comm* join();
  tutti_status try_create(tutti_comm** comm, const std::string& name = "world", const std::string& settings = {},
                          std::int64_t timeout_ns = 0);

  // Waits for `ranks` of the job (all: 0) without help from the library.
  void meet(int ranks = 0);

 private:
  const Job& job_;
  SharedBlock& shared_;
  int rank_;
  int pipe_;
  std::string store_;
  int failures_ = 0;
  std::int64_t met_ = 0;
};

struct Outcome {
  std::vector<std::string> failures;
  std::vector<int> wait_status;      // by process, as waitpid gives it
  std::vector<std::uint64_t> slots;  // SharedBlock::slots, rank after rank for each slot
  std::vector<std::int64_t> counters;
  bool is_clean() const { return failures.empty(); }
  std::string text() const;
};

// Runs the function on every rank and collects what they say. A process that does not end by returning is a failure,
// unless it is named in `doomed` (those are expected to be ended by a signal).
Outcome run_job(const Job& job, const std::function<void(Rank&)>& function, const std::vector<int>& doomed = {});

// A directory below the system's temporary one that goes with this object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

int free_port();
bool runs_long();  // TUTTI_TEST_LONG=1
// How much longer things may take here: more under sanitizers.
int patience();
// The seed of this run: TUTTI_TEST_SEED, else a fixed one; printed once.
std::uint64_t seed();
int open_descriptors();
// Bytes allocated where a sanitizer keeps back what was freed, else resident ones.
std::int64_t memory_in_use();

}  // namespace tutti_test
