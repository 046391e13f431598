#include "src/schedule/run.h"

#include <algorithm>

#include "src/base/format.h"
#include "src/schedule/print.h"
#include "src/schedule/reject.h"
#include "src/schedule/well_formed.h"

namespace tutti {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;

// A message: the n-th of a pair, with both its ends. Steps are numbered through all ranks.
struct Message {
  Rank from;
  Rank to;
  std::uint32_t send;
  std::uint32_t consumer;
  std::uint32_t slot;  // which of the consumer's messages, in operand order
};

class Runner {
 public:
  explicit Runner(const Schedule& schedule) : schedule_(schedule) {}

  Result<Run> run() {
    number_steps();
    TUTTI_RETURN_IF_ERROR(pair());
    link();
    play();
    if (done_ < steps_) return deadlock();
    return std::move(run_);
  }

 private:
  const Program& program(Rank rank) const { return schedule_.programs[static_cast<std::size_t>(rank)]; }
  const Step& step(std::uint32_t s) const { return program(rank_of_[s]).steps[step_of(s)]; }
  StepId step_of(std::uint32_t s) const { return s - run_.first_step[static_cast<std::size_t>(rank_of_[s])]; }
  StepRef ref(std::uint32_t s) const { return {rank_of_[s], step_of(s)}; }

  void number_steps() {
    for (const Program& program : schedule_.programs) {
      run_.first_step.push_back(steps_);
      steps_ += static_cast<std::uint32_t>(program.steps.size());
      rank_of_.resize(steps_, program.call.rank);
    }
    run_.first_step.push_back(steps_);
  }

  // All messages as the senders see them, grouped by receiver, then by sender, in program order.
  std::vector<Message> sent() const {
    std::vector<std::uint32_t> first(schedule_.programs.size() + 1, 0);
    for (const Program& program : schedule_.programs) {
      for (const Step& step : program.steps) {
        if (step.kind != StepKind::send) continue;
        for (const Rank to : program.peers_of(step)) ++first[static_cast<std::size_t>(to) + 1];
      }
    }
    for (std::size_t i = 1; i < first.size(); ++i) first[i] += first[i - 1];
    std::vector<Message> messages(first.back());
    for (std::uint32_t s = 0; s < steps_; ++s) {
      const Step& sender = step(s);
      if (sender.kind != StepKind::send) continue;
      for (const Rank to : program(rank_of_[s]).peers_of(sender)) {
        messages[first[static_cast<std::size_t>(to)]++] = {rank_of_[s], to, s, kNone, 0};
      }
    }
    return messages;
  }

  // The messages that one rank's program takes, by sender, in program order.
  void taken(Rank rank, std::vector<Message>& messages) const {
    messages.clear();
    const Program& mine = program(rank);
    std::uint32_t s = run_.first_step[static_cast<std::size_t>(rank)];
    for (const Step& each : mine.steps) {
      std::uint32_t slot = 0;
      if (each.kind == StepKind::receive) messages.push_back({mine.peers_of(each)[0], rank, kNone, s, 0});
      if (each.kind == StepKind::reduce) {
        for (const Operand& operand : mine.operands_of(each)) {
          if (operand.peer != Operand::kLocal) messages.push_back({operand.peer, rank, kNone, s, slot++});
        }
      }
      ++s;
    }
    const auto by_sender = [](const Message& a, const Message& b) { return a.from < b.from; };
    if (!std::is_sorted(messages.begin(), messages.end(), by_sender)) {
      std::stable_sort(messages.begin(), messages.end(), by_sender);
    }
  }

  Status pair() {
    messages_ = sent();
    std::vector<Message> mine;
    std::size_t next = 0;
    for (const Program& each : schedule_.programs) {
      taken(each.call.rank, mine);
      for (const Message& take : mine) {
        const bool exists = next < messages_.size() && messages_[next].to == take.to;
        if (!exists || messages_[next].from > take.from) {
          return reject(schedule_, take.to, step_of(take.consumer),
                        format("waits for a message that rank {} never sends", take.from));
        }
        if (messages_[next].from < take.from) return never_taken(messages_[next]);
        messages_[next].consumer = take.consumer;
        messages_[next].slot = take.slot;
        TUTTI_RETURN_IF_ERROR(check_length(messages_[next]));
        ++next;
      }
      if (next < messages_.size() && messages_[next].to == each.call.rank) return never_taken(messages_[next]);
    }
    return Status();
  }

