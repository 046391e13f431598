// Communicators of the C API: created through a rendezvous, split by an all-gather, ended.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>

#include "src/api/creation.h"
#include "src/api/store_callbacks.h"
#include "src/api/unique_id.h"
#include "src/base/format.h"
#include "src/base/random.h"
#include "src/membership/rendezvous.h"
#include "src/membership/stores.h"

namespace tutti {

namespace {

// Rendezvous servers and stores of this process. They stay until it ends: others may still be reading from them.
struct Stores {
  std::mutex mutex;
  pid_t pid = getpid();  // a forked child begins anew
  std::map<std::string, JobStore> jobs;
  std::vector<std::unique_ptr<TcpStoreServer>> servers;
};

Stores& stores() {
  static Stores* current = new Stores;
  if (current->pid != getpid()) {
    [[maybe_unused]] static Stores* const inherited = current;  // the parent's: nothing of it works here
    current = new Stores;
  }
  return *current;
}

}  // namespace

Result<Settings> read_call_settings(const tutti_comm_options* options) {
  std::vector<std::string> overrides;
  if (options != nullptr) {
    if (options->size < sizeof(std::size_t) + 2 * sizeof(void*)) {
      return invalid(
          format("tutti_comm_options.size is {}; set it to sizeof(tutti_comm_options) (TUTTI_COMM_OPTIONS_INIT does)",
                 options->size));
    }
    if (options->settings != nullptr) {
      std::string text = options->settings;
      std::replace_if(
          text.begin(), text.end(), [](char c) { return c == ' ' || c == '\n' || c == '\t'; }, ';');
      overrides = split_overrides(text);
    }
  }
  Result<Settings> settings = read_settings(environ, overrides);
  if (!settings) return settings.status().prefixed("no communicator was created");
  return settings;
}

std::int64_t timeout_of(const tutti_comm_options* options) {
  constexpr std::size_t kNeeded = offsetof(tutti_comm_options, timeout_ns) + sizeof(std::int64_t);
  return options != nullptr && options->size >= kNeeded ? options->timeout_ns : 0;
}

std::string name_of(const tutti_comm_options* options, const std::string& otherwise) {
  return options != nullptr && options->name != nullptr ? options->name : otherwise;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2));
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

namespace {

// Everything a creation needs, however the caller said it.
struct Meeting {
  Store* store = nullptr;  // null: alone
  std::string group;       // under which the ranks meet
  std::string name;
  int rank = 0;
  int size = 1;
  Instant deadline = kNever;
};

Status check_rank_and_size(int rank, int size) {
  if (size < 1) return invalid(format("size is {}; expected 1 or more", size));
  if (rank < 0 || rank >= size)
    return invalid(format("rank is {}; expected 0 to {} for size {}", rank, size - 1, size));
  return {};
}

Result<std::vector<Invitation>> exchange(const Meeting& meeting, const Invitation& mine) {
  std::vector<Invitation> invitations;
  if (meeting.store == nullptr) return std::vector<Invitation>{mine};
  const Result<Roster> roster =
      rendezvous(*meeting.store, meeting.group, meeting.rank, meeting.size, mine.encode(), meeting.deadline);
  if (!roster) return roster.status();
  for (std::size_t r = 0; r < roster->members.size(); ++r) {
    Result<Invitation> invitation = Invitation::decode(roster->members[r].blob);
    if (!invitation) return invitation.status().prefixed(format("rank {}", r));
    if (invitation->plan_settings != mine.plan_settings) {
      return invalid(format(
          "rank {} ({} pid {}) has other settings than rank {}: {} against {}. They must be the same on all ranks", r,
          roster->members[r].host, roster->members[r].pid, meeting.rank, invitation->plan_settings,
          mine.plan_settings));
    }
    invitations.push_back(std::move(*invitation));
  }
  return invitations;
}

}  // namespace

Result<Invitation> invite(tutti_comm& comm) {
  if (!comm.runtime) {
    Result<std::shared_ptr<Runtime>> runtime = Runtime::acquire(comm.settings);
    if (!runtime) return runtime.status();
    comm.runtime = *runtime;
    comm.runtime->warn_once(comm.settings.warnings);
  }
  Invitation mine;
  TUTTI_RETURN_IF_ERROR(comm.runtime->random(std::as_writable_bytes(std::span(&mine.nonce, 1))));
  mine.plan_settings = plan_settings_of(comm.settings);
  comm.runtime->with_engine([&](Engine& engine, Instant) {
    mine.address = engine.address();
    mine.board_offset = engine.reserve_board(comm.settings.shm_board_bytes);
  });
  return mine;
}

