/*
 * The measuring loop of perf/peers/run: opens the library, runs one small operation, then each collective at each
 * size, and writes one line of JSON for each on rank 0. The same source for every peer.
 *
 *     usage: PEER_bench --output FILE --sizes 8,1024 --collectives all_reduce,broadcast [--seconds 0.05]
 *            [--limit 60] [--address ADDRESS]
 *
 * A measurement: one operation whose result is compared, element by element; operations in doubling numbers until
 * they take an eighth of --seconds; then, after a barrier, as many as --seconds hold, in one batch. The time is that
 * of the slowest rank, divided by the number of operations; the processor time is that of all ranks and their
 * threads. The process ends itself after --limit seconds, and with the process that started it, whatever happens.
 */
#define _GNU_SOURCE
#include "perf/peers/bench.h"

#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char* const kNames[PEER_COLLECTIVES] = {"all_reduce", "reduce_scatter", "all_gather", "all_to_all",
                                                     "broadcast"};
enum { kSizesMax = 64, kRepetitionsMax = 10000000 };

typedef struct options {
  const char* output;
  const char* address;
  uint64_t sizes[kSizesMax];
  int size_count;
  int wanted[PEER_COLLECTIVES];
  double seconds;
  unsigned limit_s;
} options;

typedef struct job {
  options asked;
  int rank;
  int size;
  double entered_s; /* when main() began */
  FILE* file;       /* rank 0 */
} job;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double cpu_s(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* KiB of the line of /proc/self/smaps_rollup that begins with `key`; -1 if it has none. */
static double memory_kib(const char* key) {
  FILE* file = fopen("/proc/self/smaps_rollup", "r");
  char line[256];
  double kib = -1;
  if (!file) return -1;
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, key, strlen(key)) == 0) kib = strtod(line + strlen(key), NULL);
  }
  fclose(file);
  return kib;
}

/* Small whole numbers: their sums are exact in any order. */
static float value_of(int rank, size_t index) { return (float)(rank + 1) + (float)(index % 13); }

static float sum_of(int size, size_t index) {
  return (float)size * (float)(size + 1) / 2 + (float)size * (float)(index % 13);
}

static size_t input_count(const peer_operation* operation, int size) {
  return operation->collective == PEER_REDUCE_SCATTER || operation->collective == PEER_ALL_TO_ALL
             ? operation->count * (size_t)size
             : operation->count;
}

static size_t output_count(const peer_operation* operation, int size) {
  return operation->collective == PEER_ALL_GATHER || operation->collective == PEER_ALL_TO_ALL
             ? operation->count * (size_t)size
             : operation->count;
}

static float expected(const peer_operation* operation, const job* self, size_t index) {
  const size_t count = operation->count;
  switch (operation->collective) {
    case PEER_ALL_REDUCE:
      return sum_of(self->size, index);
    case PEER_REDUCE_SCATTER:
      return sum_of(self->size, (size_t)self->rank * count + index);
    case PEER_ALL_GATHER:
      return value_of((int)(index / count), index % count);
    case PEER_ALL_TO_ALL:
      return value_of((int)(index / count), (size_t)self->rank * count + index % count);
    default:
      return value_of(operation->root, index);
  }
}

static int run_many(const job* self, peer_operation* operation, int count) {
  for (int i = 0; i < count; ++i) {
    if (operation->collective == PEER_BROADCAST) operation->root = i % self->size;
    if (peer_run(operation) != 0) return 1;
  }
  return 0;
}

/* One batch from a barrier on: its time on the slowest rank, and the processor time of all. */
static int run_batch(const job* self, peer_operation* operation, int count, double* took, double* cpu) {
  double unused;
  if (peer_barrier() != 0) return 1;
  const double cpu_before = cpu_s(), begin = now_s();
  if (run_many(self, operation, count) != 0) return 1;
  const double end = now_s(), cpu_after = cpu_s();
  return peer_combine(end - begin, took, &unused) || peer_combine(cpu_after - cpu_before, &unused, cpu);
}

static int count_wrong(const job* self, peer_operation* operation, double* wrong) {
  double own = 0, unused;
  operation->root = 0;
  if (peer_run(operation) != 0) return 1;
  for (size_t i = 0; i < output_count(operation, self->size); ++i)
    own += operation->output[i] != expected(operation, self, i);
  return peer_combine(own, &unused, wrong);
}

static int time_it(const job* self, peer_operation* operation, uint64_t asked_bytes) {
  double wrong, took = 0, cpu = 0;
  int count = 1;
  if (count_wrong(self, operation, &wrong) != 0) return 1;
  for (;; count *= 2) {
    if (run_batch(self, operation, count, &took, &cpu) != 0) return 1;
    if (took >= self->asked.seconds / 8 || count >= kRepetitionsMax) break;
  }
  const double fitting = self->asked.seconds / took * (double)count;
  count = fitting < 1 ? 1 : fitting > kRepetitionsMax ? kRepetitionsMax : (int)fitting;
  if (run_batch(self, operation, count, &took, &cpu) != 0) return 1;
  if (self->rank == 0)
    fprintf(self->file,
            "{\"collective\": \"%s\", \"bytes\": %" PRIu64
            ", \"operations\": %d, \"seconds\": %.9g, \"cpu_seconds\": %.6g, \"wrong\": %.0f}\n",
            kNames[operation->collective], asked_bytes, count, took, cpu, wrong);
  return 0;
}

