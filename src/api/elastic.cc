// Elastic communicators of the C API: refreshed after their members have changed, and joined by processes that were
// not there from the beginning. What is agreed upon, and how, is the engine's (council.h); here it becomes a
// communicator.
//
// In the store, under the communicator's group: GROUP/waiting/PROCESS is the invitation of a process that wants to
// join; GROUP/admitted/PROCESS is the boarding pass that it is given in the end.
#include <algorithm>
#include <cstring>

#include "src/api/creation.h"
#include "src/api/state.h"
#include "src/base/format.h"
#include "src/base/secret.h"
#include "src/engine/roll.h"
#include "src/membership/stores.h"

namespace tutti {

namespace {

using Blobs = std::vector<std::string>;

std::string encode_blobs(const Blobs& blobs) {
  std::vector<std::optional<std::string>> all(blobs.begin(), blobs.end());
  std::string bytes(4, '\0');
  const auto count = static_cast<std::uint32_t>(all.size());
  std::memcpy(bytes.data(), &count, 4);
  return bytes + encode_roll(all);
}

Result<Blobs> decode_blobs(std::string_view bytes) {
  constexpr std::uint32_t kBlobsMax = 1u << 16;
  std::uint32_t count = 0;
  if (bytes.size() >= 4) std::memcpy(&count, bytes.data(), 4);
  if (bytes.size() < 4 || count > kBlobsMax)
    return Status(Code::internal, format("{} bytes that should be a list of members are none", bytes.size()));
  auto all = decode_roll(bytes.substr(4), count);
  if (!all) return all.status();
  Blobs blobs;
  for (auto& blob : *all) blobs.push_back(blob.value_or(""));
  return blobs;
}

std::string text_of(const Invitation& invitation) {
  const std::vector<std::byte> bytes = invitation.encode();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<Invitation> invitation_of(std::string_view text) { return Invitation::decode(std::as_bytes(std::span(text))); }

std::string waiting_prefix(const std::string& group) { return group + "/waiting/"; }
std::string waiting_key(const std::string& group, const Invitation& who) {
  return waiting_prefix(group) + to_string(who.address.process);
}
std::string admitted_key(const std::string& group, const Invitation& who) {
  return format("{}/admitted/{}", group, to_string(who.address.process));
}

// Who goes on: the same at every member.
struct View {
  std::uint64_t id = 0;
  std::uint64_t epoch = 0;
  std::size_t stayed = 0;  // of the members, the first; the others join
  std::vector<Invitation> members;

  std::size_t joiners() const { return members.size() - std::min(stayed, members.size()); }

  std::string encode() const {
    Blobs blobs = {format("{} {} {}", id, epoch, stayed)};
    for (const Invitation& member : members) blobs.push_back(text_of(member));
    return encode_blobs(blobs);
  }

  static Result<View> decode(std::string_view bytes) {
    const Result<Blobs> blobs = decode_blobs(bytes);
    if (!blobs) return blobs.status();
    View view;
    unsigned long long id = 0;
    unsigned long long epoch = 0;
    if (blobs->empty() || std::sscanf((*blobs)[0].c_str(), "%llu %llu %zu", &id, &epoch, &view.stayed) != 3)
      return Status(Code::internal, "a boarding pass has no communicator's number");
    view.id = id;
    view.epoch = epoch;
    for (std::size_t i = 1; i < blobs->size(); ++i) {
      Result<Invitation> member = invitation_of((*blobs)[i]);
      if (!member) return member.status();
      view.members.push_back(*std::move(member));
    }
    return view;
  }

  int rank_of(const ProcessId& process, std::uint64_t nonce) const {
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (members[i].address.process == process && members[i].nonce == nonce) return static_cast<int>(i);
    }
    return -1;
  }
};

// Everything that a refresh needs, step by step. Each step may be entered again.
class Refresh {
 public:
  Refresh(tutti_comm& comm, bool admits, Instant deadline) : comm_(comm), admits_(admits), deadline_(deadline) {}

