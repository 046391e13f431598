// Every collective, type, operation, algorithm, count, root, way of waiting and kind of memory, on every way ranks
// can reach each other, against the reference of elements.h. The ranks of a job start once and run many cases. What
// is run is chosen by a seed (TUTTI_TEST_SEED); TUTTI_TEST_LONG=1 runs every kind x type x operation x algorithm on
// each layout, the rest being drawn for each.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "algorithms/catalog.h"
#include "tests/process/cases.h"

namespace tutti_test {
namespace {

struct Layout {
  const char* name;
  const char* settings;
  int ranks_per_process;
};
constexpr Layout kLayouts[] = {
    {"Shm", "TUTTI_TRANSPORTS=shm", 1},
    {"Tcp", "TUTTI_TRANSPORTS=tcp", 1},
    {"Threads", "", 8},
    {"ShmAndThreads", "", 2},
    {"TcpAndThreads", "TUTTI_TRANSPORTS=tcp", 2},
    {"StagedShm", "TUTTI_TRANSPORTS=shm TUTTI_SHM_COPY=staging", 1},
};

// Communicators of one job that take other paths for the same call.
struct Variant {
  const char* name;
  const char* settings;
  std::size_t segment_bytes;
  std::size_t largest_bytes;  // a rank's block, so that many tiny segments do not take all the time
};
constexpr Variant kVariants[] = {
    {"default", "", 65536, 8u << 20},
    {"tiny", "TUTTI_SEGMENT_BYTES=64 TUTTI_EAGER_BYTES=32 TUTTI_SHM_BOARD_BYTES=64", 64, 20000},
    {"no-board", "TUTTI_SEGMENT_BYTES=4096 TUTTI_EAGER_BYTES=0 TUTTI_SHM_BOARD_BYTES=0", 4096, 1u << 20},
    {"eager", "TUTTI_SEGMENT_BYTES=4096 TUTTI_EAGER_BYTES=1M TUTTI_SHM_BOARD_BYTES=64k", 4096, 1u << 20},
};
constexpr int kVariantCount = static_cast<int>(std::size(kVariants));

struct Draw {
  std::uint64_t state;
  std::uint64_t below(std::uint64_t bound) {
    state = mix(state, 0x5eed);
    return state % bound;
  }
};

struct Planned {
  Case c;
  int variant = 0;
  int repeat = 1;
};

tutti::Collective collective_of(Kind kind) {
  switch (kind) {
    case Kind::all_gather_v:
      return tutti::Collective::all_gather;
    case Kind::reduce_scatter_v:
      return tutti::Collective::reduce_scatter;
    case Kind::all_to_all_v:
      return tutti::Collective::all_to_all;
    case Kind::gather_v:
      return tutti::Collective::gather;
    case Kind::scatter_v:
      return tutti::Collective::scatter;
    default:
      return static_cast<tutti::Collective>(kind);
  }
}

std::vector<std::string> algorithms_for(Kind kind) {
  std::vector<std::string> names{""};
  if (kind == Kind::barrier) kind = Kind::all_reduce;
  if (kind == Kind::exchange) return names;
  for (const tutti::Algorithm& algorithm : tutti::all_algorithms()) {
    if (algorithm.what == collective_of(kind)) names.emplace_back(algorithm.name);
  }
  return names;
}

// What is left open by kind, type, operation and algorithm.
Planned complete(Draw& draw, Kind kind, tutti_datatype type, tutti_op op, std::string algorithm, int ranks) {
  Planned planned;
  planned.variant = static_cast<int>(draw.below(kVariantCount));
  const Variant& variant = kVariants[planned.variant];
  Case& c = planned.c;
  c.kind = kind;
  c.type = type;
  c.op = op;
  c.algorithm = std::move(algorithm);
  const std::size_t width = tutti_datatype_size(type);
  const std::size_t segment = variant.segment_bytes / width;
  const auto n = static_cast<std::size_t>(ranks);
  const std::size_t counts[] = {
      0,           1,       2,           3,           n > 1 ? n - 1 : 5, n + 1,          63, 1000, 4097,
      segment - 1, segment, segment + 1, 2 * segment, n * segment + 1,   3 * segment - 1};
  c.count = counts[draw.below(std::size(counts))];
  if (draw.below(12) == 0) c.count = 100003;
  if (draw.below(150) == 0) c.count = (4u << 20) / width + draw.below(9);
  while (c.count * width > variant.largest_bytes) c.count /= 7;
  c.root = static_cast<int>(draw.below(n));
  c.in_place = draw.below(3) == 0;
  c.shared_memory = draw.below(3) == 0;
  c.spaced = draw.below(2) == 0;
  c.misaligned = draw.below(4) == 0 ? 1 : 0;
  c.completion = static_cast<Completion>(draw.below(3));
  const bool random = draw.below(2) == 0 && (op != TUTTI_PRODUCT || width > 1);
  c.family = random ? Family::random : Family::exact;
  c.seed = draw.below(1u << 30);
  planned.repeat = draw.below(6) == 0 ? 2 : 1;
  return planned;
}

std::vector<Planned> sampled(std::uint64_t seed, int ranks, int count) {
  Draw draw{seed};
  std::vector<Planned> all;
  while (static_cast<int>(all.size()) < count) {
    const Kind kind = static_cast<Kind>(draw.below(kKinds));
    const auto type = static_cast<tutti_datatype>(draw.below(kTypes));
    const auto op = static_cast<tutti_op>(draw.below(kOps));
    if (!op_exists(type, op)) continue;
    const auto names = algorithms_for(kind);
    all.push_back(complete(draw, kind, type, op, draw.below(2) == 0 ? "" : names[draw.below(names.size())], ranks));
  }
  return all;
}

std::vector<Planned> everything(std::uint64_t seed, int ranks) {
  Draw draw{seed};
  std::vector<Planned> all;
  for (int kind = 0; kind < kKinds; ++kind) {
    for (int type = 0; type < kTypes; ++type) {
      for (int op = 0; op < (reduces(static_cast<Kind>(kind)) ? kOps : 1); ++op) {
        if (!op_exists(static_cast<tutti_datatype>(type), static_cast<tutti_op>(op))) continue;
        for (const std::string& algorithm : algorithms_for(static_cast<Kind>(kind))) {
          all.push_back(complete(draw, static_cast<Kind>(kind), static_cast<tutti_datatype>(type),
                                 static_cast<tutti_op>(op), algorithm, ranks));
        }
      }
    }
  }
  return all;
}

// What all ranks must agree on about a case, as one word.
std::uint64_t verdict(const Planned& planned, const Result& result) {
  if (result.status != TUTTI_OK) return static_cast<std::uint64_t>(result.status);
  return planned.c.kind == Kind::all_reduce ? result.digest << 8 : 0;
}

void run_rank(Rank& rank, const std::vector<Planned>& cases) {
  std::array<tutti_comm*, kVariantCount> comms{};
  for (int v = 0; v < kVariantCount; ++v) {
    comms[static_cast<std::size_t>(v)] = rank.create(kVariants[v].name, kVariants[v].settings);
    if (comms[static_cast<std::size_t>(v)] == nullptr) return;
  }
  Buffers buffers;
  std::size_t index = 0;
  bool broken = false;
  for (const Planned& planned : cases) {
    const std::string name = kVariants[planned.variant].name;
    Result last;
    for (int i = 0; i < planned.repeat && !broken; ++i) {
      const Result result = run_case(rank, comms[static_cast<std::size_t>(planned.variant)], rank.rank(), rank.size(),
                                     planned.c, buffers);
      const bool refused = result.status == TUTTI_INVALID && !planned.c.algorithm.empty() &&
                           std::string_view(tutti_last_error()).find("has no algorithm") != std::string_view::npos;
      if (result.status != TUTTI_OK && !refused) {
        rank.expect(TUTTI_OK, result.status, name + ": " + planned.c.text());
        broken = true;
      }
      if (i > 0)
        rank.check(verdict(planned, last) == verdict(planned, result),
                   planned.c.text() + ": not the same bits again");
      last = result;
      if (!refused) rank.shared().counters[rank.rank()].fetch_add(1);
    }
    rank.shared().slots[index++][rank.rank()] = verdict(planned, last);
    if (broken) break;
  }
  rank.note("destroys its communicators");
  for (tutti_comm* comm : comms) {
    if (!broken) rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  }
}

class Matrix : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(Matrix, GivesWhatTheHeaderSays) {
  const auto [layout_index, ranks] = GetParam();
  const Layout& layout = kLayouts[layout_index];
  Job job;
  job.ranks = ranks;
  job.processes = (ranks + layout.ranks_per_process - 1) / layout.ranks_per_process;
  job.settings = std::string("TUTTI_TIMEOUT=120s ") + layout.settings;
  job.limit = std::chrono::seconds(runs_long() ? 3000 : 150);
  const std::uint64_t chosen = mix(seed(), static_cast<std::uint64_t>(layout_index * 16 + ranks));
  const int count = patience() > 1 ? 30 : 300;
  const std::vector<Planned> cases = runs_long() ? everything(chosen, ranks) : sampled(chosen, ranks, count);
  ASSERT_LE(cases.size(), static_cast<std::size_t>(SharedBlock::kSlots));

