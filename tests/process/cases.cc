#include "tests/process/cases.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace tutti_test {

namespace {

constexpr std::size_t kGuard = 128;
constexpr std::byte kGuardByte{0xa5};
constexpr std::byte kUntouched{0x5c};
constexpr std::size_t kGap = 3;  // elements

// The blocks of a buffer: one per rank.
struct Blocks {
  std::vector<std::size_t> counts;
  std::vector<std::size_t> displacements;
  std::size_t extent = 0;
};

Blocks arrange(std::vector<std::size_t> counts, bool spaced) {
  Blocks blocks;
  blocks.counts = std::move(counts);
  blocks.displacements.resize(blocks.counts.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < blocks.counts.size(); ++i) {
    const std::size_t r = spaced ? blocks.counts.size() - 1 - i : i;
    if (spaced) at += kGap;
    blocks.displacements[r] = at;
    at += blocks.counts[r];
  }
  blocks.extent = spaced ? at + kGap : at;
  return blocks;
}

// How many elements rank r's block has in a call with tables; some have none.
std::size_t block_count(const Case& c, int r, int to = 0) {
  const std::uint64_t random = mix(c.seed, static_cast<std::uint64_t>(r * 64 + to));
  if (random % 5 == 0) return 0;
  return c.count * (1 + random / 8 % 4) / 2 + random / 64 % 2;
}

std::vector<std::size_t> counts_of(const Case& c, int ranks) {
  std::vector<std::size_t> counts;
  for (int r = 0; r < ranks; ++r) counts.push_back(block_count(c, r));
  return counts;
}

// Everything a call reads and writes, as bytes, before it runs.
class Exercise {
 public:
  Exercise(const Case& c, int me, int ranks)
      : c_(c),
        me_(me),
        ranks_(ranks),
        width_(tutti_datatype_size(c.type)),
        kind_{c.type, c.op, reduces(c.kind) ? c.family : Family::bits, c.seed} {
    const auto n = static_cast<std::size_t>(ranks);
    const std::vector<std::size_t> equal(n, c.count);
    blocks_ = arrange(with_tables() ? counts_of(c, ranks) : equal, c.spaced && with_tables() && !reduces(c.kind));
    if (c.kind == Kind::all_to_all_v) {
      std::vector<std::size_t> out;
      std::vector<std::size_t> in;
      for (int r = 0; r < ranks; ++r) {
        out.push_back(block_count(c, me, r));
        in.push_back(block_count(c, r, me));
      }
      sent_ = arrange(std::move(out), c.spaced);
      blocks_ = arrange(std::move(in), c.spaced);
    }
  }

  bool with_tables() const {
    return c_.kind == Kind::all_gather_v || c_.kind == Kind::reduce_scatter_v || c_.kind == Kind::all_to_all_v ||
           c_.kind == Kind::gather_v || c_.kind == Kind::scatter_v;
  }
  bool is_root() const { return me_ == c_.root; }
  std::size_t own_count() const { return with_tables() ? blocks_.counts[static_cast<std::size_t>(me_)] : c_.count; }
  std::size_t own_displacement() const { return blocks_.displacements[static_cast<std::size_t>(me_)]; }
  const Blocks& blocks() const { return blocks_; }
  const Blocks& sent() const { return sent_; }
  std::size_t width() const { return width_; }

  // The input of this rank; empty where the call uses none.
  Bytes input() const {
    switch (c_.kind) {
      case Kind::all_reduce:
      case Kind::reduce:
      case Kind::all_gather:
      case Kind::gather:
      case Kind::all_gather_v:
      case Kind::gather_v:
        return sequence(me_, 0, own_count());
      case Kind::broadcast:
        return is_root() ? sequence(me_, 0, c_.count) : Bytes();
      case Kind::reduce_scatter:
      case Kind::reduce_scatter_v:
      case Kind::all_to_all:
      case Kind::exchange:
        return sequence(me_, 0, blocks_.extent);
      case Kind::all_to_all_v:
        return sequence(me_, 0, sent_.extent);
      case Kind::scatter:
      case Kind::scatter_v:
        return is_root() ? sequence(me_, 0, blocks_.extent) : Bytes();
      case Kind::barrier:
        break;
    }
    return {};
  }