  // All members are to have its content, too.
  void with_state(tutti_state* state, const tutti_state_options* options) {
    state_ = state;
    state_options_ = options;
  }

  // Until a communicator of those who are left works, or the deadline passes.
  Status run() {
    while (true) {
      TUTTI_RETURN_IF_ERROR(change_members());
      Status works = meet();
      if (works && state_ != nullptr) works = synchronize(*state_, comm_, state_options_, nullptr);
      const bool is_wrong =
          comm_.runtime->with_engine([&](Engine&, Instant) { return !communicator().failure().is_ok(); });
      if (works || !is_wrong || communicator().council()->stage == Council::Stage::stopped ||
          comm_.runtime->now() >= deadline_) {
        return works;
      }
    }
  }

  // The first operation of a new view: all its members are there, or it is changed again. Those who stay have just
  // called; who joins has asked, and may have stopped or be cut off since then: it is not waited for as long.
  Status meet() {
    const Instant now = comm_.runtime->now();
    const Instant until =
        joiners_ > 0 ? deadline_after(now, comm_.settings.heartbeat_timeout + std::chrono::seconds(2)) : deadline_;
    OperationRequest request;
    request.kind = CallKind::barrier;
    request.count = 1;
    request.timeout = std::max(std::min(until, deadline_) - now, Nanoseconds(std::chrono::milliseconds(1)));
    return run_operation(comm_, request);
  }

 private:
  Communicator& communicator() { return *comm_.communicator; }

  Status change_members() {
    TUTTI_RETURN_IF_ERROR(reach_verdict());
    if (!comm_.enrolled) {
      Result<Invitation> mine = invite(comm_);
      if (!mine) return mine.status();
      comm_.enrolled = *std::move(mine);
    }
    TUTTI_RETURN_IF_ERROR(agree(*comm_.enrolled));  // what was contributed stays: it may be called again
    const Invitation mine = *std::exchange(comm_.enrolled, std::nullopt);
    return go_on(mine);
  }

  Status reach_verdict() {
    comm_.runtime->with_engine([&](Engine& engine, Instant now) {
      engine.revoke(
          &communicator(),
          Status(Code::aborted,
                 format("{}: {} asked for a refresh; call tutti_comm_refresh, too, then do the operation again",
                        communicator().name(), communicator().describe(communicator().rank())),
                 communicator().rank()),
          now);
    });
    const auto is_over = [&] { return communicator().council()->is_over() && communicator().pending() == 0; };
    if (!comm_.runtime->wait(is_over, deadline_)) {
      return {Code::timeout, format("{}: the members have not agreed in time on how its operations ended: {}",
                                    communicator().name(), communicator().failure().text())};
    }
    const bool goes_on =
        communicator().council()->stage == Council::Stage::judged && !communicator().verdict_excludes_self();
    return goes_on ? Status() : communicator().failure();
  }

  // The first of the survivors speaks for those who want to join; a store that does not answer costs them time, not
  // us.
  Blobs those_waiting() {
    const bool speaks = communicator().council()->survivors.front() == communicator().rank();
    if (!admits_ || !speaks || comm_.store == nullptr) return {};
    const Instant until = std::min(deadline_, comm_.runtime->now() + Nanoseconds(std::chrono::seconds(2)));
    const Store::Gathered waiting = comm_.store->gather(waiting_prefix(comm_.group), 0, until);
    Blobs blobs;
    for (const auto& [key, invitation] : waiting.entries) blobs.push_back(invitation);
    return blobs;
  }

  Status agree(const Invitation& mine) {
    Blobs contribution = those_waiting();
    contribution.insert(contribution.begin(), text_of(mine));
    TUTTI_RETURN_IF_ERROR(comm_.runtime->with_engine([&](Engine& engine, Instant now) {
      return engine.begin_next(&communicator(), encode_blobs(contribution), now);
    }));
    if (comm_.runtime->wait([&] { return communicator().council()->next.has_value(); }, deadline_)) return {};
    std::string missing;
    Rank first = Status::kNobody;
    comm_.runtime->with_engine([&](Engine&, Instant) {
      const Council& council = *communicator().council();
      for (const Rank rank : council.survivors) {
        if (council.seats[static_cast<std::size_t>(rank)].stays) continue;
        if (first == Status::kNobody) first = rank;
        missing += (missing.empty() ? "" : ", ") + communicator().describe(rank);
      }
    });
    return {
        Code::timeout,
        format("{}: not all survivors have called tutti_comm_refresh in time; missing: {}. Call it again, or destroy "
               "the communicator",
               communicator().name(), missing.empty() ? "nobody, but no agreement was reached" : missing),
        first};
  }

