#include "tests/simulation/participant.h"

#include <cstdio>
#include <cstring>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr unsigned kConsultEvery = 6;
constexpr Nanoseconds kStopped = std::chrono::seconds(4);     // so long at most a process is stopped in a call
constexpr Nanoseconds kDawdles = std::chrono::seconds(6);     // beyond what a refresh may take
constexpr Nanoseconds kJoinTidies = std::chrono::seconds(1);  // of a join with the store, once more for each key

// Instead of consulting each other; the same at all members.
bool grows_at(const SeenView& view, unsigned number) { return Random(view.id ^ number).chance(0.3); }

int number_of(const std::string& who) {  // "rank 5 (host0 pid 104)"
  const std::size_t at = who.find(" pid ");
  return at == std::string::npos ? -1 : std::atoi(who.c_str() + at + 5) - 100;
}

}  // namespace

Participant::~Participant() {
  for (tutti_request* const request : requests_) delete request;
  delete comm_;
  delete leaving_;
}

// What a call may take beyond its deadline: until it is noticed that somebody is silent, that too few are left, and
// that is agreed upon.
Nanoseconds Participant::beyond() const { return 4 * job_.world.options().silence_limit; }

std::unique_ptr<tutti_comm> Participant::blank() const {
  auto comm = std::make_unique<tutti_comm>();
  comm->runtime = process_.runtime;
  comm->settings = job_.settings;
  comm->store = store_.get();
  comm->group = "comm/sim/world";
  comm->launch.store = "sim:";
  return comm;
}

bool Participant::found() {
  store_ = job_.store.client(process_);
  auto comm = blank();
  Result<Invitation> mine = invite(*comm);
  if (!mine) return false;

  job_.invitations[static_cast<std::size_t>(process_.number)] = *mine;
  ++job_.founded;
  job_.world.wait(
      process_, [this] { return job_.founded >= job_.founders; }, kNever);
  const std::uint64_t first = job_.invitations.front().nonce;
  const Status made = install(*comm, first, "world", process_.number, job_.invitations);
  if (!made) job_.observer.say(format("process {} cannot found the communicator: {}", process_.number, made.text()));
  if (!made) return false;
  comm_ = comm.release();
  saw_view();
  return true;
}

bool Participant::join_once() {
  store_ = job_.store.client(process_);
  auto comm = blank();
  const Instant deadline = job_.world.now() + job_.join_timeout;
  tell("asks to join");
  const Status joined = join(*comm, "world", deadline);
  job_.observer.returned(process_.number, "tutti_comm_join", deadline, job_.world.now(), beyond() + 2 * kJoinTidies);
  if (!joined) {
    tell("is turned away: {}", joined.text());
    ++job_.marks.turned_away;
    return false;
  }
  comm_ = comm.release();
  ++job_.marks.admitted;
  saw_view();
  return true;
}

Participant::End Participant::found_and_work() { return found() ? work() : End::gave_up; }

Participant::End Participant::join_and_work() {
  constexpr int kTries = 3;
  for (int tries = 0; tries < kTries && job_.members > 0; ++tries) {
    if (!join_once()) continue;
    job_.came_again += tries > 0 ? 1 : 0;
    return work();
  }
  return End::turned_away;
}

Participant::End Participant::work() {
  ++job_.members;
  const End end = work_on();
  --job_.members;
  return end;
}

Participant::End Participant::work_on() {
  while (true) {
    const bool is_done = train();
    if (is_done || leaves_) {
      if (job_.world.random().chance(0.2)) linger();
      leave();
      job_.marks.finished += is_done ? 1 : 0;
      return is_done ? End::finished : End::left;
    }
    End end = End::under_way;
    if (!refresh(end)) {
      leave();
      return end;
    }
  }
}

