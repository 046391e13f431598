#include "src/engine/verdict.h"

#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "src/engine/signature.h"

namespace tutti {

namespace {

constexpr std::size_t kTextBytesMax = 2048;
constexpr std::uint8_t kVersion = 1;

class Writer {
 public:
  explicit Writer(std::size_t expected) { bytes_.reserve(expected); }
  void number(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(value >> shift & 0xff);
  }
  void byte(std::uint8_t value) { bytes_ += static_cast<char>(value); }
  void text(std::string_view value) {
    value = value.substr(0, kTextBytesMax);
    number(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
  }
  void status(const Status& status) {
    byte(static_cast<std::uint8_t>(status.code()));
    number(static_cast<std::uint32_t>(status.culprit()));
    text(status.text());
  }
  void ranks(const std::vector<Rank>& ranks) {
    number(static_cast<std::uint32_t>(ranks.size()));
    for (const Rank rank : ranks) number(static_cast<std::uint32_t>(rank));
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Once something does not fit, everything that follows is empty and is_sound() says so.
class Reader {
 public:
  Reader(std::string_view bytes, Rank members) : bytes_(bytes), members_(members) {}
  bool is_sound() const { return sound_; }
  bool is_at_end() const { return sound_ && bytes_.empty(); }

  std::uint8_t byte() { return static_cast<std::uint8_t>(take(1)); }
  std::uint32_t number() { return take(4); }
  std::string text() {
    const std::uint32_t length = number();
    if (length > kTextBytesMax || length > bytes_.size()) sound_ = false;
    if (!sound_) return {};
    std::string value(bytes_.substr(0, length));
    bytes_.remove_prefix(length);
    return value;
  }
  Status status() {
    const auto code = byte();
    const auto culprit = static_cast<std::int32_t>(number());
    std::string words = text();
    if (code < static_cast<int>(Code::invalid) || code > static_cast<int>(Code::internal) ||
        culprit < Status::kNobody || culprit >= members_)
      sound_ = false;
    if (!sound_) return {};
    return {static_cast<Code>(code), std::move(words), culprit};
  }
  std::vector<Rank> ranks() {  // ascending
    std::vector<Rank> ranks;
    const std::uint32_t count = number();
    if (count > static_cast<std::uint32_t>(members_)) sound_ = false;
    for (std::uint32_t i = 0; sound_ && i < count; ++i) {
      const auto rank = static_cast<std::int32_t>(number());
      if (rank < 0 || rank >= members_ || (!ranks.empty() && rank <= ranks.back())) sound_ = false;
      ranks.push_back(rank);
    }
    return ranks;
  }

 private:
  std::uint32_t take(std::size_t count) {
    if (bytes_.size() < count) sound_ = false;
    if (!sound_) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i)
      value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes_[i])) << 8 * i;
    bytes_.remove_prefix(count);
    return value;
  }

  std::string_view bytes_;
  const Rank members_;
  bool sound_ = true;
};

Status damaged(std::string_view what, std::size_t bytes) {
  return {Code::internal, format("{} bytes that should be a {} are none", bytes, what)};
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
  Writer out(32 + failure.text().size());
  out.byte(kVersion);
  out.number(complete);
  out.byte(first_hand ? 1 : 0);
  out.status(failure);
  out.ranks(suspects);
  return out.take();
}

Result<Testimony> Testimony::decode(std::string_view bytes, Rank members) {
  Reader in(bytes, members);
  Testimony testimony;
  const bool known = in.byte() == kVersion;
  testimony.complete = in.number();
  testimony.first_hand = in.byte() == 1;
  testimony.failure = in.status();
  testimony.suspects = in.ranks();
  if (!known || !in.is_at_end()) return damaged("testimony", bytes.size());
  return testimony;
}

bool Verdict::has_lost(Rank member) const { return std::binary_search(lost.begin(), lost.end(), member); }

std::string Verdict::encode() const {
  Writer out(32 + why.text().size());
  out.byte(kVersion);
  out.number(complete);
  out.status(why);
  out.ranks(lost);
  return out.take();
}

Result<Verdict> Verdict::decode(std::string_view bytes, Rank members) {
  Reader in(bytes, members);
  Verdict verdict;
  const bool known = in.byte() == kVersion;
  verdict.complete = in.number();
  verdict.why = in.status();
  verdict.lost = in.ranks();
  if (!known || !in.is_at_end()) return damaged("verdict", bytes.size());
  return verdict;
}

Verdict judge(std::span<const std::optional<Testimony>> testimonies) {
  const std::size_t members = testimonies.size();
  std::vector<bool> lost(members);
  for (std::size_t m = 0; m < members; ++m) lost[m] = !testimonies[m];
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