  // The same at every member: those who stay in their order, then those whom the first of them brings.
  Result<View> next_view() {
    const Council& council = *communicator().council();
    const auto roll = decode_roll(*council.next, council.survivors.size());
    if (!roll) return roll.status();
    View view;
    Blobs joining;
    for (const auto& contribution : *roll) {
      if (!contribution) continue;
      Result<Blobs> blobs = decode_blobs(*contribution);
      if (!blobs) return blobs.status();
      if (blobs->empty()) return Status(Code::internal, "a member has contributed no invitation of its own");
      Result<Invitation> member = invitation_of((*blobs)[0]);
      if (!member) return member.status();
      if (joining.empty()) joining.assign(blobs->begin() + 1, blobs->end());
      view.members.push_back(*std::move(member));
    }
    view.stayed = view.members.size();
    for (const std::string& text : joining) {
      Result<Invitation> member = invitation_of(text);
      if (!member || member->plan_settings != plan_settings_of(comm_.settings))
        continue;  // it is told by its own end
      if (view.rank_of(member->address.process, member->nonce) < 0) view.members.push_back(*std::move(member));
    }
    view.epoch = comm_.epoch + 1;
    view.id = mix(mix(communicator().id(), view.epoch), view.members.front().nonce);
    return view;
  }

  Status go_on(const Invitation& mine) {
    const Result<View> view = next_view();
    if (!view) return view.status();
    const int rank = view->rank_of(mine.address.process, mine.nonce);
    if (rank < 0) {
      cancel_invitation(comm_, mine);
      return {Code::peer_lost,
              format("{}: the other survivors went on without {}, this one, as they could not reach it",
                     communicator().name(), communicator().describe(communicator().rank()))};
    }
    Communicator* const before = comm_.communicator;
    TUTTI_RETURN_IF_ERROR(install(comm_, view->id, before->name(), rank, view->members, view->joiners()));
    comm_.epoch = view->epoch;
    joiners_ = view->joiners();
    comm_.runtime->with_engine([&](Engine& engine, Instant now) { engine.destroy(before, now); });
    admit(*view, rank);
    return {};
  }

  // Each of those who stay says so: one may end before it could. Nobody is let in twice for having asked once: who is
  // dead by now would be for ever.
  void admit(const View& view, int rank) {
    if (comm_.store == nullptr) return;
    if (rank == 0 && comm_.launch.store.starts_with("tcp://")) serve_store();
    const Instant until = std::min(deadline_, comm_.runtime->now() + Nanoseconds(std::chrono::seconds(2)));
    for (std::size_t i = view.stayed; i < view.members.size(); ++i) {
      const Invitation& joiner = view.members[i];
      Status said = comm_.store->set(admitted_key(comm_.group, joiner), view.encode(), until);
      if (said) said = comm_.store->remove(waiting_key(comm_.group, joiner), until).status();
      if (!said)
        comm_.runtime->log().write(LogLevel::warn, "comm", "{}: {} could not be told that it is admitted: {}",
                                   communicator().name(), joiner.address.describe(), said.text());
    }
  }

  // The store may have gone with the process that hosted it; whoever is rank 0 now takes over where it can.
  void serve_store() {
    LaunchEnvironment launch = comm_.launch;
    launch.rank = 0;
    launch.size = std::max(2, static_cast<int>(communicator().size()));
    const Result<std::string> secret = read_secret(comm_.settings);
    if (!secret) return;
    const Result<Store*> store =
        job_store(launch, *secret, comm_.runtime->now() + Nanoseconds(std::chrono::seconds(2)), comm_.runtime->log());
    if (store && *store != nullptr) comm_.store = *store;
  }

