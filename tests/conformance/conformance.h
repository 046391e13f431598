// The conformance suite: what src/transport/transport.h promises, as tests that run on every transport. A transport
// joins with one file, test_conformance_NAME.cc, which holds a World and the line
//
//   TUTTI_CONFORMANCE(Shm, std::make_unique<ShmWorld>());
//
// The build makes of it the test test_conformance_NAME, linked with tutti_transport_NAME (for NAME = a_b with both).
// Cases that need what a transport has not (lanes, a segment, a wait descriptor) skip themselves by its capabilities.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/transport/transport.h"
#include "tests/conformance/party.h"

namespace tutti::conformance {

// Where processes live: makes transports that can reach each other, all inside the test's process, and tells the
// time. It outlives the transports it made. A transport on the real clock overrides only make().
class World {
 public:
  virtual ~World() = default;

  // A transport for a process that is to be called `id`. To the others it is another process, though it is not.
  virtual std::unique_ptr<Transport> make(const ProcessId& id) = 0;

  virtual bool has_virtual_clock() const { return false; }
  // Whether the end of one lane to a peer is the end of all.
  virtual bool lanes_end_together() const { return false; }
  virtual Instant now() { return monotonic_now(); }
  // Nobody has anything to do: lets time pass, by a short sleep or by going to the next event of a virtual clock.
  virtual void rest();

  // Whether a sentence names the process `id`. By default: it has this host's name, the pid or (part of) the id in
  // it.
  virtual bool names(const std::string& text, const ProcessId& id) const;
};

struct WorldMaker {
  std::function<std::unique_ptr<World>()> make;
  friend void PrintTo(const WorldMaker&, std::ostream* out) { *out << "a world"; }
};

class Conformance : public ::testing::TestWithParam<WorldMaker> {
 protected:
  static constexpr std::size_t kFrameBytesMax = std::size_t{8} << 20;  // the largest frame that the cases send

  void SetUp() override;
  void TearDown() override;

  // A new process.
  Party& add();
  void destroy(Party& party);

  // Polls every process once. Where none had anything, lets time pass; returns the number of events.
  std::size_t pump();
  // Pumps until `condition` holds; false and a failure that says `what` when that takes for ever (30 s or as many
  // turns).
  bool until(const std::function<bool()>& condition, const std::string& what);
  // Pumps until nothing has happened for a good while, so that what should not come had its chance to come.
  void settle();

  Instant in(Nanoseconds duration) { return deadline_after(world_->now(), duration); }
  Instant soon() { return in(std::chrono::seconds(60)); }

  // Connects a to b and waits for both ends: {a's, b's}. Nulls and a failure if it does not come to that.
  std::pair<Line*, Line*> join(Party& a, Party& b, std::uint32_t lane = 0);

  // Sends one frame of a stream, pumping while it is refused with `again`.
  bool send_frame(Party& from, Line& line, std::uint64_t stream, std::uint64_t index, std::size_t bytes,
                  std::size_t skew = 1);
  // The same out of the caller's memory, whose contents are its affair.
  bool send_from(Line& line, std::uint64_t stream, std::uint64_t index, const std::byte* memory, std::size_t bytes);
  // Whether received[k] of the line is frame `index` of the stream, to the last bit.
  static void expect_frame(const Line& line, std::size_t k, std::uint64_t stream, std::uint64_t index,
                           std::size_t bytes);
  // A frame there and one back: the link works.
  void expect_talks(Party& a, Line& at_a, Party& b, Line& at_b, std::size_t bytes = 100);

  std::size_t frame_bytes_max();

  std::unique_ptr<World> world_;
  std::vector<std::unique_ptr<Party>> parties_;
  std::uint64_t next_stream_ = 1;
};

// The seed of this run: TUTTI_TEST_SEED, or a fixed one. Printed by a case that fails.
std::uint64_t test_seed();
bool test_long();  // TUTTI_TEST_LONG=1

}  // namespace tutti::conformance

#define TUTTI_CONFORMANCE(Name, make_world)                                                                      \
  namespace tutti::conformance {                                                                                 \
  INSTANTIATE_TEST_SUITE_P(Name, Conformance,                                                                    \
                           ::testing::Values(WorldMaker{[]() -> std::unique_ptr<World> { return make_world; }}), \
                           [](const auto&) { return std::string("Transport"); });                                \
  }                                                                                                              \
  static_assert(true)
