#include "bindings/torch/src/mailbox.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "bindings/torch/src/flight.h"
#include "bindings/torch/src/group.h"
#include "bindings/torch/src/workers.h"

namespace tutti::pytorch {

namespace {

using std::chrono::nanoseconds;

Failure wrong_size(const Header& header, int sender, std::size_t expected) {
  return {TUTTI_INVALID,
          "the message of rank " + std::to_string(sender) + " with tag " + std::to_string(header.tag) + " has " +
              std::to_string(header.bytes) + " bytes, the tensor that was to receive it " + std::to_string(expected) +
              ". The message is lost; nothing else is",
          sender};
}

}  // namespace

void Mailbox::want(const c10::intrusive_ptr<Flight>& receive) {
  const std::lock_guard lock(mutex_);
  if (take_stray(receive)) return;
  wanted_.push_back(receive);
  const int rank = receive->wanted().sender;
  for (int i = 0; i < group_.size(); ++i) {
    if (rank < 0 || rank == i) advance(sender(i));
  }
}

void Mailbox::help(Flight& receive, nanoseconds limit) {
  constexpr nanoseconds kShort = Milliseconds(1);
  std::vector<Sender*> mine;
  std::vector<tutti_request*> requests;
  bool others_help = false;
  {
    const std::lock_guard lock(mutex_);
    const int rank = receive.wanted().sender;
    for (int i = 0; i < group_.size(); ++i) {
      if (rank >= 0 && rank != i) continue;
      Sender& one = sender(i);
      others_help = others_help || one.is_driven;
      if (one.request == nullptr || one.is_driven) continue;
      one.is_driven = true;
      mine.push_back(&one);
      requests.push_back(one.request);
    }
  }
  if (others_help) limit = std::min(limit, kShort);  // theirs may be the one
  if (mine.empty()) {
    receive.wait_for_match(limit);
    return;
  }
  int index = -1;
  const tutti_status status = tutti_request_wait_any(requests.size(), requests.data(), &index, limit.count());
  const Failure failure = index < 0 ? Failure{} : Failure::of(status);
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    mine[i]->request = requests[i];
    mine[i]->is_driven = false;
  }
  if (index >= 0) header_ended(*mine[static_cast<std::size_t>(index)], failure);
  for (Sender* const one : mine) test_header(*one);  // others that have ended meanwhile left them to this thread
}

bool Mailbox::withdraw(Flight& receive) {
  const std::lock_guard lock(mutex_);
  return std::erase_if(wanted_, [&](const auto& one) { return one.get() == &receive; }) > 0;
}

void Mailbox::close() {
  const std::lock_guard lock(mutex_);
  for (const auto& one : senders_) test_header(*one);
  for (Stray& stray : strays_) tutti_request_wait(&stray.request, -1);
  strays_.clear();
  fail(-1, {TUTTI_ABORTED, "the process group was shut down", group_.rank()});
}

void Mailbox::notified(void* user) {
  auto* const sender = static_cast<Sender*>(user);
  // The group may be at its end just now, and ends the request itself then.
  post([weak = sender->mailbox->group_.weak_from_this(), sender] {
    const auto group = weak.lock();
    if (!group) return;
    Mailbox& mailbox = group->mailbox();
    const std::lock_guard lock(mailbox.mutex_);
    mailbox.test_header(*sender);
  });
}

Mailbox::Sender& Mailbox::sender(int rank) {
  for (int i = static_cast<int>(senders_.size()); i < group_.size(); ++i) {
    senders_.push_back(std::make_unique<Sender>());
    senders_.back()->rank = i;
    senders_.back()->mailbox = this;
  }
  return *senders_[static_cast<std::size_t>(rank)];
}

bool Mailbox::take_stray(const c10::intrusive_ptr<Flight>& receive) {
  const auto stray = std::find_if(strays_.begin(), strays_.end(),
                                  [&](const Stray& one) { return receive->wanted().fits(one.sender, one.tag); });
  if (stray == strays_.end()) return false;
  const Stray taken = *stray;
  strays_.erase(stray);
  const std::size_t expected = receive->wanted().bytes;
  if (taken.content->size() != expected) {
    receive->matched(taken.sender, taken.request, [taken, expected, name = group_.options().name] {
      raise(wrong_size({taken.content->size(), taken.tag}, taken.sender, expected), "tutti:recv", name);
    });
    return true;
  }
  receive->matched(taken.sender, taken.request, [taken, memory = receive->wanted().memory] {
    if (!taken.content->empty()) std::memcpy(memory, taken.content->data(), taken.content->size());
  });
  return true;
}