static int measure(const job* self, peer_collective collective, uint64_t bytes) {
  const int has_blocks = collective != PEER_ALL_REDUCE && collective != PEER_BROADCAST;
  const uint64_t unit = sizeof(float) * (has_blocks ? (uint64_t)self->size : 1);
  peer_operation operation = {collective, NULL, NULL, (size_t)(bytes < unit ? 1 : bytes / unit), 0};
  const size_t inputs = input_count(&operation, self->size), outputs = output_count(&operation, self->size);
  float* input = peer_allocate(inputs * sizeof(float));
  float* output = collective == PEER_BROADCAST ? input : peer_allocate(outputs * sizeof(float));
  if (!input || !output) {
    fprintf(stderr, "rank %d: no memory for %s of %" PRIu64 " bytes\n", self->rank, kNames[collective], bytes);
    return 1;
  }
  for (size_t i = 0; i < inputs; ++i) input[i] = value_of(self->rank, i);
  if (output != input) memset(output, 0, outputs * sizeof(float));
  operation.input = input;
  operation.output = output;
  const int result = time_it(self, &operation, bytes);
  if (output != input) peer_free(output);
  peer_free(input);
  return result;
}

/* The first operation of all, and the line about the start. */
static int start(job* self) {
  float input = 1, output = 0;
  const peer_operation first = {PEER_ALL_REDUCE, &input, &output, 1, 0};
  double ready, minus_entered, rss, pss, unused;
  if (peer_run(&first) != 0) return 1;
  const double own = now_s();
  if (peer_combine(own, &ready, &unused) || peer_combine(-self->entered_s, &minus_entered, &unused) ||
      peer_combine(memory_kib("Rss:"), &rss, &unused) || peer_combine(memory_kib("Pss:"), &pss, &unused))
    return 1;
  if (self->rank == 0)
    fprintf(self->file,
            "{\"entered_s\": %.6f, \"ready_s\": %.6f, \"rss_kib\": %.0f, \"pss_kib\": %.0f, \"wrong\": %d}\n",
            -minus_entered, ready, rss, pss, output != (float)self->size);
  return 0;
}

static int usage(const char* why) {
  fprintf(stderr,
          "bench: %s\nusage: bench --output FILE --sizes 8,1024 --collectives all_reduce [--seconds 0.05]"
          " [--limit 60] [--address ADDRESS]\n",
          why);
  return 2;
}

static int read_sizes(char* text, options* asked) {
  for (char* part = strtok(text, ","); part; part = strtok(NULL, ",")) {
    char* end;
    const uint64_t bytes = strtoull(part, &end, 10);
    if (*end != '\0' || bytes == 0 || asked->size_count == kSizesMax) return 1;
    asked->sizes[asked->size_count++] = bytes;
  }
  return asked->size_count == 0;
}

static int read_collectives(char* text, options* asked) {
  for (char* part = strtok(text, ","); part; part = strtok(NULL, ",")) {
    int known = 0;
    for (int i = 0; i < PEER_COLLECTIVES; ++i) {
      if (strcmp(part, kNames[i]) == 0) known = asked->wanted[i] = 1;
    }
    if (!known) return 1;
  }
  return 0;
}

static int read_options(int argc, char** argv, options* asked) {
  asked->address = "";
  asked->seconds = 0.05;
  asked->limit_s = 60;
  for (int i = 1; i + 1 < argc; i += 2) {
    const char* key = argv[i];
    char* value = argv[i + 1];
    if (strcmp(key, "--output") == 0) {
      asked->output = value;
    } else if (strcmp(key, "--address") == 0) {
      asked->address = value;
    } else if (strcmp(key, "--seconds") == 0) {
      asked->seconds = strtod(value, NULL);
    } else if (strcmp(key, "--limit") == 0) {
      asked->limit_s = (unsigned)strtoul(value, NULL, 10);
    } else if (strcmp(key, "--sizes") == 0) {
      if (read_sizes(value, asked) != 0) return usage("--sizes are bytes with commas");
    } else if (strcmp(key, "--collectives") == 0) {
      if (read_collectives(value, asked) != 0) return usage("--collectives has a name that is none");
    } else {
      return usage("an option is not known");
    }
  }
  return asked->output && asked->size_count > 0 && asked->seconds > 0 && asked->limit_s > 0
             ? 0
             : usage("--output, --sizes, a positive --seconds and --limit are needed");
}

static int run_all(job* self) {
  if (start(self) != 0) return 1;
  for (int collective = 0; collective < PEER_COLLECTIVES; ++collective) {
    if (!self->asked.wanted[collective]) continue;
    for (int i = 0; i < self->asked.size_count; ++i) {
      if (!peer_has((peer_collective)collective)) {
        if (self->rank == 0)
          fprintf(self->file,
                  "{\"collective\": \"%s\", \"bytes\": %" PRIu64 ", \"missing\": \"not in the library\"}\n",
                  kNames[collective], self->asked.sizes[i]);
      } else if (measure(self, (peer_collective)collective, self->asked.sizes[i]) != 0) {
        return 1;
      }
      if (self->rank == 0) fflush(self->file);
    }
  }
  return peer_barrier() || peer_close();
}

int main(int argc, char** argv) {
  job self;
  memset(&self, 0, sizeof self);
  const int wrong = read_options(argc, argv, &self.asked);
  if (wrong) return wrong;
  self.entered_s = now_s();
  alarm(self.asked.limit_s);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (peer_open(&argc, &argv, self.asked.address, &self.rank, &self.size) != 0) return 1;
  if (self.rank == 0) {
    self.file = fopen(self.asked.output, "w");
    if (!self.file) {
      perror(self.asked.output);
      return 1;
    }
  }
  const int result = run_all(&self);
  if (self.file) fclose(self.file);
  return result;
}
