/* A peer of one rank that does nothing and calls it done: what perf/peers must find out. PEER_STUCK=1: its second
   operation never returns. */
#include <stdlib.h>
#include <unistd.h>

#include "perf/peers/bench.h"

static int calls;

int peer_open(int* argc, char*** argv, const char* address, int* rank, int* size) {
  (void)argc;
  (void)argv;
  (void)address;
  *rank = 0;
  *size = 1;
  return 0;
}

int peer_run(const peer_operation* operation) {
  (void)operation;
  if (++calls == 2 && getenv("PEER_STUCK")) pause();
  return 0;
}

int peer_barrier(void) { return 0; }

int peer_combine(double value, double* largest, double* sum) {
  *largest = *sum = value;
  return 0;
}

int peer_close(void) { return 0; }

void* peer_allocate(size_t bytes) { return malloc(bytes); }

void peer_free(void* memory) { free(memory); }

int peer_has(peer_collective collective) { return collective != PEER_ALL_GATHER; }