// Hands the sender's messages to those who wait for them, as far as it goes.
void Mailbox::advance(Sender& one) {
  while (true) {
    const bool is_wanted = std::any_of(wanted_.begin(), wanted_.end(), [&](const auto& receive) {
      return receive->wanted().sender < 0 || receive->wanted().sender == one.rank;
    });
    if (!is_wanted) return;
    if (!one.is_open && !request_header(one)) return;
    one.is_open = false;
    const auto fitting = std::find_if(wanted_.begin(), wanted_.end(), [&](const auto& receive) {
      return receive->wanted().fits(one.rank, one.header.tag);
    });
    if (fitting == wanted_.end()) {
      receive_stray(one);
      continue;
    }
    const c10::intrusive_ptr<Flight> receive = *fitting;
    if (receive->wanted().bytes == one.header.bytes) {
      wanted_.erase(fitting);
      receive_content(one, receive);
    } else {
      receive_stray(one);
      if (take_stray(receive)) wanted_.remove(receive);
    }
  }
}

// Whether it is there already.
bool Mailbox::request_header(Sender& one) {
  if (one.request != nullptr || one.is_driven) return false;
  tutti_call call = TUTTI_CALL_INIT;
  call.timeout_ns = -1;  // receives have deadlines of their own
  Failure failure = group_.use([&](tutti_comm* comm) {
    return tutti_receive(&one.header, sizeof one.header, TUTTI_UINT8, one.rank, comm, &call, &one.request);
  });
  if (failure.is_ok()) {
    int done = 0;
    const Failure ended = Failure::of(tutti_request_test(&one.request, &done));
    if (one.request != nullptr) {
      tutti_request_notify(one.request, notified, &one);
      return false;
    }
    if (ended.is_ok()) return true;
    failure = ended;
  }
  fail(one.rank, failure);
  return false;
}

void Mailbox::test_header(Sender& one) {
  if (one.request == nullptr || one.is_driven) return;
  int done = 0;
  const tutti_status status = tutti_request_test(&one.request, &done);
  if (one.request == nullptr) header_ended(one, Failure::of(status));
}

void Mailbox::header_ended(Sender& one, const Failure& failure) {
  if (!failure.is_ok()) return fail(one.rank, failure);
  one.is_open = true;
  advance(one);
}

void Mailbox::receive_content(Sender& one, const c10::intrusive_ptr<Flight>& receive) {
  if (one.header.bytes == 0) return receive->matched(one.rank, nullptr, {});
  tutti_call call = TUTTI_CALL_INIT;
  call.timeout_ns = nanoseconds(receive->time_left()).count();
  tutti_request* request = nullptr;
  const Failure failure = group_.use([&](tutti_comm* comm) {
    return tutti_receive(receive->wanted().memory, one.header.bytes, TUTTI_UINT8, one.rank, comm, &call, &request);
  });
  if (!failure.is_ok()) return receive->failed(failure);
  receive->matched(one.rank, request, {});
}

void Mailbox::receive_stray(Sender& one) {
  Stray stray{one.rank, one.header.tag, std::make_shared<std::vector<std::byte>>(one.header.bytes), nullptr};
  if (!stray.content->empty()) {
    tutti_call call = TUTTI_CALL_INIT;
    call.timeout_ns = -1;
    const Failure failure = group_.use([&](tutti_comm* comm) {
      return tutti_receive(stray.content->data(), stray.content->size(), TUTTI_UINT8, one.rank, comm, &call,
                           &stray.request);
    });
    if (!failure.is_ok()) return fail(one.rank, failure);
  }
  strays_.push_back(std::move(stray));
}

// Nothing comes from this sender any more (-1: from anybody): ends the receives that wait for it, and those from any
// rank when it was the last one.
void Mailbox::fail(int rank, const Failure& failure) {
  if (rank >= 0) sender(rank).has_gone = true;
  const bool is_last = rank < 0 || std::all_of(senders_.begin(), senders_.end(), [this](const auto& one) {
                         return one->has_gone || one->rank == group_.rank();
                       });
  std::list<c10::intrusive_ptr<Flight>> failed;
  for (auto one = wanted_.begin(); one != wanted_.end();) {
    const auto next = std::next(one);
    const int awaited = (*one)->wanted().sender;
    if (rank < 0 || awaited == rank || (awaited < 0 && is_last)) failed.splice(failed.end(), wanted_, one);
    one = next;
  }
  for (const auto& receive : failed) receive->failed(failure);
}

}  // namespace tutti::pytorch
