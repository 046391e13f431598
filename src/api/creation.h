// What the calls that make communicators have in common: options and settings, the job's store, and the members'
// invitations turned into a communicator.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/api/handles.h"
#include "src/api/invitation.h"
#include "src/membership/environment.h"
#include "src/membership/store.h"

namespace tutti {

constexpr const char* kDefaultName = "world";

Result<Settings> read_call_settings(const tutti_comm_options* options);
std::int64_t timeout_of(const tutti_comm_options* options);  // as passed; 0: the default
std::string name_of(const tutti_comm_options* options, const std::string& otherwise);
Status check_creation(const char* function, tutti_comm** comm);

// The job's store, served by this process if it is the one to do so. It lives as long as the process.
Result<Store*> job_store(const LaunchEnvironment& launch, const Settings& settings, Instant deadline, const Log& log);
std::string group_of(const LaunchEnvironment& launch, const std::string& name);

std::uint64_t mix(std::uint64_t a, std::uint64_t b);

// Acquires the runtime for the communicator and says how this process is reached; a part of the board is reserved,
// which cancel_invitation gives back if nothing comes of it.
Result<Invitation> invite(tutti_comm& comm);
void cancel_invitation(tutti_comm& comm, const Invitation& invitation);
void cancel_enrolment(tutti_comm& comm);  // of a refresh that has not come to its end

// Makes the communicator of these members, of which this process is number `rank`. Who joins (by rank;
// empty: nobody) is new, and lost if it cannot be reached.
Status install(tutti_comm& comm, std::uint64_t id, const std::string& name, int rank,
               const std::vector<Invitation>& members, const std::vector<bool>& joins = {});

// Gets this process in among the members who meet in comm.group of comm.store, as one of them: TIMEOUT if they do not
// let it in.
Status join(tutti_comm& comm, const std::string& name, Instant deadline);

}  // namespace tutti
