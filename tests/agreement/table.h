// The members of one view around a table: every message lies there until the test hands it over.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/format.h"
#include "src/membership/agreement.h"

namespace tutti {

class Table {
 public:
  static constexpr std::uint64_t kTag = 7;
  static constexpr Nanoseconds kRetry = std::chrono::milliseconds(1);

  explicit Table(std::uint32_t members, std::uint32_t minimum = 1) {
    for (std::uint32_t i = 0; i < members; ++i) {
      agreements_.push_back(std::make_unique<Agreement>(
          Agreement::Options{
              .tag = kTag, .members = members, .self = i, .quorum = {.minimum = minimum}, .retry = kRetry},
          [i](const auto& contributions, const auto& lost) {
            std::string value = format("{}:", i);
            for (std::uint32_t m = 0; m < contributions.size(); ++m) {
              value += lost.contains(m) ? "-" : contributions[m].value_or("?");
            }
            return value;
          }));
    }
  }

  Agreement& operator[](std::uint32_t member) { return *agreements_[member]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(agreements_.size()); }
  Instant now{};

  void start(std::uint32_t member) { (*this)[member].start(format("{:c}", 'a' + member), now); }
  void start_all() {
    for (std::uint32_t i = 0; i < size(); ++i) start(i);
  }

  // Each of `whose` loses each of `lost`.
  void lose(std::vector<std::uint32_t> whose, std::vector<std::uint32_t> lost, Loss loss) {
    for (const std::uint32_t who : whose) {
      for (const std::uint32_t member : lost) (*this)[who].suspect(member, loss, now);
    }
  }

  std::deque<std::string>& messages(std::uint32_t from, std::uint32_t to) {
    for (const auto& outgoing : (*this)[from].take_outgoing()) {
      links_[{from, outgoing.to}].push_back(*outgoing.bytes);
    }
    return links_[{from, to}];
  }

  // Hands over the next message; says what it was, or "" if there is none.
  std::string pass(std::uint32_t from, std::uint32_t to) {
    auto& link = messages(from, to);
    if (link.empty()) return {};
    const std::string bytes = std::move(link.front());
    link.pop_front();
    const Status taken = (*this)[to].receive(from, std::as_bytes(std::span(bytes)), now);
    return taken ? name(bytes, from, to) : taken.text();
  }

  // Hands over everything among these until nothing is left.
  void pass_all(const std::vector<std::uint32_t>& members) {
    for (bool any = true; any;) {
      any = false;
      for (const std::uint32_t from : members) {
        for (const std::uint32_t to : members) any |= !pass(from, to).empty();
      }
    }
  }
  void pass_all() {
    std::vector<std::uint32_t> all(size());
    for (std::uint32_t i = 0; i < size(); ++i) all[i] = i;
    pass_all(all);
  }

  void tick(std::uint32_t member) {
    now = std::max(now, (*this)[member].next_timer());
    (*this)[member].progress(now);
  }

  std::string decided(std::uint32_t member) {
    const std::string* value = (*this)[member].decided();
    return value == nullptr ? "" : *value;
  }

  std::string name(const std::string& bytes, std::uint32_t from, std::uint32_t to) const {
    const char* const names[] = {"",       "poke",     "contribution", "prepare", "promise",
                                 "accept", "accepted", "refused",      "decided"};
    const auto message = decode({kTag, size()}, from, to, std::as_bytes(std::span(bytes)));
    return message ? names[static_cast<int>(message->kind)] : message.status().text();
  }

 private:
  std::vector<std::unique_ptr<Agreement>> agreements_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::deque<std::string>> links_;
};

}  // namespace tutti
