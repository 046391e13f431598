// Fuzzes the schedule parser: whatever the text, it must end with a schedule or an error. A schedule that parses must
// survive printing and parsing again, and the verifier must take it, if it is small, without harm.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "src/schedule/print.h"
#include "src/schedule/verifier.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto schedule = tutti::parse({reinterpret_cast<const char*>(data), size});
  if (!schedule) return 0;
  const auto again = tutti::parse(tutti::print(*schedule));
  if (!again || !(*again == *schedule)) std::abort();
  constexpr std::size_t kSmall = 8;
  if (schedule->programs.size() <= kSmall) {
    const tutti::Status status = tutti::verify(*schedule);
    if (!status && status.text().empty()) std::abort();
  }
  return 0;
}
