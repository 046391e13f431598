/*
 * The first program: every rank contributes a vector, every rank gets the sum.
 *
 *     cc all_reduce.c -ltutti -o all_reduce
 *     for rank in 0 1 2; do
 *       TUTTI_RANK=$rank TUTTI_SIZE=3 TUTTI_STORE=tcp://127.0.0.1:29400 TUTTI_SECRET=only-for-this-try ./all_reduce &
 *     done; wait
 *
 * mpirun -n 3 ./all_reduce, srun and torchrun work as well: rank and size are found in the environment.
 */
#include <stdio.h>

#include "tutti/tutti.h"

#define COUNT 1000

/* Says what went wrong; every sentence names the cause. */
static int failed(const char *what) {
  fprintf(stderr, "%s: %s\n", what, tutti_last_error());
  return 1;
}

int main(void) {
  tutti_comm *comm = NULL;
  float values[COUNT];
  int rank = 0, size = 0, i = 0;

  if (tutti_comm_create_from_environment(&comm, NULL) != TUTTI_OK) return failed("create");
  tutti_comm_rank(comm, &rank);
  tutti_comm_size(comm, &size);

  for (i = 0; i < COUNT; ++i) values[i] = (float)(rank + 1);
  if (tutti_all_reduce(values, values, COUNT, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL, NULL) != TUTTI_OK) {
    return failed("all_reduce");
  }
  for (i = 0; i < COUNT; ++i) {
    if (values[i] != (float)(size * (size + 1) / 2)) {
      fprintf(stderr, "rank %d: element %d is %g, not %d\n", rank, i, values[i], size * (size + 1) / 2);
      return 1;
    }
  }
  printf("rank %d of %d: 1 + ... + %d = %g\n", rank, size, size, values[0]);

  /* Finalize waits until everybody is done, so that nobody leaves while another still needs it. */
  if (tutti_comm_finalize(comm, 0) != TUTTI_OK) return failed("finalize");
  tutti_comm_destroy(comm);
  return 0;
}
