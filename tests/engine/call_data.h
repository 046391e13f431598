// CallData: the memory of one collective on all ranks, over int32, with blocks of one size or of sizes of their own
// that lie anywhere with gaps between them; what the call is to give, computed in the plainest way; and whether it
// did, including all memory that it was to leave alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/random.h"
#include "src/engine/extents.h"
#include "src/memory/datatype.h"
#include "src/schedule/schedule.h"

namespace tutti {

enum class BlockSizes : std::uint8_t { uniform, table, own_only };  // as BlockKnowledge

struct CallShape {
  Collective what = Collective::all_reduce;
  Rank ranks = 1;
  Rank root = 0;
  bool in_place = false;
  BlockSizes blocks = BlockSizes::uniform;
  ReduceOp op = ReduceOp::sum;
  // Elements of the block that goes from rank s to rank d (all_to_all); the others use row 0.
  std::vector<std::vector<std::uint64_t>> sizes;

  // Sizes from nothing to some hundred elements, of a kind that meets the edges of segments of 64 bytes.
  static CallShape random(Collective what, Rank ranks, BlockSizes blocks, Random& random);
  std::string describe() const;
};

class CallData {
 public:
  struct Room {  // the blocks of one buffer
    BlockTable table;
    std::uint64_t elements = 0;  // of the buffer that holds them
    std::uint32_t blocks = 0;
  };
  // One rank's memory. With in_place the smaller buffer lies in the larger one.
  struct RankData {
    Room input;
    Room output;
    bool overlaps = false;
    std::int64_t input_to_output = 0;  // as in Extents
    std::int32_t scalar = 1;           // premultiplied_sum
    std::vector<std::int32_t> first;   // the input, or what holds both
    std::vector<std::int32_t> second;  // the output
    std::vector<std::vector<std::int32_t>> given;

    std::int32_t* input_at() { return first.data() + (overlaps && input_to_output > 0 ? input_to_output : 0); }
    std::int32_t* output_at() {
      return overlaps ? first.data() - (input_to_output < 0 ? input_to_output : 0) : second.data();
    }
  };

  // Lays everything out and fills it.
  CallData(const CallShape& shape, Random& random);

  const CallShape& shape() const { return shape_; }
  RankData& rank(Rank r) { return ranks_[static_cast<std::size_t>(r)]; }
  Extents extents(Rank r);
  // Empty if the rank's memory is as it must be after the call, else a sentence about the first difference.
  std::string check(Rank r);

 private:
  void lay_out(Rank rank, Random& random);
  void fill(Rank rank, Random& random);
  std::int32_t fold(std::size_t block, std::size_t element) const;
  std::vector<std::int32_t> expected(std::size_t rank, std::size_t block) const;

  CallShape shape_;
  std::vector<RankData> ranks_;
};

}  // namespace tutti
