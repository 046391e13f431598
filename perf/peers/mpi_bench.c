/* The MPIs' side of the comparison: the same source for Open MPI and MPICH. */
#include <mpi.h>
#include <stdio.h>

#include "perf/peers/bench.h"

static int check(int status) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (status == MPI_SUCCESS) return 0;
  MPI_Error_string(status, text, &length);
  fprintf(stderr, "MPI: %.*s\n", length, text);
  return 1;
}

int peer_open(int* argc, char*** argv, const char* address, int* rank, int* size) {
  (void)address;
  if (MPI_Init(argc, argv) != MPI_SUCCESS) return 1;
  return check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN)) ||
         check(MPI_Comm_rank(MPI_COMM_WORLD, rank)) || check(MPI_Comm_size(MPI_COMM_WORLD, size));
}

int peer_run(const peer_operation* o) {
  const int count = (int)o->count;
  switch (o->collective) {
    case PEER_ALL_REDUCE:
      return check(MPI_Allreduce(o->input, o->output, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD));
    case PEER_REDUCE_SCATTER:
      return check(MPI_Reduce_scatter_block(o->input, o->output, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD));
    case PEER_ALL_GATHER:
      return check(MPI_Allgather(o->input, count, MPI_FLOAT, o->output, count, MPI_FLOAT, MPI_COMM_WORLD));
    case PEER_ALL_TO_ALL:
      return check(MPI_Alltoall(o->input, count, MPI_FLOAT, o->output, count, MPI_FLOAT, MPI_COMM_WORLD));
    default:
      return check(MPI_Bcast(o->output, count, MPI_FLOAT, o->root, MPI_COMM_WORLD));
  }
}

int peer_barrier(void) { return check(MPI_Barrier(MPI_COMM_WORLD)); }

int peer_combine(double value, double* largest, double* sum) {
  return check(MPI_Allreduce(&value, largest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD)) ||
         check(MPI_Allreduce(&value, sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD));
}

int peer_close(void) { return check(MPI_Finalize()); }

void* peer_allocate(size_t bytes) {
  void* memory = NULL;
  return check(MPI_Alloc_mem((MPI_Aint)bytes, MPI_INFO_NULL, &memory)) == 0 ? memory : NULL;
}

void peer_free(void* memory) { check(MPI_Free_mem(memory)); }

int peer_has(peer_collective collective) { return collective < PEER_COLLECTIVES; }
