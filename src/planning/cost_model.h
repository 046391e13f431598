// Cost model: a small, linear prediction of how long an algorithm takes on a communicator of a given shape. Two
// things are priced, and the larger one counts: what the busiest rank has to send and reduce (Hockney's alpha and
// beta, plus a rate for reductions), and what all ranks of a host together cost its cores and its memory, which is
// what limits them where they share both. The constants were measured (docs/benchmarks.md, "Planner"); predictions
// are for choosing between algorithms, not for quoting.
#pragma once

#include <cstdint>
#include <string_view>

#include "algorithms/catalog.h"
#include "src/base/clock.h"
#include "src/planning/plan.h"
#include "src/schedule/counts.h"

namespace tutti {

// In how large pieces messages stream where all ranks share memory, if nobody has said otherwise.
constexpr std::uint32_t kMemorySegmentBytes = 128 << 10;

// One kind of connection between two ranks. Through shared memory it is the receiver that moves the bytes: a sender
// shows the same ones to all.
struct Medium {
  std::string_view name;
  double round_ns;              // from a message's arrival to the next one's that had to wait for it
  double crowded_round_ns;      // the same where ranks outnumber cores
  double message_ns;            // what one message costs the cores at both its ends
  double crowded_message_ns;    // the same where ranks outnumber cores: somebody has to be scheduled for it
  double bytes_per_ns;          // what one core moves, incl. the copies that the transport makes, out of caches
  double cached_bytes_per_ns;   // the same while all that moves fits into them
  double machine_bytes_per_ns;  // all ranks of a host together
  // Shares by which moving takes longer: for each round beyond the first (what has just come is sent on), for each
  // message in flight at once and each destination beyond the first.
  double relay_share;
  double in_flight_share;
  double destination_share;
};

const Medium& shared_memory_medium();
const Medium& loopback_medium();  // TCP between ranks of one host
const Medium& network_medium();   // between hosts: TCP at 10 Gbit/s, as nothing has measured the links yet

// What an algorithm asks of a number of ranks, in messages and blocks. A reduction of k operands in one pass reads k
// and writes one: it counts (k + 1) / 3 of the plain one's three streams.
struct Demand {
  Counts busiest;  // as the catalog says
  double busiest_received = 0;
  double busiest_reduced = 0;
  std::uint32_t destinations = 0;  // of the rank that has most of them
  double messages = 0;             // the following of all ranks together
  double sent = 0;
  double reduced = 0;
  double copied = 0;  // within a rank
};

// Looks at the programs of at most 16 ranks, spread evenly, and takes the others to be like them.
Demand demand_of(const Algorithm& algorithm, Rank ranks);

struct Cost {
  Nanoseconds time{0};
  std::string_view limit;  // what takes most of it: "latency", "messages", "bandwidth", "memory bandwidth", "copies"
                           // or "reductions"
};

Cost estimate(const Demand& demand, std::uint64_t block_bytes, const Shape& shape, std::uint32_t lanes);

// Through the board: every rank writes its input once and reads those of all others.
Cost estimate_board(std::uint64_t input_bytes, const Shape& shape);

}  // namespace tutti
