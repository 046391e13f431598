// MemberSet: some of the members of a view, by number. A plain value; all sets that meet in one operation are of
// views of the same size.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tutti {

class MemberSet {
 public:
  explicit MemberSet(std::uint32_t members) : members_(members), words_((members + 63) / 64) {}

  std::uint32_t members() const { return members_; }  // of the view
  bool contains(std::uint32_t member) const { return (words_[member / 64] >> (member % 64) & 1) != 0; }
  void add(std::uint32_t member) { words_[member / 64] |= std::uint64_t{1} << (member % 64); }
  void add(const MemberSet& other) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }

  std::uint32_t count() const {
    int count = 0;
    for (const std::uint64_t word : words_) count += std::popcount(word);
    return static_cast<std::uint32_t>(count);
  }

  bool contains(const MemberSet& other) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if ((other.words_[i] & ~words_[i]) != 0) return false;
    }
    return true;
  }

  // All members of the view that are not in this set.
  MemberSet others() const {
    MemberSet others(members_);
    for (std::uint32_t member = 0; member < members_; ++member) {
      if (!contains(member)) others.add(member);
    }
    return others;
  }

  bool operator==(const MemberSet&) const = default;

 private:
  std::uint32_t members_;
  std::vector<std::uint64_t> words_;
};

}  // namespace tutti
