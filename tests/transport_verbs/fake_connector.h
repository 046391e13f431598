// A connection manager without a network, for the implementation of the verbs in fake_verbs.h: requests find the
// connector of this process that listens there, at once. One thread.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "transports/verbs/connector.h"

namespace tutti::verbs {

class FakeConnector final : public Connector {
 public:
  explicit FakeConnector(std::span<const Port* const> ports) {
    for (const Port* const port : ports) {
      gids_.push_back(port->facts.gid);
      numbers_.push_back(++last_number());
      all()[numbers_.back()] = this;
    }
  }
  ~FakeConnector() override {
    for (const std::uint16_t number : numbers_) all().erase(number);
    close(descriptor_);
  }

  // The next request, of anybody, is refused.
  static void refuse_next() { refuses() = true; }

  int descriptor() const override { return descriptor_; }
  std::uint16_t listener(std::size_t port) const override { return numbers_[port]; }
  void expect(std::uint64_t link, std::uint64_t key) override { expected_[key] = link; }

  Status ask(std::uint64_t link, std::size_t port, const Target& target, std::uint32_t queue_pair) override {
    const auto found = all().find(target.listener);
    if (found == all().end()) return Status::from_errno(ECONNREFUSED, "no listener");
    FakeConnector& other = *found->second;
    const auto expected = other.expected_.find(target.key);
    if (expected == other.expected_.end() || std::exchange(refuses(), false)) {
      report({Event::Kind::failed, link, "the manager says no"});
      return {};
    }
    ends_[link] = {&other, expected->second, target.gid, 0, false};
    other.ends_[expected->second] = {this, link, gids_[port], queue_pair, true};
    other.report({Event::Kind::ready, expected->second, ""});
    return {};
  }

  int attributes(std::uint64_t link, ibv_qp_attr& attributes, int& mask) override {
    const End& end = ends_.at(link);
    attributes.dest_qp_num = end.queue_pair;
    attributes.path_mtu = IBV_MTU_2048;
    std::memcpy(attributes.ah_attr.grh.dgid.raw, end.gid.bytes.data(), end.gid.bytes.size());
    mask = IBV_QP_STATE;
    return 0;
  }

  Status confirm(std::uint64_t link, std::uint32_t queue_pair) override {
    const End& end = ends_.at(link);
    if (!end.is_asked || end.other == nullptr) return {};
    end.other->ends_[end.its_link].queue_pair = queue_pair;
    end.other->report({Event::Kind::ready, end.its_link, ""});
    return {};
  }

  void forget(std::uint64_t link) override {
    std::erase_if(expected_, [&](const auto& each) { return each.second == link; });
    const auto found = ends_.find(link);
    if (found == ends_.end()) return;
    if (const End& end = found->second; end.other != nullptr) {
      if (const auto its = end.other->ends_.find(end.its_link); its != end.other->ends_.end())
        its->second.other = nullptr;
    }
    ends_.erase(found);
  }

  bool take_event(Event& event) override {
    if (events_.empty()) return false;
    event = events_.front();
    events_.pop_front();
    std::uint64_t count = 0;
    (void)!read(descriptor_, &count, sizeof count);
    return true;
  }

 private:
  struct End {
    FakeConnector* other = nullptr;  // null: it has forgotten
    std::uint64_t its_link = 0;
    Gid gid;
    std::uint32_t queue_pair = 0;
    bool is_asked = false;
  };

  static std::map<std::uint16_t, FakeConnector*>& all() {
    static std::map<std::uint16_t, FakeConnector*> connectors;
    return connectors;
  }
  static std::uint16_t& last_number() {
    static std::uint16_t number = 100;
    return number;
  }
  static bool& refuses() {
    static bool does = false;
    return does;
  }

  void report(const Event& event) {
    events_.push_back(event);
    const std::uint64_t one = 1;
    (void)!write(descriptor_, &one, sizeof one);
  }

  const int descriptor_ = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
  std::vector<Gid> gids_;
  std::vector<std::uint16_t> numbers_;
  std::map<std::uint64_t, std::uint64_t> expected_;
  std::map<std::uint64_t, End> ends_;
  std::deque<Event> events_;
};

}  // namespace tutti::verbs