  const Outcome outcome = run_job(job, [&](Rank& rank) { run_rank(rank, cases); });

  ASSERT_TRUE(outcome.is_clean()) << outcome.text();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::uint64_t* const slot = &outcome.slots[i * SharedBlock::kRanksMax];
    for (int r = 1; r < ranks; ++r)
      EXPECT_EQ(slot[0], slot[r]) << cases[i].c.text() << ": ranks 0 and " << r << " have other bits or results";
  }
  std::printf("%s, %d ranks: %lld runs of %zu cases\n", layout.name, ranks,
              static_cast<long long>(outcome.counters[0]), cases.size());
  EXPECT_GT(outcome.counters[0], static_cast<std::int64_t>(cases.size() / 2));
}

std::string name_of_layout(const testing::TestParamInfo<std::tuple<int, int>>& info) {
  return std::string(kLayouts[std::get<0>(info.param)].name) + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Processes, Matrix,
                         testing::Combine(testing::Values(0, 1), testing::Values(1, 2, 3, 4, 5, 8)), name_of_layout);
INSTANTIATE_TEST_SUITE_P(ThreadsOfOneProcess, Matrix, testing::Combine(testing::Values(2), testing::Values(2, 3, 7)),
                         name_of_layout);
INSTANTIATE_TEST_SUITE_P(Mixed, Matrix, testing::Combine(testing::Values(3, 4), testing::Values(4, 6)),
                         name_of_layout);
INSTANTIATE_TEST_SUITE_P(Staged, Matrix, testing::Combine(testing::Values(5), testing::Values(3, 4)), name_of_layout);

}  // namespace
}  // namespace tutti_test
