// Frames that a link sends: small ones into the peer's ring, large ones announced there and written where the peer
// says.
#include <algorithm>

#include "src/base/format.h"
#include "transports/verbs/link.h"

namespace tutti::verbs {

namespace {
constexpr std::size_t kAnnouncedMax = 32;  // payloads that wait for the peer, on one link
}  // namespace

// One frame into the ring. False: there is no room now, or it has failed.
bool VerbsLink::send_head(FrameKind kind, const Header& header, const std::byte* payload, std::size_t bytes_sent,
                          std::size_t bytes_said, std::size_t depth) {
  const std::uint32_t units = units_for(kHeadBytes + bytes_sent, queue_pair_->rail().unit_bytes());
  if (!queue_pair_->can_send(depth, bytes_sent)) return false;
  const auto at = writer_.place(units);
  if (!at) return false;
  std::array<std::byte, kHeadBytes> head;
  encode_head(head.data(), {kind, static_cast<std::uint32_t>(bytes_said), next_number_, header});
  const Status posted = queue_pair_->send_frame(*at, units, head.data(), payload, bytes_sent);
  if (!posted) {
    fail(posted.text(), true);
    return false;
  }
  ++next_number_;
  return true;
}

SendState VerbsLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (state_ != State::open || !failure_.empty() || end_) return SendState::closed;
  const bool is_small = bytes <= common_.capabilities.copied_bytes_max;
  bool is_taken = false;
  if (answers_.empty() && (is_small || sending_.size() < kAnnouncedMax)) {
    is_taken = is_small ? send_head(FrameKind::data, header, payload, bytes, bytes, kSendDepthForFrames)
                        : send_head(FrameKind::announce, header, nullptr, 0, bytes, kSendDepthForFrames);
  }
  if (!is_taken) {
    if (!failure_.empty()) return SendState::closed;
    common_.has_refused = true;
    return SendState::again;
  }
  if (is_small) return SendState::copied;
  Sending sending;
  sending.number = next_number_ - 1;
  sending.payload = payload;
  sending.bytes = bytes;
  sending.cookie = cookie;
  sending_.push_back(std::move(sending));
  return SendState::pending;
}

bool VerbsLink::is_drained() const {
  if (state_ != State::open) return true;
  const bool is_drained = queue_pair_->is_idle() && sending_.empty() && answers_.empty();
  if (!is_drained && queue_pair_->needs_marker()) {
    wants_to_drain_ = true;
    common_.add(const_cast<VerbsLink&>(*this));
  }
  return is_drained;
}

// What this side owes, the most urgent first: the peer may wait for nothing else.
void VerbsLink::work() {
  if (owner_.owes_report() && queue_pair_->has_room(kSendDepth)) {
    if (const Status posted = queue_pair_->send_report(owner_.report()); !posted) fail(posted.text(), true);
  }
  write_granted();
  grant_wanted();
  flush_answers();
  if (std::exchange(wants_to_drain_, false) && queue_pair_->needs_marker() && queue_pair_->has_room(kSendDepth)) {
    if (const Status posted = queue_pair_->send_marker(); !posted) fail(posted.text(), true);
  }
}

void VerbsLink::flush_answers() {
  while (!answers_.empty() && failure_.empty() &&
         send_head(answers_.front().kind, answers_.front().header, nullptr, 0, 0, kSendDepthForAnswers)) {
    answers_.pop_front();
    if (answers_.empty()) common_.note_room();
  }
  if (!answers_.empty() && !queue_pair_->rail().has_slot()) common_.starve(*this);
}

void VerbsLink::on_grant(const Head& head) {
  const auto found = std::find_if(sending_.begin(), sending_.end(), [&](const Sending& sending) {
    return sending.number == head.header.words[0] && sending.state == Sending::State::announced;
  });
  if (found == sending_.end() || head.header.words[3] != found->bytes || head.header.words[2] > UINT32_MAX)
    return fail("the peer has granted what was not announced", false);
  found->state = Sending::State::granted;
  found->address = head.header.words[1];
  found->key = static_cast<std::uint32_t>(head.header.words[2]);
  write_granted();
}

void VerbsLink::on_decline(const Head& head) {
  const auto found = std::find_if(sending_.begin(), sending_.end(), [&](const Sending& sending) {
    return sending.number == head.header.words[0] && sending.state == Sending::State::announced;
  });
  if (found == sending_.end()) return fail("the peer has declined what was not announced", false);
  sent_.push_back(found->cookie);
  sending_.erase(found);
  common_.note_room();
}

void VerbsLink::write_granted() {
  Rail& rail = queue_pair_->rail();
  for (Sending& sending : sending_) {
    if (sending.state != Sending::State::granted || !failure_.empty()) continue;
    if (!queue_pair_->has_room(kSendDepthForWrites)) return;
    const auto outcome =
        rail.registrar().lend(Registrar::Purpose::source, sending.payload, sending.bytes, sending.loan);
    if (outcome == Registrar::Outcome::later) return common_.starve(*this);
    if (outcome == Registrar::Outcome::refused) return fail(rail.registrar().status().text(), false);
    const Status posted = queue_pair_->write(sending.payload, sending.bytes, sending.loan.local_key, sending.address,
                                             sending.key, sending.number);
    if (!posted) {
      rail.registrar().give_back(sending.loan);
      return fail(posted.text(), true);
    }
    sending.state = Sending::State::writing;
    writing_.push_back(sending.number);
  }
}

void VerbsLink::on_written_here() {
  const std::uint64_t number = writing_.front();
  writing_.pop_front();
  const auto found = std::find_if(sending_.begin(), sending_.end(),
                                  [&](const Sending& sending) { return sending.number == number; });
  queue_pair_->rail().registrar().give_back(found->loan);
  sent_.push_back(found->cookie);
  sending_.erase(found);
}

}  // namespace tutti::verbs