  // How large this rank's output is; 0 where the call writes none.
  std::size_t output_bytes() const {
    switch (c_.kind) {
      case Kind::all_reduce:
      case Kind::broadcast:
        return c_.count * width_;
      case Kind::reduce:
        return is_root() ? c_.count * width_ : 0;
      case Kind::all_gather:
      case Kind::all_gather_v:
      case Kind::all_to_all:
      case Kind::all_to_all_v:
      case Kind::exchange:
        return blocks_.extent * width_;
      case Kind::gather:
      case Kind::gather_v:
        return is_root() ? blocks_.extent * width_ : 0;
      case Kind::reduce_scatter:
      case Kind::reduce_scatter_v:
      case Kind::scatter:
      case Kind::scatter_v:
        return own_count() * width_;
      case Kind::barrier:
        break;
    }
    return 0;
  }

  // The output after a call that only moves; what it must not touch is as it was.
  void move_into(Bytes& output) const {
    const auto put = [&](int from, std::size_t first, std::size_t at, std::size_t count) {
      const Bytes data = sequence(from, first, count);
      if (count > 0) std::memcpy(output.data() + at * width_, data.data(), count * width_);
    };
    for (int r = 0; r < ranks_; ++r) {
      const auto i = static_cast<std::size_t>(r);
      switch (c_.kind) {
        case Kind::all_gather:
        case Kind::all_gather_v:
          put(r, 0, blocks_.displacements[i], blocks_.counts[i]);
          break;
        case Kind::gather:
        case Kind::gather_v:
          if (is_root()) put(r, 0, blocks_.displacements[i], blocks_.counts[i]);
          break;
        case Kind::broadcast:
          if (r == c_.root) put(r, 0, 0, c_.count);
          break;
        case Kind::scatter:
        case Kind::scatter_v:
          if (r == c_.root) put(r, own_displacement(), 0, own_count());
          break;
        case Kind::all_to_all:
        case Kind::exchange:
          put(r, static_cast<std::size_t>(me_) * c_.count, i * c_.count, c_.count);
          break;
        case Kind::all_to_all_v: {
          std::vector<std::size_t> theirs;
          for (int to = 0; to < ranks_; ++to) theirs.push_back(block_count(c_, r, to));
          const Blocks from = arrange(std::move(theirs), c_.spaced);
          put(r, from.displacements[static_cast<std::size_t>(me_)], blocks_.displacements[i], blocks_.counts[i]);
          break;
        }
        default:
          break;
      }
    }
  }

  // Where the reduced data of this rank begins among all elements, and how many they are.
  std::size_t reduced_first() const {
    return c_.kind == Kind::reduce_scatter || c_.kind == Kind::reduce_scatter_v ? own_displacement() : 0;
  }
  std::size_t reduced_count() const { return output_bytes() / width_; }
  Expected reduced() const { return reduced_tile(kind_, ranks_, tile_length()); }
  Bytes scalar() const { return scalar_of(kind_, me_); }

 private:
  std::size_t tile_length() const {
    return std::min(kPeriod, std::max({c_.count, blocks_.extent, sent_.extent, std::size_t{1}}) * 8);
  }

  // `count` elements of a rank's input, from element `first` on.
  Bytes sequence(int from, std::size_t first, std::size_t count) const {
    Bytes out(count * width_);
    if (count == 0) return out;
    const Bytes tile = input_tile(kind_, from, std::min(kPeriod, first + count));
    for (std::size_t done = 0; done < count;) {
      const std::size_t at = (first + done) % kPeriod;
      const std::size_t n = std::min(tile.size() / width_ - at, count - done);
      std::memcpy(out.data() + done * width_, tile.data() + at * width_, n * width_);
      done += n;
    }
    return out;
  }

