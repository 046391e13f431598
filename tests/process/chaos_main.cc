// One member of the chaos test as a program, for the hosts of the lab (tests/lab/test_chaos.py): chaos_member found
// RANK FOUNDERS, or chaos_member join; store and settings come from the environment. SIGUSR1: come to the end with
// all others. SIGTERM: leave. What it has to say goes to standard output, a line each:
//
//     view EPOCH RANK SIZE STEP HASH     step STEP (now and then)     failure TEXT
//     end STEP HASH DESCRIPTORS_BEFORE DESCRIPTORS_AFTER
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/process/chaos_member.h"
#include "tests/process/job.h"

namespace {

tutti_test::Orders orders;  // signal handlers write here; lock-free
static_assert(std::atomic<int>::is_always_lock_free);
constexpr auto kStepPause = std::chrono::milliseconds(1);  // a dozen members share few processors, for long

std::string seen(const tutti_test::View& view) {
  char line[200];
  std::snprintf(line, sizeof line, "view %" PRIu64 " %d %d %" PRId64 " %016" PRIx64, view.epoch, view.rank, view.size,
                view.step, view.hash);
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const bool founds = words.size() == 3 && words[0] == "found";
  if (!founds && words != std::vector<std::string>{"join"}) {
    std::fputs("usage: chaos_member found RANK FOUNDERS | join\n", stderr);
    return 2;
  }
  const char* const store = std::getenv("TUTTI_STORE");
  if (store == nullptr) {
    std::fputs("chaos_member: TUTTI_STORE is not set\n", stderr);
    return 2;
  }
  std::signal(SIGUSR1, [](int) { orders.stop = 1; });
  std::signal(SIGTERM, [](int) { orders.leave = 1; });
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  tutti_test::Place place{};
  place.store = store;
  place.timeout_ns = 30'000'000'000;
  if (founds) {
    place.rank = std::atoi(words[1].c_str());
    place.founders = std::atoi(words[2].c_str());
  }
  const int before = tutti_test::open_descriptors();
  auto said = std::chrono::steady_clock::now();
  tutti_test::ChaosMember member(
      place, orders,
      {.on_view = [](const tutti_test::View& view) { std::puts(seen(view).c_str()); },
       .on_step =
           [&said](std::int64_t step) {
             std::this_thread::sleep_for(kStepPause);
             if (std::chrono::steady_clock::now() - said < std::chrono::milliseconds(100)) return;
             said = std::chrono::steady_clock::now();
             std::printf("step %" PRId64 "\n", step);
           },
       .on_failure = [](const std::string& text) { std::printf("failure %s\n", text.c_str()); }});
  const int ending = member.run();
  std::printf("end %" PRId64 " %016" PRIx64 " %d %d\n", member.step(), member.hash(), before,
              tutti_test::open_descriptors());
  return ending;
}
