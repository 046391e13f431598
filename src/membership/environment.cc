#include "src/membership/environment.h"

#include <charconv>
#include <optional>

#include "src/base/format.h"

namespace tutti {

namespace {

class Variables {
 public:
  explicit Variables(const char* const* environment) : environment_(environment) {}

  // Nothing when unset or empty: launchers and shells use both for "no".
  std::optional<std::string_view> text(std::string_view name) const {
    for (const char* const* entry = environment_; entry && *entry; ++entry) {
      const std::string_view line = *entry;
      if (line.size() > name.size() + 1 && line.starts_with(name) && line[name.size()] == '=') {
        return line.substr(name.size() + 1);
      }
    }
    return std::nullopt;
  }
  bool has(std::string_view name) const { return text(name).has_value(); }

  // A number from `least` up. Nothing when unset.
  Result<std::optional<int>> number(std::string_view name, int least) const {
    const auto value = text(name);
    if (!value) return std::optional<int>();
    int parsed = 0;
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), parsed);
    if (error != std::errc() || end != value->data() + value->size() || parsed < least) {
      return Status(Code::invalid, format("{} is \"{}\"; expected a whole number from {} up", name, *value, least));
    }
    return std::optional(parsed);
  }

 private:
  const char* const* environment_;
};

// The names under which one launcher says the same things. An empty name: it does not say that.
struct Names {
  std::string_view launcher, rank, size, local_rank, local_size;
};

constexpr Names kTutti = {"tutti", "TUTTI_RANK", "TUTTI_SIZE", "TUTTI_LOCAL_RANK", "TUTTI_LOCAL_SIZE"};
constexpr Names kTorchrun = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names kOpenMpi = {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                            "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names kMpich = {"MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};
constexpr Names kSlurm = {"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""};
constexpr Names kOldSlurm = {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""};

// Reads one number into `out`, which keeps its value when the variable is not set or has no name.
Status read_number(const Variables& variables, std::string_view name, int least, int& out) {
  if (name.empty()) return {};
  const auto value = variables.number(name, least);
  if (!value) return value.status();
  if (*value) out = **value;
  return {};
}

Status below(std::string_view name, int value, std::string_view bound_name, int bound) {
  if (value < bound) return {};
  return {Code::invalid,
          format("{} is {} and {} is {}; expected the first to be less", name, value, bound_name, bound)};
}

// Rank and size must be there, the local ones may; what is there must agree.
Result<LaunchEnvironment> read_numbers(const Variables& variables, const Names& names) {
  LaunchEnvironment launch;
  launch.launcher = names.launcher;
  for (const auto& [present, absent] : {std::pair(names.rank, names.size), std::pair(names.size, names.rank)}) {
    if (variables.has(present) && !variables.has(absent)) {
      return Status(Code::invalid, format("{} is \"{}\" but {} is not set; expected both or none", present,
                                          *variables.text(present), absent));
    }
  }
  TUTTI_RETURN_IF_ERROR(read_number(variables, names.rank, 0, launch.rank));
  TUTTI_RETURN_IF_ERROR(read_number(variables, names.size, 1, launch.size));
  TUTTI_RETURN_IF_ERROR(read_number(variables, names.local_rank, 0, launch.local_rank));
  TUTTI_RETURN_IF_ERROR(read_number(variables, names.local_size, 1, launch.local_size));
  TUTTI_RETURN_IF_ERROR(below(names.rank, launch.rank, names.size, launch.size));
  if (launch.local_rank != LaunchEnvironment::kNotSaid) {
    TUTTI_RETURN_IF_ERROR(below(names.local_rank, launch.local_rank, names.size, launch.size));
  }
  if (launch.local_size != LaunchEnvironment::kNotSaid) {
    if (launch.local_size > launch.size) {
      return Status(Code::invalid,
                    format("{} is {} and {} is {}; expected no more processes on this host than there are",
                           names.local_size, launch.local_size, names.size, launch.size));
    }
    TUTTI_RETURN_IF_ERROR(below(names.local_rank, launch.local_rank, names.local_size, launch.local_size));
  }
  return launch;
}

std::string tcp_address(std::string_view host, int port) {
  const bool brackets = host.find(':') != std::string_view::npos && !host.starts_with('[');
  return brackets ? format("tcp://[{}]:{}", host, port) : format("tcp://{}:{}", host, port);
}

// MASTER_ADDR and MASTER_PORT, `offset` ports further on; empty when neither is set.
Result<std::string> master_store(const Variables& variables, int offset) {
  constexpr int kPorts = 65536;
  constexpr int kFirstFreePort = 1024;
  const auto host = variables.text("MASTER_ADDR");
  const auto port = variables.number("MASTER_PORT", 1);
  if (!port) return port.status();
  if (!host && !*port) return std::string();
  if (!host || !*port) {
    return Status(Code::invalid, format("{} is set but {} is not; expected both or none",
                                        host ? "MASTER_ADDR" : "MASTER_PORT", host ? "MASTER_PORT" : "MASTER_ADDR"));
  }
  if (**port >= kPorts)
    return Status(Code::invalid, format("MASTER_PORT is {}; expected a port below {}", **port, kPorts));
  int chosen = **port + offset;
  if (chosen >= kPorts) chosen = kFirstFreePort + (chosen - kPorts) % (kPorts - kFirstFreePort);
  return tcp_address(*host, chosen);
}

Status nowhere_to_meet(const LaunchEnvironment& launch) {
  return {Code::invalid, format("{} started {} processes, but TUTTI_STORE is not set, so they cannot meet; set "
                                "TUTTI_STORE=tcp://HOST_OF_RANK_0:PORT for all of them",
                                launch.launcher, launch.size)};
}

// A name that is safe as part of a path.
std::string plain(std::string_view text) {
  constexpr std::size_t kLongest = 96;
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    const bool safe =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
    out += safe ? c : '_';
  }
  return out;
}

