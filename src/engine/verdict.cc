#include "src/engine/verdict.h"

#include <algorithm>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/engine/signature.h"

namespace tutti {

namespace {

constexpr std::size_t kTextBytesMax = 2048;
constexpr std::uint8_t kVersion = 1;

using Writer = ByteWriter<std::string>;

void put_status(Writer& out, const Status& status) {
  out.put(static_cast<std::uint8_t>(status.code()));
  out.put(static_cast<std::uint32_t>(status.culprit()));
  out.put_counted<std::uint32_t>(status.text().substr(0, kTextBytesMax));
}

void put_ranks(Writer& out, const std::vector<Rank>& ranks) {
  out.put(static_cast<std::uint32_t>(ranks.size()));
  for (const Rank rank : ranks) out.put(static_cast<std::uint32_t>(rank));
}

Status get_status(ByteReader& in, Rank members) {
  const auto code = in.get<std::uint8_t>();
  const auto culprit = static_cast<std::int32_t>(in.get<std::uint32_t>());
  std::string words = in.get_counted<std::uint32_t>(kTextBytesMax);
  if (code < static_cast<int>(Code::invalid) || code > static_cast<int>(Code::internal) ||
      culprit < Status::kNobody || culprit >= members)
    in.fail();
  if (in.failed()) return {};
  return {static_cast<Code>(code), std::move(words), culprit};
}

std::vector<Rank> get_ranks(ByteReader& in, Rank members) {  // ascending
  std::vector<Rank> ranks;
  const auto count = in.get<std::uint32_t>();
  if (count > static_cast<std::uint32_t>(members)) in.fail();
  for (std::uint32_t i = 0; !in.failed() && i < count; ++i) {
    const auto rank = static_cast<std::int32_t>(in.get<std::uint32_t>());
    if (rank < 0 || rank >= members || (!ranks.empty() && rank <= ranks.back())) in.fail();
    ranks.push_back(rank);
  }
  return ranks;
}

Status damaged(std::string_view what, std::size_t bytes) {
  return {Code::internal, format("{} bytes that should be a {} are none", bytes, what)};
}

// Whom others do not want to wait for any more. Not all of them can go that way: what those who go have said
// themselves counts no more, the lowest member's word first.
void exclude(std::span<const std::optional<Testimony>> testimonies, std::vector<bool>& lost) {
  for (std::size_t m = 0; m < testimonies.size(); ++m) {
    if (lost[m]) continue;
    for (const Rank rank : testimonies[m]->excluded) {
      if (static_cast<std::size_t>(rank) != m) lost[static_cast<std::size_t>(rank)] = true;
    }
  }
}

// Of members that are heard, those to be left out so that the others can all reach each other.
void separate(std::span<const std::optional<Testimony>> testimonies, std::vector<bool>& lost) {
  const std::size_t members = testimonies.size();
  std::vector<std::vector<bool>> apart(members, std::vector<bool>(members));
  for (std::size_t a = 0; a < members; ++a) {
    if (lost[a]) continue;
    for (const Rank b : testimonies[a]->suspects) {
      if (lost[static_cast<std::size_t>(b)] || static_cast<std::size_t>(b) == a) continue;
      apart[a][static_cast<std::size_t>(b)] = apart[static_cast<std::size_t>(b)][a] = true;
    }
  }
  while (true) {
    std::size_t worst = members;
    std::ptrdiff_t most = 0;
    for (std::size_t a = 0; a < members; ++a) {
      const auto pairs = std::count(apart[a].begin(), apart[a].end(), true);
      if (pairs == 0 || pairs < most) continue;
      worst = a;
      most = pairs;
    }
    if (worst == members) return;
    lost[worst] = true;
    apart[worst].assign(members, false);
    for (auto& row : apart) row[worst] = false;
  }
}

}  // namespace

std::string Testimony::encode() const {
  Writer out;
  out.put(kVersion);
  out.put(complete);
  out.put(std::uint8_t{first_hand});
  put_status(out, failure);
  put_ranks(out, suspects);
  put_ranks(out, excluded);
  return out.take();
}

Result<Testimony> Testimony::decode(std::string_view bytes, Rank members) {
  ByteReader in(bytes);
  Testimony testimony;
  const bool known = in.get<std::uint8_t>() == kVersion;
  testimony.complete = in.get<std::uint32_t>();
  testimony.first_hand = in.get<std::uint8_t>() == 1;
  testimony.failure = get_status(in, members);
  testimony.suspects = get_ranks(in, members);
  testimony.excluded = get_ranks(in, members);
  if (!known || !in.is_at_end()) return damaged("testimony", bytes.size());
  return testimony;
}

bool Verdict::has_lost(Rank member) const { return std::binary_search(lost.begin(), lost.end(), member); }

std::string Verdict::encode() const {
  Writer out;
  out.put(kVersion);
  out.put(complete);
  put_status(out, why);
  put_ranks(out, lost);
  return out.take();
}

Result<Verdict> Verdict::decode(std::string_view bytes, Rank members) {
  ByteReader in(bytes);
  Verdict verdict;
  const bool known = in.get<std::uint8_t>() == kVersion;
  verdict.complete = in.get<std::uint32_t>();
  verdict.why = get_status(in, members);
  verdict.lost = get_ranks(in, members);
  if (!known || !in.is_at_end()) return damaged("verdict", bytes.size());
  return verdict;
}

Verdict judge(std::span<const std::optional<Testimony>> testimonies) {
  const std::size_t members = testimonies.size();
  std::vector<bool> lost(members);
  for (std::size_t m = 0; m < members; ++m) lost[m] = !testimonies[m];
  exclude(testimonies, lost);
  separate(testimonies, lost);
  Verdict verdict;
  bool first = true;
  const Testimony* reason = nullptr;
  int best = -1;
  for (std::size_t m = 0; m < members; ++m) {
    if (lost[m]) {
      verdict.lost.push_back(static_cast<Rank>(m));
      continue;
    }
    const Testimony& testimony = *testimonies[m];
    if (first || is_ahead(verdict.complete, testimony.complete)) verdict.complete = testimony.complete;
    first = false;
    // What names somebody who is lost says most; what was only heard of, least.
    const int culprit = testimony.failure.culprit();
    const bool names_lost = culprit >= 0 && lost[static_cast<std::size_t>(culprit)];
    const int weight = testimony.first_hand ? names_lost ? 2 : 1 : 0;
    if (weight <= best) continue;
    best = weight;
    reason = &testimony;
  }
  verdict.why = reason != nullptr ? reason->failure : Status(Code::internal, "nobody is left who has testified");
  return verdict;
}

}  // namespace tutti
