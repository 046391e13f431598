// Elastic communicators of the C API: refreshed after their members have changed, and joined by processes that were
// not there from the beginning. What is agreed upon, and how, is the engine's (council.h); here it becomes a
// communicator.
//
// In the store, under the communicator's group: GROUP/waiting/PROCESS is the invitation of a process that wants to
// join; GROUP/admitted/PROCESS is the boarding pass that it is given in the end. While the other members wait for
// this one, it waits for the store no longer than store_limit() says.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "src/api/creation.h"
#include "src/api/member_view.h"
#include "src/api/state.h"
#include "src/base/format.h"
#include "src/engine/roll.h"
#include "src/membership/stores.h"

namespace tutti {

namespace {

constexpr std::size_t kNoLimit = ~std::size_t{0};

std::string waiting_prefix(const std::string& group) { return group + "/waiting/"; }
std::string waiting_key(const std::string& group, const Invitation& who) {
  return waiting_prefix(group) + to_string(who.address.process);
}
std::string admitted_key(const std::string& group, const Invitation& who) {
  return format("{}/admitted/{}", group, to_string(who.address.process));
}

int slot_of(const tutti_comm& comm, Rank rank) {
  return comm.slots.empty() ? rank : comm.slots[static_cast<std::size_t>(rank)];
}

// Until when a member may wait for the store, for all that it wants of it, while the others wait for the member: a
// store that does not answer costs them no more than a member may be silent, and no call its whole time.
Instant store_limit(const tutti_comm& comm, Instant deadline) {
  constexpr Nanoseconds kMost = std::chrono::seconds(2);
  const Instant now = comm.runtime->now();
  const Nanoseconds most = std::min(kMost, comm.settings.heartbeat_timeout / 2);
  return now + std::clamp((deadline - now) / 2, Nanoseconds(0), most);
}

Status enter(tutti_comm& comm, const MemberView& view, const std::string& name, int rank) {
  std::vector<Invitation> members;
  std::vector<bool> joins;
  std::vector<int> slots;
  for (const MemberView::Seat& seat : view.seats) {
    members.push_back(seat.member);
    joins.push_back(seat.joins);
    slots.push_back(seat.slot);
  }
  TUTTI_RETURN_IF_ERROR(install(comm, view.id, name, rank, members, joins));
  comm.slots = std::move(slots);
  comm.epoch = view.epoch;
  return {};
}

// Everything that a refresh needs, step by step. Each step may be entered again.
class Refresh {
 public:
  // Lets in those who wait while there are fewer than `members_max` members.
  Refresh(tutti_comm& comm, std::size_t members_max, Instant deadline)
      : comm_(comm), members_max_(members_max), deadline_(deadline) {}

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

  // The first operations of a new view: all its members are there, and know it of each other, or it is changed again.
  // Those who stay have just called; who joins has asked, and may have stopped or be cut off since then: it is not
  // waited for as long.
  Status meet() {
    const Instant now = comm_.runtime->now();
    const Instant until =
        joiners_ > 0 ? deadline_after(now, comm_.settings.heartbeat_timeout + std::chrono::seconds(2)) : deadline_;
    OperationRequest request;
    request.kind = CallKind::barrier;
    request.count = 1;
    request.timeout = std::max(std::min(until, deadline_) - now, Nanoseconds(std::chrono::milliseconds(1)));
    TUTTI_RETURN_IF_ERROR(run_operation(comm_, request));
    request.kind = CallKind::agree;
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
    const std::vector<Rank>& survivors = communicator().council()->survivors;
    if (survivors.front() != communicator().rank() || survivors.size() >= members_max_ || comm_.store == nullptr)
      return {};
    const Store::Gathered waiting =
        comm_.store->gather(waiting_prefix(comm_.group), 0, store_limit(comm_, deadline_));
    Blobs blobs;
    for (const auto& [key, invitation] : waiting.entries) {
      if (survivors.size() + blobs.size() < members_max_ && can_be_reached(invitation)) blobs.push_back(invitation);
    }
    return blobs;
  }