void cancel_invitation(tutti_comm& comm, const Invitation& invitation) {
  comm.runtime->with_engine(
      [&](Engine& engine, Instant) { engine.cancel_board(invitation.board_offset, comm.settings.shm_board_bytes); });
}

void cancel_enrolment(tutti_comm& comm) {
  if (comm.enrolled) cancel_invitation(comm, *comm.enrolled);
  comm.enrolled.reset();
}

Status install(tutti_comm& comm, std::uint64_t id, const std::string& name, int rank,
               const std::vector<Invitation>& members, const std::vector<bool>& joins) {
  const Settings& settings = comm.settings;
  CommunicatorSpec spec;
  spec.id = id;
  spec.name = name;
  spec.rank = rank;
  spec.timeout = settings.timeout;
  spec.eager_bytes = settings.eager_bytes;
  spec.board_bytes = settings.shm_board_bytes;
  spec.segment_bytes = static_cast<std::uint32_t>(settings.segment_bytes);
  spec.algorithm = settings.algorithm;
  spec.elastic = settings.elastic != Elastic::off;
  spec.by_step = settings.elastic == Elastic::step;
  spec.minimum = static_cast<std::uint32_t>(settings.elastic_minimum);
  spec.stragglers.timeout = settings.straggler_timeout;
  for (std::size_t r = 0; r < members.size(); ++r)
    spec.members.push_back({members[r].address, members[r].board_offset, r < joins.size() && joins[r]});
  spec.stragglers.excludes = settings.straggler_policy == StragglerAction::exclude;
  spec.stragglers.limit = settings.straggler_limit;
  const Result<Communicator*> created =
      comm.runtime->with_engine([&](Engine& engine, Instant now) { return engine.create(spec, now); });
  if (!created) return created.status();
  comm.communicator = *created;
  if ((*created)->planner().shape().ranks_per_core > 1) comm.runtime->set_crowded(true);
  return {};
}

namespace {

Status build(const Meeting& meeting, const Settings& settings, tutti_comm& comm) {
  comm.settings = settings;
  if (settings.elastic != Elastic::off && meeting.size < settings.elastic_minimum) {
    return invalid(
        format("TUTTI_ELASTIC_MINIMUM is {}, and the communicator is to have {} members; start more, or "
               "allow fewer",
               settings.elastic_minimum, meeting.size));
  }
  const Result<Invitation> mine = invite(comm);
  if (!mine) return mine.status();
  const Result<std::vector<Invitation>> invitations = exchange(meeting, *mine);
  if (!invitations) {
    cancel_invitation(comm, *mine);
    return invitations.status();
  }
  return install(comm, (*invitations)[0].nonce, meeting.name, meeting.rank, *invitations);
}

tutti_status create(tutti_comm** out, const Meeting& meeting, const Settings& settings,
                    std::string private_store = {}) {
  auto comm = std::make_unique<tutti_comm>();
  comm->private_store = std::move(private_store);
  comm->store = meeting.store;
  comm->group = meeting.group;
  const Status built = build(meeting, settings, *comm);
  if (!built) {
    // The others learn of it at once instead of waiting for this rank.
    if (meeting.store != nullptr && meeting.size > 1) {
      static_cast<void>(!fail_rendezvous(*meeting.store, meeting.group, meeting.rank, meeting.size, built,
                                         monotonic_now() + std::chrono::seconds(2)));
    }
    return report(built.prefixed(format("{} was not created", meeting.name)));
  }
  *out = comm.release();
  return TUTTI_OK;
}

// This host's address for others: the first that is not loopback, else loopback.
std::string own_address() {
  ifaddrs* list = nullptr;
  std::string found = "127.0.0.1";
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    if ((entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text, sizeof text);
    found = text;
    break;
  }
  freeifaddrs(list);
  return found;
}

}  // namespace

