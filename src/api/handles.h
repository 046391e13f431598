// What the C API's opaque handles are, and how its functions report: every function ends in report(), which keeps the
// sentence for tutti_last_error.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"
#include "src/api/invitation.h"
#include "src/api/runtime.h"
#include "src/base/settings.h"
#include "src/engine/engine.h"
#include "src/membership/environment.h"
#include "src/membership/store.h"

struct tutti_comm {
  std::shared_ptr<tutti::Runtime> runtime;
  tutti::Communicator* communicator = nullptr;
  tutti::Settings settings;
  std::atomic<bool> finalized{false};
  std::string private_store;                  // a directory to be removed with this communicator
  tutti::Store* store = nullptr;              // where others may ask to join; null: nowhere
  std::string group;                          // under which they do
  tutti::LaunchEnvironment launch;            // how this process came to that store
  std::optional<tutti::Invitation> enrolled;  // with what this rank takes part in the refresh under way
  std::uint64_t asked = 0;                    // the nonce with which this rank was let in; 0: it was one of the first
  std::uint64_t epoch = 0;                    // how many times the members were changed
  std::vector<int> slots;                     // by rank; empty: each has the slot of its number
};

struct tutti_request {
  std::shared_ptr<tutti::Runtime> runtime;
  tutti::Operation* operation = nullptr;
};

namespace tutti {

// Keeps the sentence if the status is an error, and gives its number.
tutti_status report(const Status& status);

inline Status invalid(std::string text) { return {Code::invalid, std::move(text)}; }

// Lets go of the communicator: what others still need from this rank is on its way, and the process may end.
void put_away(tutti_comm* comm);

// OK where calls on the communicator make sense: not null, not of a parent process, not finalized.
Status check_communicator(const tutti_comm* comm);

// Runs an internal operation (of a split, a duplicate, a finalize) to its end.
Status run_operation(tutti_comm& comm, const OperationRequest& request);

// Copies text into a caller's buffer as the header describes.
tutti_status give_text(const std::string& text, char* buffer, std::size_t capacity, std::size_t* needed);

bool in_group();

// How long a call may take: the option's nanoseconds (0: the setting, negative: no limit).
inline Nanoseconds time_limit(std::int64_t option_ns, Nanoseconds setting) {
  return option_ns == 0 ? setting : Nanoseconds(option_ns);
}

}  // namespace tutti
