// Runs a fuzzer's function without libFuzzer: over every file of the corpus folder that is named, and over seeded
// mutations of them, fewer under sanitizers; TUTTI_TEST_LONG=1 tries a hundred times as many. The input at which a
// check stops the process is written to replay_crash.bin.
//
//   fuzz_NAME CORPUS_FOLDER [SEED]        fuzz_NAME FILE    (one input, as it is)
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "src/base/random.h"
#include "tests/sanitized.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr std::size_t kLongest = 4096;

Input read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Input current;  // for the handler that writes it down

void write_down() {
  std::ofstream("replay_crash.bin", std::ios::binary)
      .write(reinterpret_cast<const char*>(current.data()), static_cast<std::streamsize>(current.size()));
  std::fprintf(stderr, "the input of %zu bytes is in replay_crash.bin\n", current.size());
}

void on_abort(int) {
  write_down();
  std::_Exit(1);
}

void run(Input input) {
  current = std::move(input);
  // A copy of exactly its size on the heap, so that a sanitizer sees every byte read too far.
  const Input exact(current);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void mutate(Input& input, const std::vector<Input>& seeds, tutti::Random& random) {
  const std::size_t at = random.below(input.size() + 1);
  const auto where = input.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random.below(6)) {
    case 0:
      if (at < input.size()) input[at] ^= static_cast<std::uint8_t>(1u << random.below(8));
      break;
    case 1:
      if (at < input.size()) input[at] = random.chance(0.5) ? 0xff : 0;
      break;
    case 2:
      input.insert(where, static_cast<std::uint8_t>(random.next()));
      break;
    case 3:
      input.erase(where, where + static_cast<std::ptrdiff_t>(random.below(input.size() - at + 1)));
      break;
    case 4: {
      const Input& other = seeds[random.below(seeds.size())];
      input.insert(where, other.begin(), other.begin() + static_cast<std::ptrdiff_t>(random.below(other.size() + 1)));
      break;
    }
    case 5:
      if (at < input.size()) input[at] = static_cast<std::uint8_t>(random.next());
      break;
  }
  if (input.size() > kLongest) input.resize(kLongest);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER [SEED] | FILE\n", arguments[0]);
    return 2;
  }
  std::signal(SIGABRT, on_abort);
  if (!std::filesystem::is_directory(arguments[1])) {
    run(read_file(arguments[1]));
    return 0;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(arguments[1])) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());  // the order of a folder is not the same everywhere
  std::vector<Input> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(arguments[1]))
    seeds.push_back(read_file(entry.path()));
  if (seeds.empty()) {
    std::fprintf(stderr, "%s holds no seeds\n", arguments[1]);
    return 2;
  }
  for (const Input& seed : seeds) run(seed);
  const char* const wants_long = std::getenv("TUTTI_TEST_LONG");
  const int runs = wants_long && std::string(wants_long) == "1" ? 2'000'000 : tutti::kIsSanitized ? 6'000 : 20'000;
  tutti::Random random(count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 1);
  for (int i = 0; i < runs; ++i) {
    Input input = seeds[random.below(seeds.size())];
    for (std::uint64_t changes = 1 + random.below(8); changes > 0; --changes) mutate(input, seeds, random);
    run(std::move(input));
  }
  std::printf("%zu seeds and %d mutations held\n", seeds.size(), runs);
  return 0;
}