Result<Store*> job_store(const LaunchEnvironment& launch, const Settings& settings, Instant deadline,
                         const Log& log) {
  const Result<StoreAccess> access = read_store_access(settings);
  if (!access) return access.status();
  if (is_callback_address(launch.store)) return callback_store(launch.store, access->secret);
  Stores& all = stores();
  const std::lock_guard lock(all.mutex);
  // Rank 0 may have to serve it, whoever else of this process (a thread each) has joined already.
  const std::string key =
      format("{}\n{}\n{}", launch.store, access->fingerprint, launch.rank == 0 ? "serves" : "joins");
  if (const auto found = all.jobs.find(key); found != all.jobs.end()) return found->second.store.get();
  Result<JobStore> joined = join_store(launch, *access, deadline, log);
  if (!joined) return joined.status();
  Store* const store = joined->store.get();
  if (store != nullptr) all.jobs[key] = std::move(*joined);
  return store;
}

std::string group_of(const LaunchEnvironment& launch, const std::string& name) {
  return format("comm/{}/{}", launch.job, name);
}

namespace {

tutti_status create_in_job(tutti_comm** out, const LaunchEnvironment& launch, const Settings& settings,
                           const tutti_comm_options* options) {
  Meeting meeting;
  meeting.name = name_of(options, kDefaultName);
  meeting.group = group_of(launch, meeting.name);
  meeting.rank = launch.rank;
  meeting.size = launch.size;
  meeting.deadline = deadline_after(monotonic_now(), time_limit(timeout_of(options), settings.connect_timeout));
  const bool may_grow = settings.elastic != Elastic::off && !launch.store.empty();
  if (launch.size > 1 || may_grow) {
    const Result<Store*> store = job_store(launch, settings, meeting.deadline, {});
    if (!store) return report(store.status().prefixed(format("{} was not created", meeting.name)));
    meeting.store = *store;
  }
  constexpr std::string_view kFile = "file://";
  const bool removes = launch.store_is_private && launch.rank == 0 && launch.store.starts_with(kFile);
  const tutti_status created =
      create(out, meeting, settings, removes ? launch.store.substr(kFile.size()) : std::string());
  if (*out != nullptr) (*out)->launch = launch;
  return created;
}

}  // namespace

Status check_creation(const char* function, tutti_comm** comm) {
  if (comm == nullptr) return invalid(format("{}: comm is NULL; pass the address of a pointer", function));
  *comm = nullptr;
  if (in_group())
    return invalid(format("{} between tutti_group_begin and tutti_group_end; end the group first", function));
  return {};
}

namespace {

// What ranks tell each other in a split.
struct SplitEntry {
  std::int32_t color;
  std::int32_t key;
  std::uint64_t board_offset;
};
constexpr std::int32_t kBadColor = -2;

tutti_status split(tutti_comm* comm, int color, int key, tutti_comm** out, const tutti_comm_options* options) {
  const Result<Settings> settings = options != nullptr && options->settings != nullptr
                                        ? read_call_settings(options)
                                        : Result<Settings>(comm->settings);
  if (!settings) return report(settings.status());
  Communicator& parent = *comm->communicator;
  const auto ranks = static_cast<std::size_t>(parent.size());
  const std::uint64_t board_bytes = parent.planner().shape().board_bytes;
  SplitEntry mine{color < TUTTI_NO_COLOR ? kBadColor : color, key, kNoBoard};
  const std::uint32_t number = comm->runtime->with_engine([&](Engine& engine, Instant) {
    if (color >= 0) mine.board_offset = engine.reserve_board(board_bytes);
    return engine.next_split(parent);
  });
  std::vector<SplitEntry> entries(ranks);
  OperationRequest request;
  request.kind = CallKind::all_gather;
  request.input = reinterpret_cast<const std::byte*>(&mine);
  request.output = reinterpret_cast<std::byte*>(entries.data());
  request.count = sizeof mine;
  request.timeout = time_limit(timeout_of(options), comm->settings.timeout);
  Status status = run_operation(*comm, request);
  for (std::size_t r = 0; status.is_ok() && r < ranks; ++r) {
    if (entries[r].color == kBadColor)
      status = invalid(format("tutti_comm_split: {} passed a negative colour that is not TUTTI_NO_COLOR",
                              parent.describe(static_cast<Rank>(r))));
  }
  if (!status || color == TUTTI_NO_COLOR) {
    comm->runtime->with_engine([&](Engine& engine, Instant) { engine.cancel_board(mine.board_offset, board_bytes); });
    return report(status);
  }
  std::vector<Rank> members;
  for (std::size_t r = 0; r < ranks; ++r) {
    if (entries[r].color == color) members.push_back(static_cast<Rank>(r));
  }
  std::stable_sort(members.begin(), members.end(), [&](Rank a, Rank b) {
    return entries[static_cast<std::size_t>(a)].key < entries[static_cast<std::size_t>(b)].key;
  });
  std::vector<std::uint64_t> offsets;
  for (const Rank member : members) offsets.push_back(entries[static_cast<std::size_t>(member)].board_offset);
  const std::uint64_t id = mix(mix(parent.id(), number), static_cast<std::uint64_t>(color));
  auto made = std::make_unique<tutti_comm>();
  made->runtime = comm->runtime;
  made->settings = *settings;
  const Result<Communicator*> created = comm->runtime->with_engine([&](Engine& engine, Instant now) {
    return engine.create_from(parent, id, name_of(options, format("{}/split{}", parent.name(), number)), members,
                              offsets, now);
  });
  if (!created) return report(created.status());
  made->communicator = *created;
  *out = made.release();
  return TUTTI_OK;
}

}  // namespace

