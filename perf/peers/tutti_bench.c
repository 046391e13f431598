/*
 * Tutti's side of the comparison. Rank, size and store come from the environment; TUTTI_TRANSPORTS says which way.
 * TUTTI_PEER_MEMORY=malloc: ordinary memory instead of tutti_mem_alloc.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/peers/bench.h"
#include "tutti/tutti.h"

static tutti_comm* comm;
static int own_memory = 1;

static int check(tutti_status status) {
  if (status == TUTTI_OK) return 0;
  fprintf(stderr, "tutti: %s\n", tutti_last_error());
  return 1;
}

int peer_open(int* argc, char*** argv, const char* address, int* rank, int* size) {
  const char* memory = getenv("TUTTI_PEER_MEMORY");
  (void)argc;
  (void)argv;
  (void)address;
  own_memory = !memory || strcmp(memory, "malloc") != 0;
  return check(tutti_comm_create_from_environment(&comm, NULL)) || check(tutti_comm_rank(comm, rank)) ||
         check(tutti_comm_size(comm, size));
}

int peer_run(const peer_operation* o) {
  switch (o->collective) {
    case PEER_ALL_REDUCE:
      return check(tutti_all_reduce(o->input, o->output, o->count, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL, NULL));
    case PEER_REDUCE_SCATTER:
      return check(tutti_reduce_scatter(o->input, o->output, o->count, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL, NULL));
    case PEER_ALL_GATHER:
      return check(tutti_all_gather(o->input, o->output, o->count, TUTTI_FLOAT32, comm, NULL, NULL));
    case PEER_ALL_TO_ALL:
      return check(tutti_all_to_all(o->input, o->output, o->count, TUTTI_FLOAT32, comm, NULL, NULL));
    default:
      return check(tutti_broadcast(o->input, o->output, o->count, TUTTI_FLOAT32, o->root, comm, NULL, NULL));
  }
}

int peer_barrier(void) { return check(tutti_barrier(comm, NULL, NULL)); }

int peer_combine(double value, double* largest, double* sum) {
  return check(tutti_all_reduce(&value, largest, 1, TUTTI_FLOAT64, TUTTI_MAX, comm, NULL, NULL)) ||
         check(tutti_all_reduce(&value, sum, 1, TUTTI_FLOAT64, TUTTI_SUM, comm, NULL, NULL));
}

int peer_close(void) { return check(tutti_comm_finalize(comm, 0)) || check(tutti_comm_destroy(comm)); }

void* peer_allocate(size_t bytes) {
  void* memory = NULL;
  if (!own_memory) return malloc(bytes);
  return check(tutti_mem_alloc(&memory, bytes)) == 0 ? memory : NULL;
}

void peer_free(void* memory) {
  if (own_memory) {
    check(tutti_mem_free(memory));
  } else {
    free(memory);
  }
}

int peer_has(peer_collective collective) { return collective < PEER_COLLECTIVES; }
