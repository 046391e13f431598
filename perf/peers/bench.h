/*
 * The measuring loop that all peers share, so that they are compared fairly: bench.c has it, and each of
 * tutti_bench.c, mpi_bench.c and gloo_bench.cc brings the functions of one library below.
 *
 * Sizes are in bytes of the larger of a rank's two buffers: all_gather's output, reduce_scatter's input. Elements are
 * float32, the reduction is a sum. Operations are out of place, but the broadcast, whose root goes round the ranks
 * from one operation to the next so that no root can run ahead.
 */
#ifndef TUTTI_PERF_PEERS_BENCH_H
#define TUTTI_PERF_PEERS_BENCH_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum peer_collective {
  PEER_ALL_REDUCE,
  PEER_REDUCE_SCATTER,
  PEER_ALL_GATHER,
  PEER_ALL_TO_ALL,
  PEER_BROADCAST,
  PEER_COLLECTIVES
} peer_collective;

/* What the library is asked for: `count` elements of each block (all_gather's input, reduce_scatter's output, each of
   all_to_all's blocks), or of the whole buffer (all_reduce, broadcast: input == output). */
typedef struct peer_operation {
  peer_collective collective;
  const float* input;
  float* output;
  size_t count;
  int root;
} peer_operation;

/* Each returns 0, or not after it has said on stderr what went wrong. `address`: this host's, "" on one host. */
int peer_open(int* argc, char*** argv, const char* address, int* rank, int* size);
int peer_run(const peer_operation* operation);
int peer_barrier(void);
/* The largest value of all ranks, and the sum, on every rank. */
int peer_combine(double value, double* largest, double* sum);
int peer_close(void);

/* The memory that the library likes best; NULL if there is none. */
void* peer_allocate(size_t bytes);
void peer_free(void* memory);
/* Whether the library has the collective at all. */
int peer_has(peer_collective collective);

#ifdef __cplusplus
}
#endif

#endif /* TUTTI_PERF_PEERS_BENCH_H */