Status check_communicator(const tutti_comm* comm) {
  if (comm == nullptr) return invalid("the communicator is NULL");
  if (comm->runtime->is_inherited()) {
    return invalid("the communicator was made before this process was forked; a child makes its own communicators");
  }
  if (comm->finalized.load(std::memory_order_acquire)) {
    return invalid(format("{} is finalized; only tutti_comm_destroy may follow", comm->communicator->name()));
  }
  return {};
}

void put_away(tutti_comm* comm) {
  cancel_enrolment(*comm);
  constexpr Nanoseconds kFlush = std::chrono::seconds(1);
  comm->runtime->wait_drained(comm->runtime->now() + kFlush);
  if (!comm->private_store.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(comm->private_store, ignored);
  }
  delete comm;
}

}  // namespace tutti

using tutti::format;
using tutti::invalid;
using tutti::report;
using tutti::Status;

tutti_status tutti_unique_id_create(tutti_unique_id* id) {
  if (id == nullptr) return report(invalid("tutti_unique_id_create: id is NULL"));
  const tutti::Result<tutti::Settings> settings = tutti::read_call_settings(nullptr);
  if (!settings) return report(settings.status());
  tutti::UniqueId made;
  made.secret.resize(32);
  std::uint64_t words[2] = {};
  Status status = tutti::secure_random(std::as_writable_bytes(std::span(words)));
  if (status.is_ok()) status = tutti::secure_random(std::as_writable_bytes(std::span(made.secret)));
  if (!status) return report(status);
  made.id.high = words[0];
  made.id.low = words[1];
  tutti::TcpStoreServer::Options options;
  options.secret = made.secret;
  const auto tls = tutti::TlsContext::create(*settings);
  if (!tls) return report(tls.status().prefixed("the rendezvous for a unique id was not started"));
  options.tls = *tls;
  auto server = tutti::TcpStoreServer::start(options, {});
  if (!server) return report(server.status().prefixed("the rendezvous for a unique id was not started"));
  made.store = (*server)->address(tutti::own_address());
  const tutti::Result<tutti_unique_id> bytes = made.encode();
  if (!bytes) return report(bytes.status());
  tutti::Stores& all = tutti::stores();
  const std::lock_guard lock(all.mutex);
  all.servers.push_back(std::move(*server));
  *id = *bytes;
  return TUTTI_OK;
}