  const Case& c_;
  int me_;
  int ranks_;
  std::size_t width_;
  InputKind kind_;
  Blocks blocks_;
  Blocks sent_;
};

tutti_status exchange(const Case& c, int me, int ranks, const std::byte* input, std::byte* output, std::size_t width,
                      tutti_comm* comm, const tutti_call* call) {
  std::vector<tutti_request*> requests(static_cast<std::size_t>(2 * ranks), nullptr);
  const bool grouped = c.completion == Completion::grouped;
  if (grouped) tutti_group_begin();
  tutti_status first = TUTTI_OK;
  for (int i = 0; i < ranks; ++i) {
    const int peer = (me + i) % ranks;
    const std::size_t at = static_cast<std::size_t>(peer) * c.count * width;
    const auto slot = static_cast<std::size_t>(2 * i);
    // Blocking ones are told apart by the group only.
    tutti_request** const of_send = c.completion == Completion::grouped && i % 2 == 0 ? nullptr : &requests[slot];
    const tutti_status sent =
        tutti_send(c.count > 0 ? input + at : nullptr, c.count, c.type, peer, comm, call, of_send);
    const tutti_status received =
        tutti_receive(c.count > 0 ? output + at : nullptr, c.count, c.type, peer, comm, call, &requests[slot + 1]);
    if (first == TUTTI_OK) first = sent != TUTTI_OK ? sent : received;
  }
  if (grouped) {
    const tutti_status ended = tutti_group_end();
    if (first == TUTTI_OK) first = ended;
  }
  const tutti_status waited = tutti_request_wait_all(requests.size(), requests.data(), -1);
  return first != TUTTI_OK ? first : waited;
}

tutti_status call_it(const Case& c, const Exercise& e, int me, int ranks, const std::byte* in, std::byte* out,
                     tutti_comm* comm, const tutti_call* call) {
  tutti_request* request = nullptr;
  tutti_request** const r = c.completion == Completion::request ? &request : nullptr;
  const auto& counts = e.blocks().counts;
  const std::size_t* const where = c.spaced && !reduces(c.kind) ? e.blocks().displacements.data() : nullptr;
  if (c.kind == Kind::exchange) return exchange(c, me, ranks, in, out, e.width(), comm, call);
  if (c.completion == Completion::grouped) tutti_group_begin();
  tutti_status status = TUTTI_OK;
  switch (c.kind) {
    case Kind::all_reduce:
      status = tutti_all_reduce(in, out, c.count, c.type, c.op, comm, call, r);
      break;
    case Kind::reduce:
      status = tutti_reduce(in, out, c.count, c.type, c.op, c.root, comm, call, r);
      break;
    case Kind::broadcast:
      status = tutti_broadcast(in, out, c.count, c.type, c.root, comm, call, r);
      break;
    case Kind::all_gather:
      status = tutti_all_gather(in, out, c.count, c.type, comm, call, r);
      break;
    case Kind::reduce_scatter:
      status = tutti_reduce_scatter(in, out, c.count, c.type, c.op, comm, call, r);
      break;
    case Kind::all_to_all:
      status = tutti_all_to_all(in, out, c.count, c.type, comm, call, r);
      break;
    case Kind::gather:
      status = tutti_gather(in, out, c.count, c.type, c.root, comm, call, r);
      break;
    case Kind::scatter:
      status = tutti_scatter(in, out, c.count, c.type, c.root, comm, call, r);
      break;
    case Kind::all_gather_v:
      status = tutti_all_gather_v(in, e.own_count(), out, counts.data(), where, c.type, comm, call, r);
      break;
    case Kind::reduce_scatter_v:
      status = tutti_reduce_scatter_v(in, out, counts.data(), c.type, c.op, comm, call, r);
      break;
    case Kind::all_to_all_v:
      status = tutti_all_to_all_v(in, e.sent().counts.data(), c.spaced ? e.sent().displacements.data() : nullptr, out,
                                  counts.data(), where, c.type, comm, call, r);
      break;
    case Kind::gather_v:
      status = tutti_gather_v(in, e.own_count(), out, e.is_root() ? counts.data() : nullptr,
                              e.is_root() ? where : nullptr, c.type, c.root, comm, call, r);
      break;
    case Kind::scatter_v:
      status = tutti_scatter_v(in, e.is_root() ? counts.data() : nullptr, e.is_root() ? where : nullptr, out,
                               e.own_count(), c.type, c.root, comm, call, r);
      break;
    default:
      status = tutti_barrier(comm, call, r);
      break;
  }
  if (c.completion == Completion::grouped) {
    const tutti_status ended = tutti_group_end();
    if (status == TUTTI_OK) status = ended;
  }
  if (r == nullptr || status != TUTTI_OK) return status;
  return tutti_request_wait(r, -1);
}

std::string first_difference(const Bytes& expected, const std::byte* got, std::size_t width) {
  std::size_t at = 0;
  while (at < expected.size() && expected[at] == got[at]) ++at;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) wrong += expected[i] != got[i] ? 1 : 0;
  char text[160];
  std::snprintf(text, sizeof text, "%zu of %zu bytes are wrong, first in element %zu: %02x instead of %02x", wrong,
                expected.size(), at / width, std::to_integer<unsigned>(got[at]),
                std::to_integer<unsigned>(expected[at]));
  return text;
}