bool Participant::train() {
  while (!leaves_) {
    if (next_ % kConsultEvery == 0 && grows_at(view_, next_)) {
      if (!grow()) return false;
    } else if (next_ % kConsultEvery == 0) {
      bool more = true;
      if (!consult(more)) return false;
      if (!more) return true;
      if (job_.world.random().chance(0.4)) return false;  // whoever calls it first takes all with him
    } else if (!call_some()) {
      return false;
    }
    pause();
  }
  return false;
}

void Participant::pause() {
  if (!job_.world.random().chance(0.3)) return;
  const Instant until = job_.world.now() + job_.world.some_time(std::chrono::microseconds(200));
  job_.world.wait(
      process_, [] { return false; }, until);
}

// For longer than the processes of others take to end.
void Participant::linger() {
  const Instant until = job_.world.now() + std::chrono::milliseconds(260);
  job_.world.wait(
      process_, [] { return false; }, until);
}

// As a program that computes for long before it looks at what has failed: the others do not wait for it beyond their
// deadline.
void Participant::dawdle() {
  if (job_.dawdler != process_.number || std::exchange(has_dawdled_, true)) return;
  const Instant until = job_.world.now() + job_.refresh_timeout + beyond() + kDawdles;
  job_.world.wait(
      process_, [] { return false; }, until);
  leaves_ |= job_.dawdler_leaves;
}

// Up to three calls in flight.
bool Participant::call_some() {
  const unsigned most = 1 + static_cast<unsigned>(job_.world.random().below(3));
  tutti_call options = TUTTI_CALL_INIT;
  options.timeout_ns = job_.call_timeout.count();
  bool all_good = true;
  const Instant deadline = job_.world.now() + job_.call_timeout;
  for (unsigned i = 0; i < most && all_good && next_ % kConsultEvery != 0; ++i) {
    calls_.push_back(std::make_unique<PlannedCall>(view_, comm_->communicator->rank(), next_++));
    requests_.push_back(nullptr);
    const tutti_status started = calls_.back()->start(comm_, options, &requests_.back());
    if (started == TUTTI_OK) continue;
    all_good = false;
    settle(*calls_.back(), started);
    calls_.pop_back();
    requests_.pop_back();
  }
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const tutti_status status = tutti_request_wait(&requests_[i], -1);
    all_good &= status == TUTTI_OK;
    job_.observer.returned(process_.number, calls_[i]->text(), deadline, job_.world.now(), beyond());
    settle(*calls_[i], status);
  }
  calls_.clear();
  requests_.clear();
  return all_good;
}

// Whether there is more to do for anybody: the same answer at all, or none.
bool Participant::consult(bool& more) {
  const bool is_early = job_.world.now() < job_.busy_until || comm_->epoch < job_.epochs;
  std::uint64_t wish = is_early && comm_->epoch < job_.epochs_max ? 1 : 0;
  tutti_call options = TUTTI_CALL_INIT;
  options.timeout_ns = job_.call_timeout.count();
  const Instant deadline = job_.world.now() + job_.call_timeout;
  ++next_;
  const tutti_status status = tutti_all_reduce(&wish, &wish, 1, TUTTI_UINT64, TUTTI_MAX, comm_, &options, nullptr);
  job_.observer.returned(process_.number, "the consultation", deadline, job_.world.now(), beyond());
  more = wish != 0;
  return status == TUTTI_OK && (job_.settings.elastic != Elastic::step || agree());
}

bool Participant::agree() {
  tutti_call options = TUTTI_CALL_INIT;
  options.timeout_ns = job_.call_timeout.count();
  const Instant deadline = job_.world.now() + job_.call_timeout;
  const tutti_status status = tutti_comm_agree(comm_, &options, nullptr);
  job_.observer.returned(process_.number, "tutti_comm_agree", deadline, job_.world.now(), beyond());
  if (status == TUTTI_OK) job_.observer.agreed(process_.number, view_, next_);
  return status == TUTTI_OK;
}

