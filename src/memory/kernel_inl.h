// The loop that every vectorised kernel of this folder runs in; compiled once per instruction set.
//
// A kernel K is a stateless type that says what happens to one vector. D is a Highway tag of K::Lane:
//   K::open(d, v)            the accumulator of the first source's vector
//   K::fold(d, acc, v)       adds the next source to it, in place
//   K::close(d, acc, job)    the finished vector
//   K::kUnroll               how many vectors to work on at once, so that loads overlap
//   K::kFloatingPoint        whether it does float arithmetic, and needs the default environment
// Lanes never mix, so the result does not depend on where a vector starts. That is what lets the loop cover the ends
// with vectors that overlap the middle: the first and the last vector are computed before anything is stored (the
// target may be a source) and stored last.
//
//     begin                                              end
//     [  head  ]                                  [  tail  ]
//          [ aligned ][ aligned ]  ...  [ aligned ]
#if defined(TUTTI_SRC_MEMORY_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_SRC_MEMORY_KERNEL_INL_H_
#undef TUTTI_SRC_MEMORY_KERNEL_INL_H_
#else
#define TUTTI_SRC_MEMORY_KERNEL_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/memory/floating_environment.h"
#include "src/memory/reduce.h"

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// One call, in bytes: the same for all types. Exactly one of divisor and scalar can be set.
struct Job {
  std::byte* target;
  const std::byte* const* sources;
  std::size_t source_count;
  std::uint32_t divisor;
  const std::byte* scalar;
};

// Below this a streaming store saves nothing: the lines are in the cache anyway.
constexpr std::size_t kStreamingMinimumBytes = 4096;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const std::byte* from) {
  const hn::Repartition<std::uint8_t, D> bytes;
  return hn::BitCast(d, hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(from)));
}

template <class D>
HWY_INLINE void store(D, hn::Vec<D> v, std::byte* to) {
  const hn::Repartition<std::uint8_t, D> bytes;
  hn::StoreU(hn::BitCast(bytes, v), bytes, reinterpret_cast<std::uint8_t*>(to));
}

// REQUIRES: for streaming, an aligned address.
template <bool kStreaming, class D>
HWY_INLINE void store_maybe_streaming(D, hn::Vec<D> v, std::byte* to) {
  const hn::Repartition<std::uint32_t, D> words;
  if constexpr (kStreaming) {
    hn::Stream(hn::BitCast(words, v), words, reinterpret_cast<std::uint32_t*>(to));
  } else {
    store(words, hn::BitCast(words, v), to);
  }
}

template <class D>
constexpr std::size_t vector_bytes(D) {
  return hn::MaxLanes(D()) * sizeof(hn::TFromD<D>);
}

template <class K, class D>
HWY_INLINE hn::Vec<D> one_vector(D d, const Job& job, std::size_t offset) {
  auto accumulator = K::open(d, load(d, job.sources[0] + offset));
  for (std::size_t s = 1; s < job.source_count; ++s) K::fold(d, accumulator, load(d, job.sources[s] + offset));
  return K::close(d, accumulator, job);
}

// Whole vectors from `offset` on; returns where it stopped. kSources 2 is the common case, 0 any number.
template <class K, std::size_t kSources, bool kStreaming, class D>
HWY_INLINE std::size_t middle(D d, const Job& job, std::size_t offset, std::size_t end) {
  using Accumulator = decltype(K::open(d, hn::Zero(d)));
  constexpr std::size_t kVector = vector_bytes(D());
  constexpr std::size_t kUnroll = K::kUnroll;
  std::byte* const target = job.target;
  const std::byte* const* const sources = job.sources;
  const std::size_t source_count = kSources == 0 ? job.source_count : kSources;
  for (; offset + kUnroll * kVector <= end; offset += kUnroll * kVector) {
    Accumulator accumulators[kUnroll];
    for (std::size_t u = 0; u < kUnroll; ++u) {
      accumulators[u] = K::open(d, load(d, sources[0] + offset + u * kVector));
    }
    for (std::size_t s = 1; s < source_count; ++s) {
      const std::byte* const source = sources[s] + offset;
      for (std::size_t u = 0; u < kUnroll; ++u) K::fold(d, accumulators[u], load(d, source + u * kVector));
    }
    for (std::size_t u = 0; u < kUnroll; ++u) {
      store_maybe_streaming<kStreaming>(d, K::close(d, accumulators[u], job), target + offset + u * kVector);
    }
  }
  for (; offset + kVector <= end; offset += kVector) {
    store_maybe_streaming<kStreaming>(d, one_vector<K>(d, job, offset), target + offset);
  }
  return offset;
}

// REQUIRES: end - begin is at least a vector.
template <class K, class D>
HWY_INLINE void vectors(D d, const Job& job, std::size_t begin, std::size_t end, bool streaming) {
  constexpr std::size_t kVector = vector_bytes(D());
  const auto head = one_vector<K>(d, job, begin);
  if (end - begin == kVector) return store(d, head, job.target + begin);
  const auto tail = one_vector<K>(d, job, end - kVector);
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(job.target + begin) % kVector;
  const bool can_align = beyond % sizeof(hn::TFromD<D>) == 0;
  const std::size_t start = beyond != 0 && can_align ? begin + kVector - beyond : begin;
  std::size_t stop;
  if (streaming && can_align) {
    stop = middle<K, 0, true>(d, job, start, end);
    hwy::FlushStream();
  } else if (job.source_count == 2) {
    stop = middle<K, 2, false>(d, job, start, end);
  } else {
    stop = middle<K, 0, false>(d, job, start, end);
  }
  if (start != begin) store(d, head, job.target + begin);
  if (stop != end) store(d, tail, job.target + end - kVector);
}

