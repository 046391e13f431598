// Everything at once, under simulation: collectives of all kinds with tables, operators and algorithms, messages
// between pairs and from a rank to itself, several communicators of the same processes, several ranks in a process,
// links that delay and refuse. Every result must be the reference's. To replay a failure: TUTTI_TEST_SEED=<seed>.
#include <gtest/gtest.h>

#include "src/base/format.h"
#include "tests/engine/script.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

// One communicator of the cluster as its members make it, each when it gets there.
struct Group {
  std::vector<Rank> members;
  std::vector<Communicator*> communicators;  // by member
  std::vector<std::uint64_t> boards;
  std::string name;
};

struct Message {
  std::vector<std::int32_t> sent;
  std::vector<std::int32_t> received;
};

class Trial {
 public:
  Trial(std::uint64_t seed, const ClusterOptions& options) : cluster_(seed, options), script_(cluster_) {
    Group world;
    world.name = "world";
    for (Rank rank = 0; rank < cluster_.size(); ++rank) {
      world.members.push_back(rank);
      world.communicators.push_back(cluster_.node(rank).communicator);
    }
    groups_.push_back(std::move(world));
    for (int i = 0; i < 2; ++i) add_split(i);
    for (Group& group : groups_) {
      for (int i = 0; i < 3; ++i) add_collective(group);
      for (int i = 0; i < 4; ++i) add_message(group);
    }
  }

  void run() {
    ASSERT_TRUE(script_.run()) << "hangs";
    for (const Operation* operation : script_.operations())
      ASSERT_TRUE(operation->result().is_ok()) << operation->result().text();
    for (const auto& call : calls_) {
      for (Rank rank = 0; rank < call->data().shape().ranks; ++rank) ASSERT_EQ(call->data().check(rank), "");
    }
    for (const auto& message : messages_) ASSERT_EQ(message->sent, message->received);
    EXPECT_TRUE(cluster_.log().empty()) << cluster_.log()[0];
  }

 private:
  Random& random() { return cluster_.random(); }

  // A random ordered choice of ranks.
  void add_split(int number) {
    Group group;
    group.name = "split" + std::to_string(number);
    std::vector<Rank> ranks(groups_[0].members);
    const std::size_t wanted = 1 + random().below(ranks.size());
    while (group.members.size() < wanted) {
      const std::size_t i = random().below(ranks.size());
      group.members.push_back(ranks[i]);
      ranks.erase(ranks.begin() + static_cast<std::ptrdiff_t>(i));
    }
    group.communicators.assign(group.members.size(), nullptr);
    group.boards = cluster_.reserve_boards(group.members);
    groups_.push_back(std::move(group));
  }

  Communicator* communicator_of(Group& group, std::size_t member) {
    Communicator*& mine = group.communicators[member];
    if (mine != nullptr) return mine;
    Cluster::Node& node = cluster_.node(group.members[member]);
    mine = *node.engine->create_from(*node.communicator, 1000 + static_cast<std::uint64_t>(&group - groups_.data()),
                                     group.name, group.members, group.boards, cluster_.network().now());
    return mine;
  }

  Operation* start(Group& group, std::size_t member, const OperationRequest& request) {
    Communicator* const communicator = communicator_of(group, member);
    const Result<Operation*> started =
        cluster_.node(group.members[member]).engine->start(communicator, request, cluster_.network().now());
    EXPECT_TRUE(started.is_ok()) << started.status().text();
    return started ? *started : nullptr;
  }

  void add_collective(Group& group) {
    const auto ranks = static_cast<Rank>(group.members.size());
    const CallKind kind = CollectiveCall::random_kind(random(), true);
    calls_.push_back(std::make_unique<CollectiveCall>(kind, ranks, random()));
    CollectiveCall& call = *calls_.back();
    if (call.data().shape().blocks == BlockSizes::uniform && random().chance(0.5)) {
      std::vector<const Algorithm*> fit;
      for (const Algorithm& algorithm : all_algorithms()) {
        if (algorithm.what == collective_of(kind)) fit.push_back(&algorithm);
      }
      call.set_algorithm(fit[random().below(fit.size())]->name);
    }
    for (std::size_t m = 0; m < group.members.size(); ++m) {
      script_.add(group.members[m], group.name,
                  [this, &group, &call, m] { return start(group, m, call.request(static_cast<Rank>(m))); });
    }
  }

  void add_message(Group& group) {
    const std::size_t from = random().below(group.members.size());
    const std::size_t to = random().chance(0.3) ? from : random().below(group.members.size());
    messages_.push_back(std::make_unique<Message>());
    Message& message = *messages_.back();
    message.sent.resize(random().chance(0.2) ? 0 : random().below(random().chance(0.2) ? 4000 : 60));
    for (auto& value : message.sent) value = static_cast<std::int32_t>(random().next());
    message.received.assign(message.sent.size(), -1);
    const std::string stream = format("{} {} to {}", group.name, from, to);
    script_.add(group.members[from], stream + " send",
                [this, &group, &message, from, to] { return transfer(group, message, from, to, true); });
    script_.add(group.members[to], stream + " receive",
                [this, &group, &message, from, to] { return transfer(group, message, from, to, false); });
  }

  Operation* transfer(Group& group, Message& message, std::size_t from, std::size_t to, bool sends) {
    OperationRequest request;
    request.kind = CallKind::point_to_point;
    request.type = DataType::int32;
    request.count = message.sent.size();
    request.sends = sends;
    request.root = static_cast<Rank>(sends ? to : from);
    request.input = reinterpret_cast<const std::byte*>(message.sent.data());
    request.output = reinterpret_cast<std::byte*>(message.received.data());
    request.timeout = std::chrono::seconds(20);
    return start(group, sends ? from : to, request);
  }

  Cluster cluster_;
  Script script_;
  std::vector<Group> groups_;
  std::vector<std::unique_ptr<CollectiveCall>> calls_;
  std::vector<std::unique_ptr<Message>> messages_;
};

ClusterOptions random_options(std::uint64_t seed) {
  Random random(seed ^ 0xca115);
  ClusterOptions options;
  options.ranks = 1 + static_cast<int>(random.below(7));
  options.ranks_per_process = random.chance(0.6) ? 1 : 2 + static_cast<int>(random.below(2));
  options.one_host = random.chance(0.5);
  options.segment_bytes = random.chance(0.5) ? 64 : 1024;
  options.eager_bytes = random.chance(0.5) ? 128 : 4096;
  options.network.again_probability = random.chance(0.3) ? 0.2 : 0;
  if (random.chance(0.3)) options.network.queue_frames = 20;
  return options;
}

void run_seeds(std::uint64_t few, void (*change)(ClusterOptions&)) {
  for_seeds(few, 5'000, [&](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    change(options);
    Trial(seed, options).run();
  });
}

TEST(EngineCalls, EveryKindOnSeveralCommunicatorsInRandomOrderGivesTheReferenceResult) {
  run_seeds(200, [](ClusterOptions&) {});
}

TEST(EngineCalls, ResultsAreRightOverLinksThatDelayRefuseAndStall) {
  run_seeds(150, [](ClusterOptions& options) {
    options.fault = FaultOptions{};
    options.fault->delay_probability = 0.1;
    options.fault->delay_max = std::chrono::milliseconds(1);
    options.fault->again_probability = 0.1;
    options.fault->stall_probability = 0.01;
    options.fault->stall_max = std::chrono::milliseconds(2);
  });
}

}  // namespace
}  // namespace tutti