  tutti_comm& comm_;
  const bool admits_;
  const Instant deadline_;
  std::size_t joiners_ = 0;  // in the view that was agreed upon last
  tutti_state* state_ = nullptr;
  const tutti_state_options* state_options_ = nullptr;
};

Status check_elastic(const char* function, const tutti_comm* comm) {
  TUTTI_RETURN_IF_ERROR(check_communicator(comm));
  if (in_group())
    return invalid(format("{} between tutti_group_begin and tutti_group_end; end the group first", function));
  if (comm->communicator->council() != nullptr) return {};
  return invalid(format("{}: {} is not elastic; create it with TUTTI_ELASTIC=on, on every rank", function,
                        comm->communicator->name()));
}

// One attempt to get in; AGAIN: the view that let this process in came to nothing.
Status board(tutti_comm& comm, const std::string& name, Instant deadline) {
  const Result<Invitation> mine = invite(comm);
  if (!mine) return mine.status();
  const std::string waiting = waiting_key(comm.group, *mine);
  const std::string admitted = admitted_key(comm.group, *mine);
  Status asked = comm.store->remove(admitted, deadline).status();
  if (asked.is_ok()) asked = comm.store->set(waiting, text_of(*mine), deadline);
  const Result<std::string> pass = asked.is_ok() ? comm.store->get(admitted, deadline) : Result<std::string>(asked);
  const Instant a_moment = std::max(deadline, comm.runtime->now() + Nanoseconds(std::chrono::seconds(1)));
  static_cast<void>(comm.store->remove(waiting, a_moment).is_ok());
  static_cast<void>(comm.store->remove(admitted, a_moment).is_ok());
  if (!pass) {
    cancel_invitation(comm, *mine);
    if (pass.status().code() != Code::timeout) return pass.status();
    return {Code::timeout,
            format("the members of {} did not let this process in within the time; they do at their next "
                   "tutti_comm_refresh ({})",
                   name, pass.status().text())};
  }
  const Result<View> view = View::decode(*pass);
  const int rank = view ? view->rank_of(mine->address.process, mine->nonce) : -1;
  if (rank < 0) {
    cancel_invitation(comm, *mine);
    return view ? Status(Code::again, "the view was of another attempt") : view.status();
  }
  TUTTI_RETURN_IF_ERROR(install(comm, view->id, name, rank, view->members, view->joiners()));
  comm.epoch = view->epoch;
  Refresh refresh(comm, true, deadline);
  Status works = refresh.meet();
  if (!works && comm.communicator->council()->stage != Council::Stage::stopped) works = refresh.run();
  if (works) return {};
  comm.runtime->with_engine([&](Engine& engine, Instant now) { engine.destroy(comm.communicator, now); });
  comm.communicator = nullptr;
  return {Code::again, works.text()};
}

}  // namespace

Status join(tutti_comm& comm, const std::string& name, Instant deadline) {
  Status status;
  do {
    status = board(comm, name, deadline);
  } while (status.code() == Code::again && comm.runtime->now() < deadline);
  return status.code() == Code::again ? Status(Code::timeout, status.text()) : status;
}

}  // namespace tutti

using tutti::format;
using tutti::invalid;
using tutti::report;
using tutti::Status;

tutti_status tutti_comm_revoke(tutti_comm* comm, const char* reason) {
  const Status status = tutti::check_elastic("tutti_comm_revoke", comm);
  if (!status) return report(status);
  comm->runtime->with_engine([&](tutti::Engine& engine, tutti::Instant now) {
    const tutti::Communicator& communicator = *comm->communicator;
    engine.revoke(
        comm->communicator,
        Status(tutti::Code::aborted,
               format("{}: revoked by {}: {}", communicator.name(), communicator.describe(communicator.rank()),
                      reason != nullptr ? reason : "no reason given"),
               communicator.rank()),
        now);
  });
  comm->runtime->attend();
  return TUTTI_OK;
}

