// The ring of one direction, seen by who writes to it and by who owns it. Pure arithmetic on units; the memory is
// elsewhere.
//
// The ring has kRingUnits units. A frame of n <= kFrameUnitsMax units is written at the next place; where that would
// go past the end, the units up to the end are skipped, which both sides know from n alone. What the owner has
// consumed (skipped units included) it reports as a running count, modulo 2^30. The owner reports as soon as
// kReportUnits are unreported, so a writer that waits for room gets it without asking: even then so much of the ring
// is free that any frame and a skip fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "transports/verbs/frame.h"

namespace tutti::verbs {

constexpr std::uint32_t kRingUnits = 64;
constexpr std::uint32_t kFrameUnitsMax = kRingUnits / 4;
constexpr std::uint32_t kReportUnits = kRingUnits / 4;
static_assert(kRingUnits - (kReportUnits - 1) >= 2 * kFrameUnitsMax - 1);

constexpr std::uint32_t units_for(std::size_t bytes, std::size_t unit_bytes) {
  return static_cast<std::uint32_t>((bytes + unit_bytes - 1) / unit_bytes);
}

// Units that a frame at `position` skips.
constexpr std::uint32_t skip_before(std::uint64_t position, std::uint32_t units) {
  const auto at = static_cast<std::uint32_t>(position % kRingUnits);
  return at + units <= kRingUnits ? 0 : kRingUnits - at;
}

class RingWriter {
 public:
  // The unit at which a frame of so many units is to be written; nothing while there is no room.
  std::optional<std::uint32_t> place(std::uint32_t units) {
    const std::uint32_t skip = skip_before(written_, units);
    if (written_ - consumed_ + skip + units > kRingUnits) return std::nullopt;
    const auto at = static_cast<std::uint32_t>((written_ + skip) % kRingUnits);
    written_ += skip + units;
    return at;
  }
  // The owner's count. False: no correct owner says so.
  bool take_report(std::uint32_t count) {
    const std::uint32_t fresh = (count - static_cast<std::uint32_t>(consumed_)) & kImmediateMask;
    if (fresh > written_ - consumed_) return false;
    consumed_ += fresh;
    return true;
  }
  bool is_empty() const { return written_ == consumed_; }

 private:
  std::uint64_t written_ = 0;
  std::uint64_t consumed_ = 0;
};

class RingOwner {
 public:
  // A frame of so many units has come: the unit at which it lies. Nothing where no correct writer has written that.
  std::optional<std::uint32_t> locate(std::uint32_t units) {
    if (units == 0 || units > kFrameUnitsMax) return std::nullopt;
    const std::uint32_t skip = skip_before(read_, units);
    if (read_ - consumed_ + skip + units > kRingUnits) return std::nullopt;
    const auto at = static_cast<std::uint32_t>((read_ + skip) % kRingUnits);
    read_ += skip + units;
    return at;
  }
  // Everything located so far may be overwritten.
  void consume() { consumed_ = read_; }
  bool holds() const { return read_ != consumed_; }
  bool owes_report() const { return consumed_ - reported_ >= kReportUnits; }
  std::uint32_t report() {
    reported_ = consumed_;
    return static_cast<std::uint32_t>(reported_) & kImmediateMask;
  }

 private:
  std::uint64_t read_ = 0;
  std::uint64_t consumed_ = 0;
  std::uint64_t reported_ = 0;
};

}  // namespace tutti::verbs
