// Frames that come: what the completions say, what lies in the ring, and payloads on their way to their targets.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "transports/verbs/link.h"

namespace tutti::verbs {

namespace {
// More than a correct peer has announced: what it has taken for sent may not have been seen here yet.
constexpr std::size_t kFetchingMax = 64;

// Whether the error says that nothing came through, of which the peer need not know anything.
bool is_of_the_way(ibv_wc_status status) {
  return status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_RESP_TIMEOUT_ERR || status == IBV_WC_WR_FLUSH_ERR;
}
}  // namespace

void VerbsLink::on_completion(const ibv_wc& completion) {
  if (state_ == State::closed || queue_pair_ == nullptr) return;
  common_.add(*this);
  if (completion.status != IBV_WC_SUCCESS) {
    const Rail& rail = queue_pair_->rail();
    return fail(format("{} (wc status {}, vendor error {:#x})", rail.library().wc_status_str(completion.status),
                       static_cast<int>(completion.status), completion.vendor_err),
                is_of_the_way(completion.status));
  }
  if ((completion.opcode & IBV_WC_RECV) != 0) {
    if (failure_.empty()) {
      if (const Status posted = queue_pair_->receive_one(); !posted) fail(posted.text(), true);
    }
    return on_arrival(ntohl(completion.imm_data), completion.byte_len);
  }
  if (!queue_pair_->awaits_completion()) return;
  if (queue_pair_->complete() == QueuePair::Work::write) on_written_here();
  common_.wake_starved();
  common_.note_room();
}

void VerbsLink::on_arrival(std::uint32_t immediate, std::uint32_t bytes) {
  const std::uint32_t value = immediate & kImmediateMask;
  switch (static_cast<Immediate>(immediate >> 30)) {
    case Immediate::frame:
      if (arrivals_.size() == kRingUnits) return fail("the peer has sent more than its ring holds", false);
      arrivals_.push_back(value);
      return;
    case Immediate::credit:
      if (!writer_.take_report(value)) return fail("the peer has consumed what was not sent", false);
      common_.note_room();
      return;
    case Immediate::written: {
      const auto found = std::find_if(fetching_.begin(), fetching_.end(), [&](const Fetching& fetching) {
        return (fetching.number & kImmediateMask) == value && fetching.state == Fetching::State::granted;
      });
      if (found == fetching_.end() || found->bytes != bytes)
        return fail("the peer has written what was not granted", false);
      queue_pair_->rail().registrar().give_back(found->loan);
      common_.wake_starved();
      --granted_;
      fetched_.push_back(found->number);
      fetching_.erase(found);
      return;
    }
  }
  fail("the peer has sent a number without a meaning", false);
}

void VerbsLink::deliver(std::span<Event> out, std::size_t& count) {
  while (count < out.size() && !arrivals_.empty()) {
    // After a fault nothing in the ring means anything.
    if (!failure_.empty() && !failure_cuts_) return arrivals_.clear();
    const std::uint32_t units = arrivals_.front();
    arrivals_.pop_front();
    Event event = make_event(EventKind::delivery);
    if (take_frame(units, event)) out[count++] = event;
  }
}

// The next frame in the ring. False: it is none for the caller.
bool VerbsLink::take_frame(std::uint32_t units, Event& event) {
  const std::size_t unit_bytes = queue_pair_->rail().unit_bytes();
  const auto at = owner_.locate(units);
  if (!at) {
    fail("the peer has sent more than its ring holds", false);
    return false;
  }
  const std::byte* const place = queue_pair_->ring() + *at * unit_bytes;
  std::array<std::byte, kHeadBytes> copy;
  std::memcpy(copy.data(), place, copy.size());
  const auto head = decode_head(copy.data(), expected_number_);
  if (!head) {
    fail(format("what the peer has sent is not frame {}", expected_number_), false);
    return false;
  }
  ++expected_number_;
  switch (head->kind) {
    case FrameKind::grant:
      on_grant(*head);
      return false;
    case FrameKind::decline:
      on_decline(*head);
      return false;
    case FrameKind::data:
      if (units_for(kHeadBytes + head->bytes, unit_bytes) != units) {
        fail(format("a frame of {} does not lie in {} units", format_bytes(head->bytes), units), false);
        return false;
      }
      event.transient = head->bytes > 0;
      event.data = place + kHeadBytes;
      break;
    case FrameKind::announce: {
      if (head->bytes > common_.capabilities.frame_bytes_max || head->bytes == 0 ||
          fetching_.size() == kFetchingMax) {
        fail(format("the peer has announced {} when {} were unfetched", format_bytes(head->bytes), fetching_.size()),
             false);
        return false;
      }
      Fetching fetching;
      fetching.number = head->number;
      fetching.bytes = head->bytes;
      fetching_.push_back(std::move(fetching));
      break;
    }
  }
  event.token = head->number;
  event.header = head->header;
  event.bytes = head->bytes;
  return true;
}

VerbsLink::Fetching* VerbsLink::find_fetching(std::uint64_t number) {
  const auto found = std::find_if(fetching_.begin(), fetching_.end(),
                                  [&](const Fetching& fetching) { return fetching.number == number; });
  return found == fetching_.end() ? nullptr : &*found;
}

FetchState VerbsLink::fetch(std::uint64_t token, std::byte* target) {
  if (state_ != State::open) return FetchState::closed;
  Fetching* const fetching = find_fetching(token);
  if (fetching == nullptr) return FetchState::closed;
  fetching->target = target;
  fetching->state = Fetching::State::wanted;
  if (failure_.empty()) {
    grant_wanted();
    flush_answers();
  }
  common_.add(*this);
  return FetchState::pending;
}

void VerbsLink::grant_wanted() {
  Rail& rail = queue_pair_->rail();
  for (Fetching& fetching : fetching_) {
    if (fetching.state != Fetching::State::wanted) continue;
    if (granted_ == kWritesMax) return;
    const auto outcome =
        rail.registrar().lend(Registrar::Purpose::target, fetching.target, fetching.bytes, fetching.loan);
    if (outcome == Registrar::Outcome::later) return common_.starve(*this);
    if (outcome == Registrar::Outcome::refused) return fail(rail.registrar().status().text(), false);
    fetching.state = Fetching::State::granted;
    ++granted_;
    answers_.push_back({FrameKind::grant, Header{{fetching.number, reinterpret_cast<std::uintptr_t>(fetching.target),
                                                  fetching.loan.remote_key, fetching.bytes}}});
  }
}

void VerbsLink::release(std::uint64_t token) {
  Fetching* const fetching = state_ == State::open ? find_fetching(token) : nullptr;
  if (fetching == nullptr || fetching->state != Fetching::State::announced) return;
  answers_.push_back({FrameKind::decline, Header{{token}}});
  fetching_.erase(fetching_.begin() + (fetching - fetching_.data()));
  common_.add(*this);
}

}  // namespace tutti::verbs