tutti_status tutti_comm_create(tutti_comm** comm, int size, const tutti_unique_id* id, int rank,
                               const tutti_comm_options* options) {
  Status status = tutti::check_creation("tutti_comm_create", comm);
  if (status.is_ok() && id == nullptr)
    status = invalid("tutti_comm_create: id is NULL; make one with tutti_unique_id_create");
  if (status.is_ok()) status = tutti::check_rank_and_size(rank, size).prefixed("tutti_comm_create");
  if (!status) return report(status);
  const tutti::Result<tutti::UniqueId> unique = tutti::UniqueId::decode(*id);
  if (!unique) return report(unique.status().prefixed("tutti_comm_create"));
  const tutti::Result<tutti::Settings> settings = tutti::read_call_settings(options);
  if (!settings) return report(settings.status());
  tutti::Meeting meeting;
  meeting.name = tutti::name_of(options, tutti::kDefaultName);
  meeting.group = "id/" + tutti::to_string(unique->id);
  meeting.rank = rank;
  meeting.size = size;
  meeting.deadline = tutti::deadline_after(tutti::monotonic_now(),
                                           tutti::time_limit(tutti::timeout_of(options), settings->connect_timeout));
  const auto tls = tutti::TlsContext::create(*settings);
  if (!tls) return report(tls.status().prefixed(format("{} was not created", meeting.name)));
  auto store = tutti::TcpStore::create(unique->store, unique->secret, *tls);
  if (!store) return report(store.status());
  meeting.store = size > 1 ? store->get() : nullptr;
  const tutti_status created = tutti::create(comm, meeting, *settings);
  if (*comm != nullptr) (*comm)->store = nullptr;  // an id serves once: nobody joins by it later
  return created;
}

tutti_status tutti_comm_create_from_store(tutti_comm** comm, int size, int rank, const char* store,
                                          const tutti_comm_options* options) {
  Status status = tutti::check_creation("tutti_comm_create_from_store", comm);
  if (status.is_ok() && store == nullptr)
    status = invalid("tutti_comm_create_from_store: store is NULL; expected tcp://host:port or file:///directory");
  if (status.is_ok()) status = tutti::check_rank_and_size(rank, size).prefixed("tutti_comm_create_from_store");
  if (!status) return report(status);
  const tutti::Result<tutti::Settings> settings = tutti::read_call_settings(options);
  if (!settings) return report(settings.status());
  tutti::LaunchEnvironment launch;
  launch.rank = rank;
  launch.size = size;
  launch.store = store;
  return tutti::create_in_job(comm, launch, *settings, options);
}

tutti_status tutti_comm_create_from_environment(tutti_comm** comm, const tutti_comm_options* options) {
  const Status status = tutti::check_creation("tutti_comm_create_from_environment", comm);
  if (!status) return report(status);
  const tutti::Result<tutti::Settings> settings = tutti::read_call_settings(options);
  if (!settings) return report(settings.status());
  const tutti::Result<tutti::LaunchEnvironment> launch =
      tutti::read_launch_environment(environ, tutti::read_launch_facts(), settings->store);
  if (!launch) return report(launch.status());
  return tutti::create_in_job(comm, *launch, *settings, options);
}

tutti_status tutti_comm_split(tutti_comm* comm, int color, int key, tutti_comm** split,
                              const tutti_comm_options* options) {
  Status status = tutti::check_creation("tutti_comm_split", split);
  if (status.is_ok()) status = tutti::check_communicator(comm);
  if (!status) return report(status);
  return tutti::split(comm, color, key, split, options);
}

tutti_status tutti_comm_duplicate(tutti_comm* comm, tutti_comm** duplicate, const tutti_comm_options* options) {
  Status status = tutti::check_creation("tutti_comm_duplicate", duplicate);
  if (status.is_ok()) status = tutti::check_communicator(comm);
  if (!status) return report(status);
  return tutti::split(comm, 0, comm->communicator->rank(), duplicate, options);
}

tutti_status tutti_comm_rank(const tutti_comm* comm, int* rank) {
  if (comm == nullptr || rank == nullptr) return report(invalid("tutti_comm_rank: an argument is NULL"));
  *rank = comm->communicator->rank();
  return TUTTI_OK;
}

tutti_status tutti_comm_size(const tutti_comm* comm, int* size) {
  if (comm == nullptr || size == nullptr) return report(invalid("tutti_comm_size: an argument is NULL"));
  *size = comm->communicator->size();
  return TUTTI_OK;
}

