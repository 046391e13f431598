// What the launcher says about this process: its number, how many there are, and where they meet. Read from Tutti's
// own variables, or those of torchrun, Open MPI, MPICH (Hydra) or Slurm, whichever of them, in this order, has set
// any. docs/launchers.md is the user's view of this file. A pure function of the environment and of a few facts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/status.h"

namespace tutti {

// What is not in the environment but tells one job on this host from the next.
struct LaunchFacts {
  unsigned user = 0;                 // effective user id
  std::int64_t launcher_pid = 0;     // the ancestor that started the ranks of this host, else the parent
  std::uint64_t launcher_start = 0;  // when that was, in clock ticks since boot
  std::string host_id;               // 32 hex digits: this boot of this host
};

struct LaunchEnvironment {
  static constexpr int kNotSaid = -1;

  std::string launcher = "none";  // "tutti", "torchrun", "Open MPI", "MPICH", "Slurm"; "none": one process by itself
  int rank = 0;
  int size = 1;
  int local_rank = kNotSaid;
  int local_size = kNotSaid;
  std::string store;              // an address for join_store (stores.h); empty when the job is one process
  bool store_is_private = false;  // a directory derived from the job's identity, to be removed with it
  std::string job;  // the same on all ranks, and another one in every other job; may be empty with "tutti"
};

// `environment` as in read_settings. `store_setting` (Settings::store) wins over TUTTI_STORE in the environment.
// INVALID names the variables and values that are missing, malformed or contradict each other.
//
// Where they meet, when TUTTI_STORE does not say it:
// - torchrun: tcp://MASTER_ADDR:MASTER_PORT. With TORCHELASTIC_USE_AGENT_STORE=True the agent itself listens there,
// so
//   the port is MASTER_PORT + 1 + TORCHELASTIC_RESTART_COUNT.
// - Open MPI and MPICH: MASTER_ADDR and MASTER_PORT if set; else, all ranks being on one host, a directory below
//   /tmp/tutti-UID that is named after the job.
// - Slurm: the step's first host (SLURM_LAUNCH_NODE_IPADDR stands in where no list of nodes is set), and a port
// between
//   20480 and 32767 derived from job, step and restart count. A job step (srun) is needed: in a batch script by
//   itself SLURM_PROCID says nothing about how many processes there are.
Result<LaunchEnvironment> read_launch_environment(const char* const* environment, const LaunchFacts& facts,
                                                  std::string_view store_setting = {});

// The facts of the calling process. What cannot be read stays 0 or empty.
LaunchFacts read_launch_facts();

// The first host of a Slurm node list: "node[007-010,012],login1" gives "node007". Empty when it cannot be read.
std::string first_slurm_host(std::string_view list);

}  // namespace tutti
