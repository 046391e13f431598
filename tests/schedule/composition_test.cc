// Algorithms compose: a hierarchical all-reduce out of the ring's building blocks, over groups and parts of a view.
#include <gtest/gtest.h>

#include "algorithms/pieces.h"
#include "algorithms/ring.h"
#include "src/base/random.h"
#include "src/schedule/verifier.h"
#include "tests/schedule/shaker.h"

namespace tutti {
namespace {

// Hosts of `local` neighbouring ranks each: reduce-scatter inside, all-reduce across, all-gather inside.
Program hierarchical(const Call& call, Rank local, Directions directions) {
  Builder b(call);
  Group inside, across;
  for (Rank i = 0; i < local; ++i) inside.members.push_back(call.rank / local * local + i);
  for (Rank i = call.rank % local; i < call.ranks; i += local) across.members.push_back(i);
  inside.index = static_cast<std::uint32_t>(call.rank % local);
  across.index = static_cast<std::uint32_t>(call.rank / local);

  ring_reduce_scatter(b, inside, b.input(), b.output(), false, directions);
  const View chunk = Pieces(b.output(), inside.size())[inside.index];
  ring_reduce_scatter(b, across, chunk, chunk, true, directions);
  ring_all_gather(b, across, Pieces(chunk, across.size())[across.index], chunk, directions);
  ring_all_gather(b, inside, chunk, b.output(), directions);
  return std::move(b).take();
}

TEST(Composition, AHierarchicalAllReduceIsProven) {
  for (const Rank hosts : {2, 3, 4}) {
    for (const Rank local : {2, 3, 5}) {
      for (const bool in_place : {false, true}) {
        for (const Directions directions : {Directions::one, Directions::both}) {
          Schedule schedule;
          for (Rank rank = 0; rank < hosts * local; ++rank) {
            schedule.programs.push_back(
                hierarchical({Collective::all_reduce, hosts * local, rank, 0, in_place}, local, directions));
          }
          const Status status = verify(schedule);
          EXPECT_TRUE(status.is_ok()) << hosts << " hosts of " << local << ": " << status.text();
          Random random(3);
          EXPECT_EQ(shake(schedule, 17, random), "");
        }
      }
    }
  }
}

}  // namespace
}  // namespace tutti