// The identity of a job whose launcher gives none that is never used again: process numbers come back, so the
// launcher's is taken together with when it started and with this boot of this host.
std::string local_job(std::string_view name, std::string_view launcher_id, const LaunchFacts& facts) {
  std::string job = format("{}-{}-{}-{}", name, facts.host_id.substr(0, 8), facts.launcher_pid, facts.launcher_start);
  if (!launcher_id.empty()) job += format("-{}", plain(launcher_id));
  return job;
}

// Open MPI and MPICH: the master's address if there is one, else a directory where all ranks are on this host.
Status find_mpi_store(const Variables& variables, const LaunchFacts& facts, LaunchEnvironment& launch) {
  auto master = master_store(variables, 0);
  if (!master) return master.status();
  launch.store = *std::move(master);
  if (!launch.store.empty() || launch.size == 1) return {};
  if (launch.local_size != launch.size) return nowhere_to_meet(launch);
  launch.store = format("file:///tmp/tutti-{}/{}", facts.user, launch.job);
  launch.store_is_private = true;
  return {};
}

Status read_torchrun(const Variables& variables, LaunchEnvironment& launch) {
  int restarts = 0;
  TUTTI_RETURN_IF_ERROR(read_number(variables, "TORCHELASTIC_RESTART_COUNT", 0, restarts));
  const auto run = variables.text("TORCHELASTIC_RUN_ID");
  launch.job =
      format("torchrun-{}-{}", run ? plain(*run) : plain(variables.text("MASTER_PORT").value_or("")), restarts);
  const bool agent_listens = variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  auto master = master_store(variables, agent_listens ? 1 + restarts : 0);
  if (!master) return master.status();
  launch.store = *std::move(master);
  if (launch.size > 1 && launch.store.empty()) {
    return {Code::invalid,
            format("RANK and WORLD_SIZE are set ({} of {}) but MASTER_ADDR and MASTER_PORT are not, so the "
                   "processes cannot meet; set them, or TUTTI_STORE=tcp://HOST_OF_RANK_0:PORT",
                   launch.rank, launch.size)};
  }
  return {};
}