  // One that came too late into an earlier view, and was shut out of it, asks again: it would find a member that does
  // not speak with it, and one of the two would be left behind.
  bool can_be_reached(const std::string& invitation) {
    const Result<Invitation> joiner = invitation_of(invitation);
    if (!joiner) return true;  // all say the same of it
    const bool is_lost =
        comm_.runtime->with_engine([&](Engine& engine, Instant) { return engine.has_lost(joiner->address.process); });
    if (is_lost) {
      comm_.runtime->log().write(LogLevel::warn, "comm",
                                 "{}: {} waits to join, and is lost to this process: it has to start again",
                                 communicator().name(), joiner->address.describe());
    }
    return !is_lost;
  }

  // Each contributes its invitation, the nonce with which it was let in before, and the invitations of who waits.
  Status agree(const Invitation& mine) {
    Blobs contribution = those_waiting();
    contribution.insert(contribution.begin(), {text_of(mine), std::to_string(comm_.asked)});
    TUTTI_RETURN_IF_ERROR(comm_.runtime->with_engine([&](Engine& engine, Instant now) {
      return engine.begin_next(&communicator(), encode_blobs(contribution), now);
    }));
    const auto is_decided = [&] { return communicator().council()->next.has_value(); };
    const auto has_stopped = [&] { return communicator().council()->stage == Council::Stage::stopped; };
    if (comm_.runtime->wait([&] { return is_decided() || has_stopped(); }, deadline_))
      return is_decided() ? Status() : communicator().failure();
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

  // The same at every member: those who stay in their order, then those whom the first of them brings; or all by
  // slot.
  Result<MemberView> next_view() {
    const Council& council = *communicator().council();
    const auto roll = decode_roll(*council.next, council.survivors.size());
    if (!roll) return roll.status();
    MemberView view;
    Blobs joining;
    std::vector<std::pair<ProcessId, std::string>> let_in;  // before, with which nonce
    for (std::size_t place = 0; place < roll->size(); ++place) {
      if (!(*roll)[place]) continue;
      Result<Blobs> blobs = decode_blobs(*(*roll)[place]);
      if (!blobs) return blobs.status();
      if (blobs->size() < 2) return Status(Code::internal, "a member has contributed no invitation of its own");
      Result<Invitation> member = invitation_of((*blobs)[0]);
      if (!member) return member.status();
      if (joining.empty()) joining.assign(blobs->begin() + 2, blobs->end());
      let_in.emplace_back(member->address.process, (*blobs)[1]);
      view.seats.push_back({*std::move(member), slot_of(comm_, council.survivors[place]), false});
    }
    for (const std::string& text : joining) {
      Result<Invitation> member = invitation_of(text);
      if (!member || member->plan_settings != plan_settings_of(comm_.settings))
        continue;  // it is told by its own end
      // What a member had asked with may still be in the store, if that did not answer when it was let in.
      const std::pair asked(member->address.process, std::to_string(member->nonce));
      if (std::find(let_in.begin(), let_in.end(), asked) != let_in.end()) continue;
      if (view.rank_of(member->address.process, member->nonce) < 0)
        view.seats.push_back({*std::move(member), view.free_slot(), true});
    }
    if (comm_.settings.elastic_slots) {
      std::sort(view.seats.begin(), view.seats.end(),
                [](const MemberView::Seat& a, const MemberView::Seat& b) { return a.slot < b.slot; });
    }
    view.epoch = comm_.epoch + 1;
    view.id = mix(mix(communicator().id(), view.epoch), view.seats.front().member.nonce);
    return view;
  }

  Status go_on(const Invitation& mine) {
    const Result<MemberView> view = next_view();
    if (!view) return view.status();
    if (view->stayed() < static_cast<std::size_t>(comm_.settings.elastic_minimum)) {
      cancel_invitation(comm_, mine);
      return {
          Code::peer_lost,
          format("{}: {} of {} members are left, and fewer than TUTTI_ELASTIC_MINIMUM, which is {}, may not go on. "
                 "Start the job again, or allow fewer",
                 communicator().name(), view->stayed(), communicator().size(), comm_.settings.elastic_minimum)};
    }
    const int rank = view->rank_of(mine.address.process, mine.nonce);
    if (rank < 0) {
      cancel_invitation(comm_, mine);
      return {Code::peer_lost,
              format("{}: the other survivors went on without {}, this one, as they could not reach it",
                     communicator().name(), communicator().describe(communicator().rank()))};
    }
    Communicator* const before = comm_.communicator;
    TUTTI_RETURN_IF_ERROR(enter(comm_, *view, before->name(), rank));
    joiners_ = view->seats.size() - view->stayed();
    comm_.runtime->with_engine([&](Engine& engine, Instant now) { engine.destroy(before, now); });
    admit(*view, rank);
    return {};
  }

  // Each of those who stay says so: one may end before it could, or have no time for all; so each begins with
  // another. Nobody is let in twice for having asked once: who is dead by now would be for ever.
  void admit(const MemberView& view, int rank) {
    if (comm_.store == nullptr) return;
    const auto stays = [](const MemberView::Seat& seat) { return !seat.joins; };
    const bool is_first = std::none_of(view.seats.begin(), view.seats.begin() + rank, stays);
    if (is_first && comm_.launch.store.starts_with("tcp://")) serve_store();
    std::vector<const Invitation*> joiners;
    for (const MemberView::Seat& seat : view.seats) {
      if (seat.joins) joiners.push_back(&seat.member);
    }
    const Instant until = store_limit(comm_, deadline_);
    for (std::size_t i = 0; i < joiners.size(); ++i) {
      const Invitation& joiner = *joiners[(static_cast<std::size_t>(rank) + i) % joiners.size()];
      Status said = comm_.store->set(admitted_key(comm_.group, joiner), view.encode(), until);
      if (said) said = comm_.store->remove(waiting_key(comm_.group, joiner), until).status();
      if (!said)
        comm_.runtime->log().write(LogLevel::warn, "comm", "{}: {} could not be told that it is admitted: {}",
                                   communicator().name(), joiner.address.describe(), said.text());
    }
  }

  // The store may have gone with the process that hosted it; whoever is first of those who stay takes over where
  // it can.
  void serve_store() {
    LaunchEnvironment launch = comm_.launch;
    launch.rank = 0;
    launch.size = std::max(2, static_cast<int>(communicator().size()));
    const Result<Store*> store =
        job_store(launch, comm_.settings, store_limit(comm_, deadline_), comm_.runtime->log());
    if (store && *store != nullptr) comm_.store = *store;
  }

  tutti_comm& comm_;
  const std::size_t members_max_;
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
  return invalid(format("{}: {} is not elastic; create it with TUTTI_ELASTIC=on or step, on every rank", function,
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
  // With its pass it is a member, for whom the others wait.
  const Instant a_moment = comm.runtime->now() + Nanoseconds(std::chrono::seconds(1));
  const Instant tidy_until = pass ? std::min(a_moment, store_limit(comm, kNever)) : std::max(deadline, a_moment);
  static_cast<void>(comm.store->remove(waiting, tidy_until).is_ok());
  static_cast<void>(comm.store->remove(admitted, tidy_until).is_ok());
  if (!pass) {
    cancel_invitation(comm, *mine);
    if (pass.status().code() != Code::timeout) return pass.status();
    return {Code::timeout,
            format("the members of {} did not let this process in within the time; they do at their next "
                   "tutti_comm_refresh ({})",
                   name, pass.status().text())};
  }
  const Result<MemberView> view = MemberView::decode(*pass);
  const int rank = view ? view->rank_of(mine->address.process, mine->nonce) : -1;
  if (rank < 0) {
    cancel_invitation(comm, *mine);
    return view ? Status(Code::again, "the view was of another attempt") : view.status();
  }
  TUTTI_RETURN_IF_ERROR(enter(comm, *view, name, rank));
  comm.asked = mine->nonce;
  Refresh refresh(comm, kNoLimit, deadline);
  Status works = refresh.meet();
  if (!works && comm.communicator->council()->stage != Council::Stage::stopped) works = refresh.run();
  if (works) return {};
  comm.runtime->with_engine([&](Engine& engine, Instant now) { engine.destroy(comm.communicator, now); });
  comm.communicator = nullptr;
  cancel_enrolment(comm);
  return {Code::again, works.text()};
}

// Options as the caller has written them down, with what it has not.
Result<tutti_refresh_options> read_refresh_options(const char* function, const tutti_refresh_options* options) {
  tutti_refresh_options all = TUTTI_REFRESH_OPTIONS_INIT;
  if (options == nullptr) return all;
  if (options->size < offsetof(tutti_refresh_options, state)) {
    return invalid(format(
        "tutti_refresh_options.size is {}; set it to sizeof(tutti_refresh_options) (TUTTI_REFRESH_OPTIONS_INIT does)",
        options->size));
  }
  std::memcpy(&all, options, std::min(options->size, sizeof all));
  if (all.members_max < 0)
    return invalid(format("tutti_refresh_options.members_max is {}; expected 0 or more", all.members_max));
  if (all.state != nullptr) TUTTI_RETURN_IF_ERROR(check_synchronization(function, all.state, all.state_options));
  return all;
}

std::size_t members_max_of(const tutti_refresh_options& options) {
  return options.members_max == 0 ? kNoLimit : static_cast<std::size_t>(options.members_max);
}

// How many processes wait, as far as there is room for them.
Result<std::int32_t> count_waiting(tutti_comm& comm, std::size_t members_max, Instant deadline) {
  const auto members = static_cast<std::size_t>(comm.communicator->size());
  if (comm.store == nullptr || members >= members_max) return 0;
  const Store::Gathered waiting = comm.store->gather(waiting_prefix(comm.group), 0, deadline);
  if (!waiting.status) return waiting.status;
  return static_cast<std::int32_t>(std::min(waiting.entries.size(), members_max - members));
}

Status change(tutti_comm& comm, const tutti_refresh_options& options, std::size_t members_max, Instant deadline) {
  Refresh refresh(comm, members_max, deadline);
  if (options.state != nullptr) refresh.with_state(options.state, options.state_options);
  return refresh.run();
}

// In its place among the operations, so that none is ended by it: all are complete everywhere, rank 0 says whether
// anybody waits, and if so the members change.
Status grow(tutti_comm& comm, const tutti_refresh_options& options, Instant deadline) {
  constexpr std::int32_t kSilent = -1000;
  std::int32_t mine = kSilent;
  std::int32_t all = 0;
  Status asked;
  if (comm.communicator->rank() == 0) {
    const Result<std::int32_t> waiting = count_waiting(comm, members_max_of(options), store_limit(comm, deadline));
    asked = waiting.status();
    mine = asked ? *waiting : -static_cast<std::int32_t>(asked.code());
  }
  OperationRequest request;
  request.kind = CallKind::all_reduce;
  request.input = reinterpret_cast<const std::byte*>(&mine);
  request.output = reinterpret_cast<std::byte*>(&all);
  request.count = 1;
  request.type = DataType::int32;
  request.op = ReduceOp::max;
  request.timeout = std::max(deadline - comm.runtime->now(), Nanoseconds(std::chrono::milliseconds(1)));
  TUTTI_RETURN_IF_ERROR(run_operation(comm, request));
  OperationRequest agree;
  agree.kind = CallKind::agree;
  agree.timeout = request.timeout;
  TUTTI_RETURN_IF_ERROR(run_operation(comm, agree));
  if (!asked) return asked;
  if (all < 0)
    return {static_cast<Code>(-all), format("{}: {} could not ask the store who waits; nothing has changed",
                                            comm.communicator->name(), comm.communicator->describe(0))};
  return all == 0 ? Status() : change(comm, options, members_max_of(options), deadline);
}

Instant refresh_deadline(const tutti_comm& comm, const tutti_refresh_options& options) {
  return deadline_after(comm.runtime->now(), time_limit(options.timeout_ns, comm.settings.connect_timeout));
}

tutti_status refresh(const char* function, tutti_comm* comm, const tutti_refresh_options* options, bool admits) {
  const Status status = check_elastic(function, comm);
  if (!status) return report(status);
  const Result<tutti_refresh_options> read = read_refresh_options(function, options);
  if (!read) return report(read.status());
  const std::size_t members_max = admits && read->admit != 0 ? members_max_of(*read) : 0;
  return report(change(*comm, *read, members_max, refresh_deadline(*comm, *read)));
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
  return tutti::refresh("tutti_comm_refresh", comm, options, true);
}

tutti_status tutti_comm_shrink(tutti_comm* comm, const tutti_refresh_options* options) {
  return tutti::refresh("tutti_comm_shrink", comm, options, false);
}

tutti_status tutti_comm_grow(tutti_comm* comm, const tutti_refresh_options* options) {
  const Status status = tutti::check_elastic("tutti_comm_grow", comm);
  if (!status) return report(status);
  const tutti::Result<tutti_refresh_options> read = tutti::read_refresh_options("tutti_comm_grow", options);
  if (!read) return report(read.status());
  return report(tutti::grow(*comm, *read, tutti::refresh_deadline(*comm, *read)));
}

tutti_status tutti_comm_leave(tutti_comm* comm, std::int64_t timeout_ns) {
  const Status status = tutti::check_elastic("tutti_comm_leave", comm);
  if (!status) return report(status);
  const tutti::Nanoseconds limit = tutti::time_limit(timeout_ns, comm->settings.timeout);
  const tutti::Instant deadline = tutti::deadline_after(comm->runtime->now(), limit);
  if (!comm->runtime->wait([&] { return comm->communicator->pending() == 0; }, deadline)) {
    return report(Status(tutti::Code::timeout,
                         format("{}: operations of this rank were not complete within {}; it has not left",
                                comm->communicator->name(), tutti::format_duration(limit))));
  }
  comm->runtime->with_engine(
      [&](tutti::Engine& engine, tutti::Instant now) { engine.leave(comm->communicator, now); });
  tutti::put_away(comm);
  return TUTTI_OK;
}

tutti_status tutti_comm_join(tutti_comm** comm, const char* store, const tutti_comm_options* options) {
  Status status = tutti::check_creation("tutti_comm_join", comm);
  if (!status) return report(status);
  const tutti::Result<tutti::Settings> settings = tutti::read_call_settings(options);
  if (!settings) return report(settings.status());
  if (settings->elastic == tutti::Elastic::off)
    return report(invalid("tutti_comm_join: only elastic communicators can be joined; set TUTTI_ELASTIC=on or step"));
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
  const tutti::Instant deadline = tutti::deadline_after(
      tutti::monotonic_now(), tutti::time_limit(tutti::timeout_of(options), settings->connect_timeout));
  const tutti::Result<tutti::Store*> found = tutti::job_store(launch, *settings, deadline, {});
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

tutti_status tutti_comm_slot(const tutti_comm* comm, int rank, int* slot) {
  if (comm == nullptr || slot == nullptr) return report(invalid("tutti_comm_slot: an argument is NULL"));
  if (rank < 0 || rank >= comm->communicator->size()) {
    return report(
        invalid(format("tutti_comm_slot: rank is {}; expected 0 to {}", rank, comm->communicator->size() - 1)));
  }
  *slot = tutti::slot_of(*comm, rank);
  return TUTTI_OK;
}

tutti_status tutti_comm_slots(const tutti_comm* comm, int ranks[], int capacity, int* count) {
  if (comm == nullptr || count == nullptr || (ranks == nullptr && capacity > 0))
    return report(invalid("tutti_comm_slots: an argument is NULL"));
  *count = 0;
  if (capacity > 0) std::fill(ranks, ranks + capacity, -1);
  for (int rank = 0; rank < comm->communicator->size(); ++rank) {
    const int slot = tutti::slot_of(*comm, rank);
    *count = std::max(*count, slot + 1);
    if (slot < capacity) ranks[slot] = rank;
  }
  return TUTTI_OK;
}