  Status never_taken(const Message& message) const {
    return reject(schedule_, message.from, step_of(message.send),
                  format("sends a message that rank {} never takes", message.to));
  }

  Status check_length(const Message& message) const {
    const View& source = step(message.send).source;
    const View& target = step(message.consumer).target;
    if (equally_long(coverage(program(message.from), source), coverage(program(message.to), target))) return Status();
    return reject(schedule_, message.to, step_of(message.consumer),
                  format("takes {} from {}, which sends {}: not equally long", print(target),
                         describe(schedule_, message.from, step_of(message.send)), print(source)));
  }

  // Builds the lists by step: what it releases when done, its messages, and how much it waits for.
  void link() {
    pending_.assign(steps_, 0);
    consumers_left_.assign(steps_, 0);
    first_dependent_.assign(steps_ + 1, 0);
    first_message_.assign(steps_ + 1, 0);
    run_.first_sender.assign(steps_ + 1, 0);
    for_each_edge([&](std::uint32_t earlier, std::uint32_t s) {
      ++first_dependent_[earlier + 1];
      ++pending_[s];
    });
    for (const Message& message : messages_) {
      ++first_message_[message.send + 1];
      ++run_.first_sender[message.consumer + 1];
      ++consumers_left_[message.send];
      ++pending_[message.consumer];
    }
    for (std::uint32_t s = 0; s < steps_; ++s) {
      first_dependent_[s + 1] += first_dependent_[s];
      first_message_[s + 1] += first_message_[s];
      run_.first_sender[s + 1] += run_.first_sender[s];
    }
    fill_lists();
  }

  void fill_lists() {
    std::vector<std::uint32_t> fill(first_dependent_.begin(), first_dependent_.end() - 1);
    dependents_.resize(first_dependent_.back());
    for_each_edge([&](std::uint32_t earlier, std::uint32_t s) { dependents_[fill[earlier]++] = s; });
    fill.assign(first_message_.begin(), first_message_.end() - 1);
    message_of_send_.resize(messages_.size());
    message_of_consumer_.resize(messages_.size());
    run_.senders.resize(messages_.size());
    for (std::uint32_t m = 0; m < messages_.size(); ++m) {
      const Message& message = messages_[m];
      message_of_send_[fill[message.send]++] = m;
      const std::uint32_t place = run_.first_sender[message.consumer] + message.slot;
      message_of_consumer_[place] = m;
      run_.senders[place] = ref(message.send);
      if (follows(m)) ++pending_[message.consumer];
    }
  }

  template <typename Act>
  void for_each_edge(const Act& act) const {
    std::uint32_t s = 0;
    for (const Program& each : schedule_.programs) {
      const std::uint32_t first = s;
      for (const Step& later : each.steps) {
        for (const StepId earlier : each.after_of(later)) act(first + earlier, s);
        ++s;
      }
    }
  }

  // Whether message m must wait for the one before it: same pair, and not taken by the same reduce.
  bool follows(std::uint32_t m) const {
    if (m == 0) return false;
    const Message& a = messages_[m - 1];
    const Message& b = messages_[m];
    return a.from == b.from && a.to == b.to && a.consumer != b.consumer;
  }

  void play() {
    round_.assign(steps_, 0);
    is_done_.assign(steps_, false);
    run_.order.reserve(steps_);
    for (std::uint32_t s = 0; s < steps_; ++s) {
      if (pending_[s] == 0) ready_.push_back(s);
    }
    while (!ready_.empty()) {
      const std::uint32_t s = ready_.back();
      ready_.pop_back();
      if (step(s).kind == StepKind::send) {
        activate(s);
      } else {
        fire(s);
      }
    }
  }

  void release(std::uint32_t s) {
    if (--pending_[s] == 0) ready_.push_back(s);
  }

