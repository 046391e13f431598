#include "src/membership/agreement_quorum.h"

#include <string>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::uint32_t kNamed = 8;  // members that a sentence names; the rest is counted

std::string names(const MemberSet& set) {
  std::string text = set.count() == 1 ? "member " : "members ";
  std::uint32_t named = 0;
  for (std::uint32_t member = 0; member < set.members(); ++member) {
    if (!set.contains(member)) continue;
    if (named == kNamed) return text + format(" and {} more", set.count() - kNamed);
    text += format("{}{}", named++ == 0 ? "" : ", ", member);
  }
  return text;
}

}  // namespace

bool is_quorum(const MemberSet& members, const MemberSet& dead, const QuorumRule& rule) {
  const std::uint32_t count = members.count();
  if (count < rule.minimum) return false;
  if (2 * count > members.members() || (2 * count == members.members() && members.contains(rule.casting)))
    return true;
  MemberSet known = members;
  known.add(dead);
  return known.count() == members.members();
}

Status no_quorum(const MemberSet& suspected, const MemberSet& dead, const QuorumRule& rule) {
  const std::uint32_t members = suspected.members();
  const std::uint32_t left = members - suspected.count();
  MemberSet silent(members);
  for (std::uint32_t member = 0; member < members; ++member) {
    if (suspected.contains(member) && !dead.contains(member)) silent.add(member);
  }
  std::uint32_t culprit = 0;
  while (!(silent.count() > 0 ? silent : suspected).contains(culprit)) ++culprit;

  std::string text = format("{} of {} members {} left", left, members, left == 1 ? "is" : "are");
  if (left < rule.minimum) {
    text += format(
        ", and fewer than {} may not decide; lost: {}. Nothing was decided; start more members, or "
        "allow fewer to go on",
        rule.minimum, names(suspected));
  } else {
    const bool is_half = 2 * left == members;
    text += is_half ? format(", half without member {}, which half may go on only with", rule.casting)
                    : format(" and {} are needed", (members + 1 + (suspected.contains(rule.casting) ? 1 : 0)) / 2);
    text += format(", since what {} do{} cannot be known: silent, but not proven to have ended", names(silent),
                   silent.count() == 1 ? "es" : "");
    text += ". Nothing was decided; end this member, or wait for the link to come back";
  }
  return {Code::peer_lost, text, static_cast<int>(culprit)};
}

}  // namespace tutti
