// The journal of a store in a directory, as somebody may have left or damaged it: it is refused with a sentence, or
// read to its last whole record, after which the store works.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "src/membership/file_store.h"
#include "tests/fuzz/check.h"

namespace {

// One directory for all runs, in memory where there is such a place.
const std::string& directory() {
  static const std::string made = [] {
    std::string name = access("/dev/shm", W_OK) == 0 ? "/dev/shm/tutti-fuzz-XXXXXX" : "/tmp/tutti-fuzz-XXXXXX";
    FUZZ_CHECK(mkdtemp(name.data()) != nullptr);
    return name;
  }();
  static const struct Remover {
    ~Remover() {
      for (const char* const file : {"/journal", "/users", ""}) static_cast<void>(remove((made + file).c_str()));
    }
  } remover;
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string journal = directory() + "/journal";
  const int file = open(journal.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  FUZZ_CHECK(file >= 0 && write(file, data, size) == static_cast<ssize_t>(size) && close(file) == 0);
  const tutti::Instant deadline = tutti::monotonic_now() + std::chrono::seconds(5);
  const auto store = tutti::FileStore::open(directory(), tutti::FileStore::Lifetime::kept, deadline);
  FUZZ_CHECK(store.is_ok());
  const tutti::Store::Gathered before = (*store)->gather("", 0, deadline);
  if (!before.status) {
    FUZZ_CHECK(!before.status.text().empty());
    return 0;
  }
  FUZZ_CHECK((*store)->set("key", "value", deadline).is_ok());
  const auto again = tutti::FileStore::open(directory(), tutti::FileStore::Lifetime::kept, deadline);
  FUZZ_CHECK(again.is_ok() && *(*again)->get("key", deadline) == "value");
  return 0;
}