bool Participant::grow() {
  ++next_;
  tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
  options.timeout_ns = job_.refresh_timeout.count();
  const Instant deadline = job_.world.now() + job_.refresh_timeout;
  const std::uint64_t epoch_before = comm_->epoch;
  const tutti_status status = tutti_comm_grow(comm_, &options);
  job_.observer.returned(process_.number, "tutti_comm_grow", deadline, job_.world.now(), beyond() + kStopped);
  if (status == TUTTI_OK && comm_->epoch != epoch_before) {
    ++job_.marks.grown;
    saw_view();
  }
  return status == TUTTI_OK;
}

void Participant::settle(const PlannedCall& call, tutti_status status) {
  if (status == TUTTI_OK) return job_.observer.succeeded(process_.number, call, view_);
  const std::string why = format("{}, culprit {}: {}", static_cast<int>(status),
                                 comm_->communicator->failure().culprit(), tutti_last_error());
  tell("{} of {}: {}", call.text(), view_.text(), why);
  job_.observer.failed(process_.number, call, view_, standing(), why);
}

Observer::Standing Participant::standing() {
  const Council& council = *comm_->communicator->council();
  if (council.stage == Council::Stage::stopped) return Observer::Standing::stopped;
  if (council.stage != Council::Stage::judged) {
    job_.observer.say(format("process {}: an operation fails before the members have agreed", process_.number));
    return Observer::Standing::stopped;
  }
  return comm_->communicator->verdict_excludes_self() ? Observer::Standing::left_behind
                                                      : Observer::Standing::survivor;
}

bool Participant::refresh(End& end) {
  dawdle();
  constexpr int kTries = 8;  // whoever is let in and does not come costs the others one
  for (int tries = 0; tries < kTries && !leaves_; ++tries) {
    tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
    options.timeout_ns = job_.refresh_timeout.count();
    const Instant deadline = job_.world.now() + job_.refresh_timeout;
    tell("refreshes {}", view_.text());
    const tutti_status status = tutti_comm_refresh(comm_, &options);
    job_.observer.returned(process_.number, "tutti_comm_refresh", deadline, job_.world.now(), beyond() + kStopped);
    if (status == TUTTI_OK) {
      saw_view();
      return true;
    }
    tell("the refresh ends with {}: {}", static_cast<int>(status), tutti_last_error());
    job_.marks.late_refreshes += status == TUTTI_TIMEOUT ? 1 : 0;
    const Council& council = *comm_->communicator->council();
    if (council.stage == Council::Stage::stopped) {
      ++job_.marks.stopped;
      end = End::stopped;
      return false;
    }
    if (status == TUTTI_PEER_LOST &&
        (council.stage != Council::Stage::judged || comm_->communicator->verdict_excludes_self() || council.next)) {
      ++job_.marks.left_behind;
      end = End::left_behind;
      return false;
    }
  }
  end = leaves_ ? End::left : End::gave_up;
  return false;
}

void Participant::revoke() {
  if (comm_ == nullptr) return;
  tell("revokes {}", view_.text());
  tutti_comm_revoke(comm_, "somebody asked for it");
}

void Participant::leave() {
  tell("leaves {}", view_.text());
  const Instant deadline = job_.world.now() + std::chrono::seconds(1);
  leaving_ = std::exchange(comm_, nullptr);
  if (job_.world.random().chance(0.5)) {
    tutti_comm_destroy(leaving_);
  } else if (tutti_comm_leave(leaving_, 0) != TUTTI_OK) {
    job_.observer.say(format("process {} cannot leave: {}", process_.number, tutti_last_error()));
  }
  leaving_ = nullptr;
  job_.observer.returned(process_.number, "leaving", deadline, job_.world.now(), Nanoseconds(0));
}

void Participant::saw_view() {
  const Communicator& communicator = *comm_->communicator;
  view_ = SeenView{communicator.id(), comm_->epoch, {}};
  for (Rank rank = 0; rank < communicator.size(); ++rank)
    view_.members.push_back(number_of(communicator.describe(rank)));
  next_ = 1;
  tell("is rank {} in {}", communicator.rank(), view_.text());
  job_.observer.installed(process_.number, communicator.rank(), view_);
}

}  // namespace tutti