tutti_status tutti_comm_refresh(tutti_comm* comm, const tutti_refresh_options* options) {
  Status status = tutti::check_elastic("tutti_comm_refresh", comm);
  constexpr std::size_t kWithoutState = offsetof(tutti_refresh_options, admit) + sizeof(int);
  if (status.is_ok() && options != nullptr && options->size < kWithoutState) {
    status = invalid(format(
        "tutti_refresh_options.size is {}; set it to sizeof(tutti_refresh_options) (TUTTI_REFRESH_OPTIONS_INIT does)",
        options->size));
  }
  if (!status) return report(status);
  const tutti::Nanoseconds limit =
      tutti::time_limit(options != nullptr ? options->timeout_ns : 0, comm->settings.connect_timeout);
  const bool admits = options == nullptr || options->admit != 0;
  tutti::Refresh refresh(*comm, admits, tutti::deadline_after(comm->runtime->now(), limit));
  if (options != nullptr && options->size >= sizeof(tutti_refresh_options) && options->state != nullptr) {
    status = tutti::check_synchronization("tutti_comm_refresh", options->state, options->state_options);
    if (!status) return report(status);
    refresh.with_state(options->state, options->state_options);
  }
  return report(refresh.run());
}

tutti_status tutti_comm_join(tutti_comm** comm, const char* store, const tutti_comm_options* options) {
  Status status = tutti::check_creation("tutti_comm_join", comm);
  if (!status) return report(status);
  const tutti::Result<tutti::Settings> settings = tutti::read_call_settings(options);
  if (!settings) return report(settings.status());
  if (!settings->elastic)
    return report(invalid("tutti_comm_join: only elastic communicators can be joined; set TUTTI_ELASTIC=on"));
  tutti::LaunchEnvironment launch;
  launch.rank = 1;  // somebody else serves the store
  launch.size = 2;
  launch.store = store != nullptr ? store : settings->store;
  if (const char* const job = std::getenv("TUTTI_JOB")) launch.job = job;
  if (launch.store.empty()) {
    return report(
        invalid("tutti_comm_join: no store is named; pass the one at which the members met, or set "
                "TUTTI_STORE"));
  }
  const tutti::Result<std::string> secret = tutti::read_secret(*settings);
  if (!secret) return report(secret.status());
  const tutti::Instant deadline = tutti::deadline_after(
      tutti::monotonic_now(), tutti::time_limit(tutti::timeout_of(options), settings->connect_timeout));
  const tutti::Result<tutti::Store*> found = tutti::job_store(launch, *secret, deadline, {});
  if (!found) return report(found.status().prefixed("tutti_comm_join"));
  auto made = std::make_unique<tutti_comm>();
  made->settings = *settings;
  made->store = *found;
  made->launch = launch;
  const std::string name = tutti::name_of(options, tutti::kDefaultName);
  made->group = tutti::group_of(launch, name);
  status = tutti::join(*made, name, deadline);
  if (!status) return report(status.prefixed("tutti_comm_join"));
  *comm = made.release();
  return TUTTI_OK;
}

tutti_status tutti_comm_waiting(tutti_comm* comm, int* count) {
  Status status = tutti::check_elastic("tutti_comm_waiting", comm);
  if (status.is_ok() && count == nullptr) status = invalid("tutti_comm_waiting: count is NULL");
  if (!status) return report(status);
  *count = 0;
  if (comm->store == nullptr) return TUTTI_OK;
  const tutti::Store::Gathered waiting =
      comm->store->gather(tutti::waiting_prefix(comm->group), 0,
                          tutti::deadline_after(comm->runtime->now(), comm->settings.connect_timeout));
  *count = static_cast<int>(waiting.entries.size());
  return report(waiting.status);
}

tutti_status tutti_comm_epoch(const tutti_comm* comm, std::uint64_t* epoch) {
  if (comm == nullptr || epoch == nullptr) return report(invalid("tutti_comm_epoch: an argument is NULL"));
  *epoch = comm->epoch;
  return TUTTI_OK;
}