bool check_reduced(Rank& rank, const Case& c, const Exercise& e, const std::byte* got) {
  const std::size_t count = e.reduced_count();
  if (count == 0) return true;
  const Expected expected = e.reduced();
  const std::size_t width = e.width();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = (e.reduced_first() + i) % kPeriod;
    const std::byte* const element = got + i * width;
    if (expected.is_exact) {
      if (std::memcmp(element, expected.tile.data() + at * width, width) == 0) continue;
      char text[160];
      std::snprintf(text, sizeof text, "element %zu of %zu is %g (%llx), expected %g", i, count,
                    decode(c.type, get_bits(c.type, element)),
                    static_cast<unsigned long long>(get_bits(c.type, element)),
                    decode(c.type, get_bits(c.type, expected.tile.data() + at * width)));
      return rank.check(false, c.text() + ": " + text);
    }
    const double value = decode(c.type, get_bits(c.type, element));
    if (std::fabs(value - expected.value[at]) <= expected.tolerance[at]) continue;
    char text[160];
    std::snprintf(text, sizeof text, "element %zu of %zu is %.9g, expected %.9g within %.3g", i, count, value,
                  expected.value[at], expected.tolerance[at]);
    return rank.check(false, c.text() + ": " + text);
  }
  return true;
}

std::uint64_t digest(const std::byte* data, std::size_t bytes) {
  std::uint64_t hash = bytes;
  for (; bytes >= 8; data += 8, bytes -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
  }
  for (; bytes > 0; ++data, --bytes) hash = (hash ^ std::to_integer<std::uint64_t>(*data)) * 0x100000001b3ull;
  return hash;
}

// The one buffer of a call in place: where in it the other one lies, in bytes.
struct InPlace {
  bool output_is_outer = true;
  std::size_t offset = 0;
};

InPlace in_place_of(const Case& c, const Exercise& e) {
  switch (c.kind) {
    case Kind::all_gather:
    case Kind::all_gather_v:
    case Kind::gather:
    case Kind::gather_v:
      return {true, e.own_displacement() * e.width()};
    case Kind::reduce_scatter:
    case Kind::reduce_scatter_v:
    case Kind::scatter:
    case Kind::scatter_v:
      return {false, e.own_displacement() * e.width()};
    default:
      return {true, 0};
  }
}

}  // namespace

std::string_view name_of(Kind kind) {
  constexpr std::string_view kNames[] = {"all_reduce",   "reduce",   "broadcast", "all_gather",   "reduce_scatter",
                                         "all_to_all",   "gather",   "scatter",   "all_gather_v", "reduce_scatter_v",
                                         "all_to_all_v", "gather_v", "scatter_v", "barrier",      "exchange"};
  return kNames[static_cast<int>(kind)];
}

bool reduces(Kind kind) {
  return kind == Kind::all_reduce || kind == Kind::reduce || kind == Kind::reduce_scatter ||
         kind == Kind::reduce_scatter_v;
}

std::string Case::text() const {
  constexpr const char* kCompletions[] = {"blocking", "request", "grouped"};
  std::string out(name_of(kind));
  out += " of " + std::to_string(count) + " " + tutti_datatype_name(type);
  if (reduces(kind))
    out += std::string(", ") + tutti_op_name(op) + (family == Family::exact ? ", exact" : ", random");
  out += ", root " + std::to_string(root) + ", " + kCompletions[static_cast<int>(completion)];
  if (in_place) out += ", in place";
  if (shared_memory) out += ", tutti_mem_alloc";
  if (spaced) out += ", spaced";
  if (misaligned > 0) out += ", off by " + std::to_string(misaligned);
  if (!algorithm.empty()) out += ", by " + algorithm;
  return out + ", seed " + std::to_string(seed);
}

Arena::~Arena() {
  std::free(memory_[0].begin);
  tutti_mem_free(memory_[1].begin);
}