Status read_slurm(const Variables& variables, LaunchEnvironment& launch) {
  constexpr std::uint64_t kFirstPort = 20480;  // below the ports that the system gives to outgoing connections
  constexpr std::uint64_t kPorts = 12288;
  const auto id = variables.text("SLURM_JOB_ID");
  if (!id)
    return {Code::invalid, "SLURM_PROCID and SLURM_STEP_ID are set but SLURM_JOB_ID is not; expected all of them"};
  const std::string_view step = *variables.text("SLURM_STEP_ID");
  launch.job =
      format("slurm-{}-{}-{}", plain(*id), plain(step), plain(variables.text("SLURM_RESTART_COUNT").value_or("0")));
  std::string host;
  for (const std::string_view name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"}) {
    if (const auto list = variables.text(name)) {
      host = first_slurm_host(*list);
      if (host.empty()) return {Code::invalid, format("{} is \"{}\", which is no list of hosts", name, *list)};
      break;
    }
  }
  if (host.empty()) host = variables.text("SLURM_LAUNCH_NODE_IPADDR").value_or("");
  if (launch.size == 1) return {};
  if (host.empty()) return nowhere_to_meet(launch);
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : launch.job) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  launch.store = tcp_address(host, static_cast<int>(kFirstPort + (hash >> 20) % kPorts));
  return {};
}

Status read_mpi(const Variables& variables, const Names& names, const LaunchFacts& facts, LaunchEnvironment& launch) {
  if (names.launcher == kOpenMpi.launcher) {
    const auto id = variables.has("PMIX_NAMESPACE") ? variables.text("PMIX_NAMESPACE")
                                                    : variables.text("OMPI_MCA_ess_base_jobid");
    launch.job = local_job("openmpi", id.value_or(""), facts);
  } else {
    launch.job = local_job("mpich", variables.text("PMI_ID").value_or(""), facts);
  }
  return find_mpi_store(variables, facts, launch);
}

const Names* choose_launcher(const Variables& variables) {
  for (const Names* names : {&kTutti, &kTorchrun, &kOpenMpi, &kMpich}) {
    if (variables.has(names->rank) || variables.has(names->size)) return names;
  }
  if (!variables.has("SLURM_PROCID") || !variables.has("SLURM_STEP_ID")) return nullptr;
  return variables.has(kSlurm.size) ? &kSlurm : &kOldSlurm;
}

}  // namespace

Result<LaunchEnvironment> read_launch_environment(const char* const* environment, const LaunchFacts& facts,
                                                  std::string_view store_setting) {
  const Variables variables(environment);
  const Names* const names = choose_launcher(variables);
  if (!names) return LaunchEnvironment{};
  auto numbers = read_numbers(variables, *names);
  if (!numbers) return numbers;
  LaunchEnvironment launch = *std::move(numbers);
  const std::string store(store_setting.empty() ? variables.text("TUTTI_STORE").value_or("") : store_setting);
  Status status;
  if (names == &kTutti) {
    if (launch.size > 1 && store.empty()) status = nowhere_to_meet(launch);
  } else if (names == &kTorchrun) {
    status = read_torchrun(variables, launch);
  } else if (names == &kOpenMpi || names == &kMpich) {
    status = read_mpi(variables, *names, facts, launch);
  } else {
    status = read_slurm(variables, launch);
  }
  // Where the launcher does not say where to meet, or says it badly, the setting still does.
  if (!status && store.empty()) return status;
  if (const auto job = variables.text("TUTTI_JOB")) launch.job = *job;
  if (!store.empty()) {
    launch.store = store;
    launch.store_is_private = false;
  }
  return launch;
}

// "a[007-010,012],b" -> "a007"; "a,b" -> "a"; brackets may come several times and in the middle: "r[1-2]n[3-4]".
std::string first_slurm_host(std::string_view list) {
  std::string host;
  while (!list.empty() && list.front() != ',') {
    if (list.front() != '[') {
      if (list.front() == ']' || list.front() == ' ') return {};
      host += list.front();
      list.remove_prefix(1);
      continue;
    }
    const auto close = list.find(']');
    if (close == std::string_view::npos) return {};
    const std::string_view ranges = list.substr(1, close - 1);
    const std::string_view digits = ranges.substr(0, ranges.find_first_of("-,"));
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return {};
    host += digits;
    list.remove_prefix(close + 1);
  }
  return host;
}

}  // namespace tutti
