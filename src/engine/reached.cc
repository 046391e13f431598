#include "src/engine/reached.h"

#include "src/engine/signature.h"

namespace tutti {

namespace {

std::uint32_t lesser(std::uint32_t a, std::uint32_t b) { return is_ahead(a, b) ? b : a; }

std::size_t levels_for(Rank members) {
  std::size_t levels = 0;
  while (Rank{1} << levels < members) ++levels;
  return levels;
}

}  // namespace

Reached::Reached(Rank members, Rank self)
    : members_(members),
      self_(self),
      least_(levels_for(members) + 1),
      heard_(levels_for(members)),
      told_(levels_for(members)) {}

void Reached::here(std::uint32_t number) {
  if (!is_ahead(number, least_[0])) return;
  least_[0] = number;
  update(0);
}

Rank Reached::before(std::size_t level) const {
  return (self_ + members_ - (Rank{1} << level) % members_) % members_;
}

bool Reached::waits_for(Rank from, std::uint32_t number) const {
  for (std::size_t k = 0; k < heard_.size(); ++k) {
    if (before(k) == from && is_ahead(number, heard_[k])) return true;
  }
  return false;
}

bool Reached::heard(Rank from, std::uint32_t level, std::uint32_t number) {
  if (level >= heard_.size() || from != before(level)) return false;
  if (is_ahead(number, heard_[level])) {
    heard_[level] = number;
    update(level);
  }
  return true;
}

void Reached::update(std::size_t level) {
  for (std::size_t k = level; k < heard_.size(); ++k) least_[k + 1] = lesser(least_[k], heard_[k]);
}

std::optional<Reached::Word> Reached::next() {
  for (std::size_t k = 0; k < told_.size(); ++k) {
    if (told_[k] == least_[k]) continue;
    told_[k] = least_[k];
    return Word{static_cast<Rank>((self_ + (Rank{1} << k)) % members_), static_cast<std::uint32_t>(k), least_[k]};
  }
  return std::nullopt;
}

}  // namespace tutti