  void activate(std::uint32_t s) {
    for (std::uint32_t i = first_message_[s]; i < first_message_[s + 1]; ++i) {
      const std::uint32_t consumer = messages_[message_of_send_[i]].consumer;
      round_[consumer] = std::max(round_[consumer], round_[s]);
      release(consumer);
    }
  }

  void fire(std::uint32_t s) {
    run_.order.push_back(ref(s));
    const std::uint32_t begin = run_.first_sender[s];
    const std::uint32_t end = run_.first_sender[s + 1];
    if (begin != end) ++round_[s];
    run_.rounds = std::max(run_.rounds, round_[s]);
    for (std::uint32_t i = begin; i < end; ++i) {
      const std::uint32_t m = message_of_consumer_[i];
      const std::uint32_t send = messages_[m].send;
      round_[send] = std::max(round_[send], round_[s]);
      if (--consumers_left_[send] == 0) finish(send);
      if (m + 1 < messages_.size() && follows(m + 1)) release(messages_[m + 1].consumer);
    }
    finish(s);
  }

  void finish(std::uint32_t s) {
    ++done_;
    is_done_[s] = true;
    for (std::uint32_t i = first_dependent_[s]; i < first_dependent_[s + 1]; ++i) {
      const std::uint32_t later = dependents_[i];
      round_[later] = std::max(round_[later], round_[s]);
      release(later);
    }
  }

  // One thing that a stuck step waits for: another stuck step.
  std::uint32_t waits_for(std::uint32_t s) const {
    const Program& mine = program(rank_of_[s]);
    for (const StepId earlier : mine.after_of(step(s))) {
      const std::uint32_t e = run_.first_step[static_cast<std::size_t>(rank_of_[s])] + earlier;
      if (!is_done_[e]) return e;
    }
    if (step(s).kind == StepKind::send) {
      for (std::uint32_t i = first_message_[s]; i < first_message_[s + 1]; ++i) {
        const std::uint32_t consumer = messages_[message_of_send_[i]].consumer;
        if (!is_done_[consumer]) return consumer;
      }
    }
    for (std::uint32_t i = run_.first_sender[s]; i < run_.first_sender[s + 1]; ++i) {
      const std::uint32_t m = message_of_consumer_[i];
      if (pending_[messages_[m].send] > 0) return messages_[m].send;
      if (follows(m) && !is_done_[messages_[m - 1].consumer]) return messages_[m - 1].consumer;
    }
    return s;
  }

  Status deadlock() const {
    std::uint32_t s = 0;
    while (is_done_[s]) ++s;
    // Stuck steps wait for stuck steps, so going from one to the next ends up going round a cycle.
    for (std::uint32_t i = 0; i < steps_; ++i) s = waits_for(s);
    for (std::uint32_t at = waits_for(s), last = s; at != last; at = waits_for(at)) s = std::min(s, at);
    constexpr int kNamed = 8;
    std::string text = describe(schedule_, rank_of_[s], step_of(s));
    std::uint32_t next = s;
    for (int i = 0; i < kNamed; ++i) {
      next = waits_for(next);
      text += format("{} {}", i == 0 ? " waits for" : ", which waits for",
                     describe(schedule_, rank_of_[next], step_of(next)));
      if (next == s) break;
    }
    if (next != s) text += " and so on in a circle";
    return reject(schedule_, rank_of_[s], format("{}: without buffering, none of them can ever run", text));
  }

  const Schedule& schedule_;
  Run run_;
  std::uint32_t steps_ = 0;
  std::uint32_t done_ = 0;
  std::vector<Rank> rank_of_;
  std::vector<Message> messages_;  // grouped by pair, in order
  std::vector<std::uint32_t> first_dependent_, dependents_;
  std::vector<std::uint32_t> first_message_, message_of_send_, message_of_consumer_;
  std::vector<std::uint32_t> pending_;         // what a step still waits for
  std::vector<std::uint32_t> consumers_left_;  // of a send
  std::vector<std::uint32_t> round_;
  std::vector<std::uint32_t> ready_;
  std::vector<bool> is_done_;
};

}  // namespace

Result<Run> run(const Schedule& schedule) { return Runner(schedule).run(); }

}  // namespace tutti
