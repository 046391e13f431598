/* One rank by itself: the sum of what it has is what it has. */
#include <stdio.h>
#include <tutti/tutti.h>

int main(void) {
  tutti_comm* comm = NULL;
  float x = 4;
  if (tutti_comm_create_from_environment(&comm, NULL) != TUTTI_OK ||
      tutti_all_reduce(&x, &x, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL, NULL) != TUTTI_OK) {
    fprintf(stderr, "%s\n", tutti_last_error());
    return 1;
  }
  printf("version %d", tutti_version());
  return tutti_comm_destroy(comm) == TUTTI_OK && x == 4 ? 0 : 1;
}