// One to eight bytes as the low bytes of a word, and back. Through a register, because a vector load from bytes that
// were just stored piecemeal would wait for the stores.
HWY_INLINE std::uint64_t load_word(const std::byte* from, std::size_t bytes) {
  if (bytes >= 4) {
    std::uint64_t word = 0;
    if (bytes == 8) return std::memcpy(&word, from, 8), word;
    std::uint32_t first, last;  // they may overlap
    std::memcpy(&first, from, 4);
    std::memcpy(&last, from + bytes - 4, 4);
    return first | std::uint64_t{last} << (8 * (bytes - 4));
  }
  const auto first = std::to_integer<std::uint64_t>(from[0]);
  const auto middle = std::to_integer<std::uint64_t>(from[bytes / 2]);
  const auto last = std::to_integer<std::uint64_t>(from[bytes - 1]);
  return first | middle << (8 * (bytes / 2)) | last << (8 * (bytes - 1));
}

HWY_INLINE void store_word(std::byte* to, std::uint64_t word, std::size_t bytes) {
  if (bytes == 8) {
    std::memcpy(to, &word, 8);
  } else if (bytes >= 4) {
    const auto first = static_cast<std::uint32_t>(word);
    const auto last = static_cast<std::uint32_t>(word >> (8 * (bytes - 4)));
    std::memcpy(to, &first, 4);
    std::memcpy(to + bytes - 4, &last, 4);
  } else {
    for (std::size_t i = 0; i < bytes; ++i) to[i] = static_cast<std::byte>(word >> (8 * i));
  }
}

// Fewer than 16 bytes, in vectors of eight bytes.
template <class K>
HWY_INLINE void few(const Job& job, std::size_t begin, std::size_t end) {
  const hn::CappedTag<typename K::Lane, 8 / sizeof(typename K::Lane)> d;
  const hn::CappedTag<std::uint64_t, 1> word;
  for (; begin < end; begin += 8) {
    const std::size_t bytes = std::min<std::size_t>(8, end - begin);
    auto accumulator = K::open(d, hn::BitCast(d, hn::Set(word, load_word(job.sources[0] + begin, bytes))));
    for (std::size_t s = 1; s < job.source_count; ++s) {
      K::fold(d, accumulator, hn::BitCast(d, hn::Set(word, load_word(job.sources[s] + begin, bytes))));
    }
    store_word(job.target + begin, hn::GetLane(hn::BitCast(word, K::close(d, accumulator, job))), bytes);
  }
}

// The bytes [begin, end) of the job.
template <class K>
HWY_NOINLINE void run(const Job& job, std::size_t begin, std::size_t end, bool streaming) {
  const hn::ScalableTag<typename K::Lane> widest;
  const hn::CappedTag<typename K::Lane, 16 / sizeof(typename K::Lane)> narrow;
  if (end - begin >= vector_bytes(widest)) {
    vectors<K>(widest, job, begin, end, streaming);
  } else if (end - begin >= 16) {
    vectors<K>(narrow, job, begin, end, false);
  } else {
    few<K>(job, begin, end);
  }
}

// Streaming stores do not pay when the target's lines have just been read as a source.
HWY_INLINE bool streaming_pays(const std::byte* target, std::span<const std::byte* const> sources,
                               std::size_t bytes) {
  return bytes >= kStreamingMinimumBytes && std::find(sources.begin(), sources.end(), target) == sources.end();
}

HWY_INLINE bool copied_single_source(const Reduction& reduction, std::byte* target,
                                     std::span<const std::byte* const> sources, std::size_t bytes) {
  if (sources.size() != 1 || reduction.divisor != 0) return false;
  copy(target, sources[0], bytes, reduction.streaming);
  return true;
}

// A ReduceFunction for kernels that handle the divisor in `close`, or have none.
template <class K>
void reduce_with(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
                 std::size_t count) {
  const std::size_t bytes = count * sizeof(typename K::Lane);
  if (copied_single_source(reduction, target, sources, bytes)) return;
  const Job job{target, sources.data(), sources.size(), reduction.divisor, nullptr};
  const bool streaming = reduction.streaming && streaming_pays(target, sources, bytes);
  if constexpr (K::kFloatingPoint) {
    const DefaultFloatingEnvironment environment;
    run<K>(job, 0, bytes, streaming);
  } else {
    run<K>(job, 0, bytes, streaming);
  }
}

// A ScaleFunction from a kernel whose `close` multiplies by job.scalar.
template <class K>
void scale_with(std::byte* target, const std::byte* source, std::size_t count, const std::byte* scalar) {
  const DefaultFloatingEnvironment environment;
  const Job job{target, &source, 1, 0, scalar};
  run<K>(job, 0, count * sizeof(typename K::Lane), false);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tutti
HWY_AFTER_NAMESPACE();

#endif  // include guard per instruction set
