// What members of an elastic communicator tell each other when something has failed: testimonies, verdicts, rolls,
// and the words by which they learn how far all have come. Either it is refused with a sentence, or it is written
// back as it was read; and whatever testimonies there are, a verdict can be drawn from them and sent.
//
// The first byte is the number of members; the second chooses what the rest is.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/engine/reached.h"
#include "src/engine/roll.h"
#include "src/engine/verdict.h"
#include "tests/fuzz/check.h"

using tutti::Rank;
using tutti::Reached;
using tutti::Testimony;
using tutti::Verdict;

namespace {

void check_verdict(const Verdict& verdict, Rank members) {
  const auto again = Verdict::decode(verdict.encode(), members);
  FUZZ_CHECK(again.is_ok() && again->encode() == verdict.encode());
  FUZZ_CHECK(again->why.text() == verdict.why.text() && again->lost == verdict.lost);
}

// The rest is one testimony for each member, with a byte for its length before it.
void judge_some(std::string_view bytes, Rank members) {
  std::vector<std::optional<Testimony>> heard(static_cast<std::size_t>(members));
  bool any = false;
  for (auto& testimony : heard) {
    if (bytes.empty()) break;
    const std::size_t length = std::min<std::size_t>(static_cast<unsigned char>(bytes[0]), bytes.size() - 1);
    auto read = Testimony::decode(bytes.substr(1, length), members);
    bytes.remove_prefix(1 + length);
    if (!read) continue;
    FUZZ_CHECK(Testimony::decode(read->encode(), members)->encode() == read->encode());
    testimony = *std::move(read);
    any = true;
  }
  if (!any) return;
  const Verdict verdict = tutti::judge(heard);
  FUZZ_CHECK(std::is_sorted(verdict.lost.begin(), verdict.lost.end()));
  for (Rank rank = 0; rank < members; ++rank) {
    if (!heard[static_cast<std::size_t>(rank)]) FUZZ_CHECK(verdict.has_lost(rank));
  }
  check_verdict(verdict, members);
}

void hear_words(std::string_view bytes, Rank members) {
  Reached reached(members, static_cast<Rank>(bytes.size() % static_cast<std::size_t>(members)));
  for (; bytes.size() >= 6; bytes.remove_prefix(6)) {
    std::uint32_t number = 0;
    std::memcpy(&number, bytes.data() + 2, 4);
    const std::uint32_t before = reached.everywhere();
    const bool taken = reached.heard(bytes[0], static_cast<unsigned char>(bytes[1]), number);
    FUZZ_CHECK(taken || reached.everywhere() == before);
    while (const auto word = reached.next()) FUZZ_CHECK(word->to >= 0 && word->to < members);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const Rank members = 1 + data[0] % 64;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  switch (data[1] % 4) {
    case 0:
      if (const auto verdict = Verdict::decode(bytes, members)) check_verdict(*verdict, members);
      break;
    case 1:
      judge_some(bytes, members);
      break;
    case 2: {
      const auto roll = tutti::decode_roll(bytes, static_cast<std::size_t>(members));
      if (roll) FUZZ_CHECK(tutti::encode_roll(*roll) == bytes);
      if (!roll) FUZZ_CHECK(!roll.status().text().empty());
      break;
    }
    default:
      hear_words(bytes, members);
  }
  return 0;
}