std::byte* Arena::place(bool shared, std::size_t bytes, std::size_t misaligned) {
  Memory& memory = memory_[shared ? 1 : 0];
  const std::size_t needed = bytes + 2 * kGuard + misaligned;
  if (memory.bytes < needed) {
    const std::size_t room = needed * 3 / 2;
    void* fresh = nullptr;
    if (shared) {
      tutti_mem_free(memory.begin);
      if (tutti_mem_alloc(&fresh, room) != TUTTI_OK) throw std::bad_alloc();
    } else {
      std::free(memory.begin);
      fresh = std::malloc(room);
      if (fresh == nullptr) throw std::bad_alloc();
    }
    memory = {static_cast<std::byte*>(fresh), room};
  }
  placed_ = memory.begin + kGuard + misaligned;
  placed_bytes_ = bytes;
  std::memset(placed_ - kGuard, static_cast<int>(kGuardByte), kGuard);
  std::memset(placed_ + bytes, static_cast<int>(kGuardByte), kGuard);
  return placed_;
}

bool Arena::guards_are_whole() const {
  for (std::size_t i = 0; placed_ != nullptr && i < kGuard; ++i) {
    if (placed_[i - kGuard] != kGuardByte || placed_[placed_bytes_ + i] != kGuardByte) return false;
  }
  return true;
}

Result run_case(Rank& rank, tutti_comm* comm, int me, int ranks, const Case& c, Buffers& buffers) {
  rank.note(c.text());
  const Exercise e(c, me, ranks);
  const Bytes input = e.input();
  const std::size_t output_bytes = e.output_bytes();
  const InPlace geometry = in_place_of(c, e);
  // Where a rank has only one of the two buffers there is nothing to be in place.
  const bool in_place = c.in_place && c.kind != Kind::all_to_all_v && c.kind != Kind::exchange &&
                        c.kind != Kind::barrier && !input.empty() && output_bytes > 0;
  Bytes before(in_place && !geometry.output_is_outer ? input.size() : output_bytes, kUntouched);
  if (in_place)
    std::memcpy(before.data() + (geometry.output_is_outer ? geometry.offset : 0), input.data(), input.size());
  std::byte* const outer = buffers.output.place(c.shared_memory, before.size(), c.misaligned);
  if (!before.empty()) std::memcpy(outer, before.data(), before.size());
  std::byte* in = nullptr;
  std::byte* out = output_bytes > 0 ? outer : nullptr;
  if (in_place) {
    in = geometry.output_is_outer ? outer + geometry.offset : outer;
    out = geometry.output_is_outer ? outer : outer + geometry.offset;
  } else if (!input.empty()) {
    in = buffers.input.place(c.shared_memory, input.size(), c.misaligned);
    std::memcpy(in, input.data(), input.size());
  }
  if (c.in_place && c.kind == Kind::broadcast && me != c.root) in = out;
  const Bytes scalar = c.op == TUTTI_PREMULTIPLIED_SUM && reduces(c.kind) ? e.scalar() : Bytes();
  tutti_call call = TUTTI_CALL_INIT;
  call.scalar = scalar.empty() ? nullptr : scalar.data();
  call.algorithm = c.algorithm.empty() ? nullptr : c.algorithm.c_str();

  Result result;
  result.status = call_it(c, e, me, ranks, in, out, comm, &call);

  if (!rank.check(buffers.output.guards_are_whole() && buffers.input.guards_are_whole(),
                  c.text() + ": memory beside the buffers was written"))
    return result;
  if (result.status != TUTTI_OK) return result;
  if (!in_place && !input.empty())
    rank.check(std::memcmp(in, input.data(), input.size()) == 0, c.text() + ": the input was changed");
  if (reduces(c.kind)) {
    check_reduced(rank, c, e, out);
  } else if (output_bytes > 0) {
    Bytes expected = before;
    if (in_place && !geometry.output_is_outer) {
      Bytes block(output_bytes);
      e.move_into(block);
      std::memcpy(expected.data() + geometry.offset, block.data(), block.size());
    } else {
      e.move_into(expected);
    }
    if (std::memcmp(outer, expected.data(), expected.size()) != 0)
      rank.fail(c.text() + ": " + first_difference(expected, outer, e.width()));
  }
  result.digest = output_bytes > 0 ? digest(out, output_bytes) : 0;
  return result;
}

}  // namespace tutti_test