tutti_status tutti_comm_finalize(tutti_comm* comm, std::int64_t timeout_ns) {
  Status status = tutti::check_communicator(comm);
  if (status.is_ok() && tutti::in_group())
    status = invalid("tutti_comm_finalize between tutti_group_begin and tutti_group_end; end the group first");
  if (!status) return report(status);
  const tutti::Nanoseconds limit = tutti::time_limit(timeout_ns, comm->settings.timeout);
  const tutti::Instant deadline = tutti::deadline_after(comm->runtime->now(), limit);
  std::size_t pending = 0;
  const auto quiet = [&] {
    pending = comm->communicator->pending();
    return pending == 0;
  };
  if (!comm->runtime->wait(quiet, deadline)) {
    return report(
        Status(tutti::Code::timeout,
               format("{}: {} operations of this rank were not complete within {}; finalize again, or abort",
                      comm->communicator->name(), pending, tutti::format_duration(limit))));
  }
  tutti::OperationRequest request;
  request.kind = tutti::CallKind::barrier;
  request.count = 1;
  request.timeout = limit;
  status = tutti::run_operation(*comm, request);
  if (status.is_ok()) comm->finalized.store(true, std::memory_order_release);
  return report(status);
}

tutti_status tutti_comm_abort(tutti_comm* comm, const char* reason) {
  const Status status = tutti::check_communicator(comm);
  if (!status) return report(status);
  comm->runtime->with_engine([&](tutti::Engine& engine, tutti::Instant now) {
    const tutti::Communicator& communicator = *comm->communicator;
    engine.abort(
        comm->communicator,
        Status(tutti::Code::aborted,
               format("{}: aborted by {}: {}", communicator.name(), communicator.describe(communicator.rank()),
                      reason != nullptr ? reason : "no reason given"),
               communicator.rank()),
        now);
  });
  return TUTTI_OK;
}

tutti_status tutti_comm_destroy(tutti_comm* comm) {
  if (comm == nullptr) return TUTTI_OK;
  if (comm->runtime->is_inherited()) {
    return report(invalid("the communicator was made before this process was forked; it is the parent's to destroy"));
  }
  if (tutti::in_group())
    return report(invalid("tutti_comm_destroy between tutti_group_begin and tutti_group_end; end the group first"));
  comm->runtime->with_engine(
      [&](tutti::Engine& engine, tutti::Instant now) { engine.destroy(comm->communicator, now); });
  tutti::put_away(comm);
  return TUTTI_OK;
}

tutti_status tutti_comm_error(const tutti_comm* comm, char* text, std::size_t capacity) {
  if (comm == nullptr) return report(invalid("the communicator is NULL"));
  if (comm->runtime->is_inherited()) {
    const Status status = tutti::check_communicator(comm);
    tutti::give_text(status.text(), text, capacity, nullptr);
    return static_cast<tutti_status>(status.code());
  }
  const Status failure =
      comm->runtime->with_engine([&](tutti::Engine&, tutti::Instant) { return comm->communicator->failure(); });
  tutti::give_text(failure.text(), text, capacity, nullptr);
  return static_cast<tutti_status>(failure.code());
}

tutti_status tutti_comm_settings(const tutti_comm* comm, char* text, std::size_t capacity, std::size_t* needed) {
  if (comm == nullptr) return report(invalid("the communicator is NULL"));
  return tutti::give_text(tutti::describe(comm->settings), text, capacity, needed);
}

tutti_status tutti_comm_explain(tutti_comm* comm, tutti_collective what, std::size_t count, tutti_datatype type,
                                tutti_op op, char* text, std::size_t capacity, std::size_t* needed) {
  Status status = tutti::check_communicator(comm);
  if (status.is_ok() && static_cast<unsigned>(what) > TUTTI_SCATTER)
    status = invalid(format("{} is no tutti_collective", static_cast<int>(what)));
  if (status.is_ok()) status = tutti::supports(static_cast<tutti::DataType>(type), static_cast<tutti::ReduceOp>(op));
  if (!status) return report(status);
  tutti::OperationRequest request;
  request.kind = static_cast<tutti::CallKind>(what);
  request.count = count;
  request.type = static_cast<tutti::DataType>(type);
  request.op = static_cast<tutti::ReduceOp>(op);
  const tutti::Result<std::string> why = comm->runtime->with_engine(
      [&](tutti::Engine& engine, tutti::Instant) { return engine.explain(comm->communicator, request); });
  if (!why) return report(why.status());
  return tutti::give_text(*why, text, capacity, needed);
}
