// Lanes over paths of unlike rates, on the simulated network: together they carry what the paths can, and every frame
// comes once and in order (the Party holds every event to the contract). Time is the network's own, so the rates are
// exact and the same in every run.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/transport_failover/sides.h"
#include "transports/failover/reserve.h"

namespace tutti {
namespace {

using conformance::Line;
using conformance::stream_header;
using conformance::stream_payload;
using std::chrono::milliseconds;

constexpr std::size_t kFrameBytes = 64 << 10;

SimOptions with_lanes(std::size_t lanes, std::uint32_t narrow_ways = 0) {
  SimOptions options;
  options.narrow_ways = narrow_ways;
  options.lanes_max = static_cast<std::uint32_t>(lanes);
  options.copied_bytes_max = 16 << 10;
  options.queue_bytes = 1 << 20;  // as a socket's buffer
  options.jitter_max = Nanoseconds(20'000);
  options.pending_probability = 1;  // until they have left
  options.rendezvous_probability = 0;
  options.transient_probability = 0;
  options.no_data_probability = 0;
  return options;
}

class Rails : public Sides {
 public:
  // Bytes per second of each lane's path, in both directions, and of the one in reserve, which carries; 0: there is
  // none. The lanes take the narrow ways in turn.
  explicit Rails(const std::vector<double>& rates, double reserve = 0, std::uint32_t narrow_ways = 0)
      : Sides(11, with_lanes(reserve > 0 ? kReserveLane + 1 : rates.size(), narrow_ways)), counts_(rates.size()) {
    FailoverOptions options;
    options.reserve = options.reserve_carries = reserve > 0;
    for (int number = 0; number < 2; ++number) add_side(options);
    for (std::uint32_t lane = 0; lane < rates.size(); ++lane) side(0).connect(side(1), kNever, lane);
    run([&] {
      for (std::uint32_t lane = 0; lane < rates.size(); ++lane) {
        if (line(0, lane) == nullptr || line(1, lane) == nullptr) return false;
      }
      return true;
    });
    run_for(milliseconds(10));
    set_rates(rates);
    if (reserve > 0) set_rate(kReserveLane, reserve);
  }

  void set_rates(const std::vector<double>& rates) {
    for (std::uint32_t lane = 0; lane < rates.size(); ++lane) set_rate(lane, rates[lane]);
  }

  // What side 0 sends by all lanes, the same share by each, per second.
  double carry(std::size_t frames_per_lane) {
    const std::size_t lanes = counts_.size();
    std::vector<std::size_t> left(lanes, frames_per_lane);
    const Instant began = network_.now();
    const bool is_done = run([&] {
      for (std::uint32_t lane = 0; lane < lanes; ++lane) {
        while (left[lane] > 0 && send(lane)) --left[lane];
      }
      return std::all_of(left.begin(), left.end(), [](std::size_t each) { return each == 0; }) && is_all_there();
    });
    EXPECT_TRUE(is_done);
    const double seconds = std::chrono::duration<double>(network_.now() - began).count();
    return static_cast<double>(lanes * frames_per_lane * kFrameBytes) / seconds;
  }

  void cut(std::uint32_t lane) { network_.cut_lane(side(0).id(), side(1).id(), lane, milliseconds(3)); }

  void check() {
    for (std::uint32_t lane = 0; lane < counts_.size(); ++lane) {
      const Line& to = *line(1, lane);
      ASSERT_EQ(to.received.size(), counts_[lane]);
      for (std::size_t k = 0; k < counts_[lane]; ++k) {
        ASSERT_EQ(to.received[k].header, stream_header(lane + 1, k, kFrameBytes)) << "frame " << k;
        ASSERT_TRUE(to.received[k].complete && to.received[k].payload == stream_payload(lane + 1, k, kFrameBytes))
            << "payload of frame " << k;
      }
    }
  }

  std::string told() const {
    std::string all;
    for (const Said& each : said()) all += each.text + "\n";
    return all;
  }

 private:
  void set_rate(std::uint32_t lane, double rate) {
    for (const int from : {0, 1}) {
      network_.set_lane_path(side(from).id(), side(1 - from).id(), lane, {std::chrono::microseconds(50), rate});
    }
  }
  Line* line(int which, std::uint32_t lane) { return side(which).open_line(side(1 - which).id(), lane); }
  bool send(std::uint32_t lane) {
    const SendState state = side(0).send(*line(0, lane), stream_header(lane + 1, counts_[lane], kFrameBytes),
                                         stream_payload(lane + 1, counts_[lane], kFrameBytes));
    if (state != SendState::copied && state != SendState::pending) return false;
    ++counts_[lane];
    return true;
  }
  bool is_all_there() {
    for (std::uint32_t lane = 0; lane < counts_.size(); ++lane) {
      if (line(1, lane)->received.size() < counts_[lane] || !line(1, lane)->owes_nothing() ||
          !line(0, lane)->pending.empty())
        return false;
    }
    return true;
  }

  std::vector<std::size_t> counts_;  // frames sent, by lane
};

double sum(const std::vector<double>& rates) {
  double all = 0;
  for (const double rate : rates) all += rate;
  return all;
}

TEST(Striping, PathsOfUnlikeRatesCarryTogetherNineTenthsOfTheirSumAndMore) {
  const std::vector<std::vector<double>> cases = {
      {12.5e6, 3.125e6}, {3.125e6, 12.5e6}, {10e6, 8e6}, {1e9, 2.5e9}, {10e6, 5e6, 2.5e6},
  };
  for (const auto& rates : cases) {
    Rails rails(rates);
    rails.carry(16);  // until the rates are known
    const double carried = rails.carry(80);
    EXPECT_GE(carried, 0.9 * sum(rates)) << rates[0] << " and " << rates[1];
    rails.check();
  }
}

TEST(Striping, PathsOfTheSameRateCarryTheirOwnLanesAlone) {
  Rails rails({100e6, 100e6});
  rails.carry(100);
  EXPECT_EQ(rails.told().find("wherever it arrives first"), std::string::npos) << rails.told();
  rails.check();
}

TEST(Striping, APathThatBecomesSlowOrFastIsSeen) {
  Rails rails({10e6, 10e6});
  rails.carry(30);
  rails.set_rates({10e6, 2e6});
  rails.carry(60);
  EXPECT_GE(rails.carry(60), 0.9 * 12e6);
  rails.set_rates({2e6, 10e6});
  rails.carry(60);
  EXPECT_GE(rails.carry(60), 0.9 * 12e6);
  rails.set_rates({10e6, 10e6});
  rails.carry(60);
  EXPECT_GE(rails.carry(60), 0.9 * 20e6);
  rails.check();
}

TEST(Striping, TheOneInReserveCarriesAsWellWhereItMay) {
  for (const auto& [own, reserve] : {std::pair{10e6, 3e6}, {3e6, 10e6}}) {
    Rails rails({own}, reserve);
    rails.carry(30);
    EXPECT_GE(rails.carry(120), 0.9 * (own + reserve)) << own;
    rails.check();
  }
}

// The network gives each path its rate, so the rate tells how many of them carry.
TEST(Striping, OfPathsThatShareANarrowWayOneCarriesForAll) {
  Rails rails({10e6, 10e6, 10e6}, 0, 1);
  const double carried = rails.carry(60);
  EXPECT_GE(carried, 0.9 * 10e6);
  EXPECT_LE(carried, 1.02 * 10e6);
  rails.check();
}

TEST(Striping, AnotherOfANarrowWayCarriesWhenTheFirstIsLost) {
  Rails rails({10e6, 10e6}, 0, 1);
  rails.carry(30);
  rails.cut(0);
  EXPECT_GE(rails.carry(60), 0.8 * 10e6);  // the first, once it is back, has a rate of the network's choice
  EXPECT_NE(rails.told().find("is back after"), std::string::npos) << rails.told();
  rails.check();
}

TEST(Striping, NarrowWaysOfUnlikeRatesCarryTogetherWhatTheyCan) {
  Rails rails({12.5e6, 3.125e6, 12.5e6, 3.125e6}, 0, 2);
  rails.carry(16);
  const double carried = rails.carry(60);
  EXPECT_GE(carried, 0.9 * 15.625e6);
  EXPECT_LE(carried, 1.02 * 15.625e6);
  rails.check();
}

}  // namespace
}  // namespace tutti
