/* A C99 program that uses every function of tutti.h: `client alone` as a job of one, `client N` as a job of N
   processes that it starts itself. It prints nothing and exits with 0 if everything was as the header says. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tutti/tutti.h>

#define COUNT 100

static int lines_logged = 0;

static void count_line(int level, const char* area, const char* text, void* user) {
  (void)level;
  if (area != NULL && text != NULL) ++*(int*)user;
}

#define EXPECT(condition)                                                                           \
  do {                                                                                              \
    if (!(condition)) {                                                                             \
      fprintf(stderr, "line %d: %s does not hold; %s\n", __LINE__, #condition, tutti_last_error()); \
      exit(1);                                                                                      \
    }                                                                                               \
  } while (0)
#define OK(call) EXPECT((call) == TUTTI_OK)

static void check_values(void) {
  EXPECT(tutti_version() == TUTTI_VERSION);
  EXPECT(strcmp(tutti_status_name(TUTTI_PEER_LOST), "TUTTI_PEER_LOST") == 0);
  EXPECT(strcmp(tutti_datatype_name(TUTTI_BFLOAT16), "bfloat16") == 0);
  EXPECT(tutti_datatype_size(TUTTI_FLOAT64) == 8 && tutti_datatype_size((tutti_datatype)99) == 0);
  EXPECT(strcmp(tutti_op_name(TUTTI_PREMULTIPLIED_SUM), "premultiplied_sum") == 0);
  EXPECT(tutti_op_name((tutti_op)99) == NULL && tutti_datatype_name((tutti_datatype)99) == NULL);
}

static void check_memory(void) {
  void* memory = NULL;
  tutti_memory* handle = NULL;
  OK(tutti_mem_alloc(&memory, 5000));
  EXPECT(memory != NULL && ((char*)memory)[4999] == 0);
  OK(tutti_mem_register(memory, 5000, &handle));
  OK(tutti_mem_deregister(handle));
  OK(tutti_mem_free(memory));
}

static void check_collectives(tutti_comm* comm, int rank, int size) {
  const size_t n = (size_t)size;
  int* a = malloc(n * COUNT * sizeof *a);
  int* b = malloc(n * COUNT * sizeof *b);
  size_t* counts = malloc(n * sizeof *counts);
  size_t i;
  const int all = size * (size + 1) / 2;
  EXPECT(a != NULL && b != NULL && counts != NULL);
  for (i = 0; i < n * COUNT; ++i) a[i] = rank + 1;
  for (i = 0; i < n; ++i) counts[i] = COUNT;
  OK(tutti_all_reduce(a, b, COUNT, TUTTI_INT32, TUTTI_SUM, comm, NULL, NULL));
  EXPECT(b[0] == all && b[COUNT - 1] == all);
  OK(tutti_reduce(a, b, COUNT, TUTTI_INT32, TUTTI_MAX, 0, comm, NULL, NULL));
  EXPECT(rank != 0 || b[0] == size);
  OK(tutti_broadcast(a, b, COUNT, TUTTI_INT32, size - 1, comm, NULL, NULL));
  EXPECT(b[COUNT - 1] == size);
  OK(tutti_all_gather(a, b, COUNT, TUTTI_INT32, comm, NULL, NULL));
  EXPECT(b[(n - 1) * COUNT] == size);
  OK(tutti_all_gather_v(a, COUNT, b, counts, NULL, TUTTI_INT32, comm, NULL, NULL));
  EXPECT(b[n * COUNT - 1] == size);
  OK(tutti_reduce_scatter(a, b, COUNT, TUTTI_INT32, TUTTI_SUM, comm, NULL, NULL));
  EXPECT(b[0] == all);
  OK(tutti_reduce_scatter_v(a, b, counts, TUTTI_INT32, TUTTI_SUM, comm, NULL, NULL));
  EXPECT(b[COUNT - 1] == all);
  OK(tutti_all_to_all(a, b, COUNT, TUTTI_INT32, comm, NULL, NULL));
  EXPECT(b[0] == 1 && b[n * COUNT - 1] == size);
  OK(tutti_all_to_all_v(a, counts, NULL, b, counts, NULL, TUTTI_INT32, comm, NULL, NULL));
  EXPECT(b[0] == 1 && b[n * COUNT - 1] == size);
  OK(tutti_gather(a, b, COUNT, TUTTI_INT32, 0, comm, NULL, NULL));
  OK(tutti_gather_v(a, COUNT, b, counts, NULL, TUTTI_INT32, 0, comm, NULL, NULL));
  EXPECT(rank != 0 || b[n * COUNT - 1] == size);
  OK(tutti_scatter(a, b, COUNT, TUTTI_INT32, 0, comm, NULL, NULL));
  OK(tutti_scatter_v(a, counts, NULL, b, COUNT, TUTTI_INT32, 0, comm, NULL, NULL));
  EXPECT(b[0] == 1);
  OK(tutti_barrier(comm, NULL, NULL));
  free(counts);
  free(b);
  free(a);
}

static void note(void* notes) { ++*(int*)notes; }

static void check_requests(tutti_comm* comm, int rank, int size) {
  tutti_call call = TUTTI_CALL_INIT;
  tutti_request* requests[2] = {NULL, NULL};
  const int next = (rank + 1) % size;
  const int previous = (rank + size - 1) % size;
  int index = -2;
  int done = 0;
  int received = -1;
  int notes = 0;
  call.timeout_ns = 30000000000LL;
  OK(tutti_group_begin());
  OK(tutti_send(&rank, 1, TUTTI_INT32, next, comm, &call, &requests[0]));
  OK(tutti_receive(&received, 1, TUTTI_INT32, previous, comm, &call, &requests[1]));
  OK(tutti_group_end());
  OK(tutti_request_wait_any(2, requests, &index, -1));
  EXPECT(index == 0 || index == 1);
  OK(tutti_request_wait_all(2, requests, -1));
  EXPECT(received == previous);
  OK(tutti_barrier(comm, NULL, &requests[0]));
  while (!done) OK(tutti_request_test(&requests[0], &done));
  OK(tutti_barrier(comm, NULL, &requests[1]));
  OK(tutti_request_notify(requests[1], note, &notes));
  OK(tutti_request_wait(&requests[1], -1));
  EXPECT(notes == 1);
}

static void check_texts(tutti_comm* comm) {
  char text[4096];
  size_t needed = 0;
  OK(tutti_comm_explain(comm, TUTTI_ALL_REDUCE, 1000, TUTTI_FLOAT32, TUTTI_SUM, text, sizeof text, &needed));
  EXPECT(needed > 0 && strstr(text, "all_reduce") != NULL);
  tutti_straggler straggler;
  OK(tutti_comm_stragglers(comm, sizeof straggler, &straggler, 1, &needed));
  EXPECT(needed == 0);
  OK(tutti_comm_settings(comm, text, sizeof text, &needed));
  EXPECT(strstr(text, "TUTTI_TIMEOUT") != NULL);
  OK(tutti_recorder_path(text, sizeof text, &needed));
  EXPECT(strlen(text) == needed);
  OK(tutti_comm_error(comm, text, sizeof text));
  EXPECT(text[0] == '\0');
}

static tutti_status get_nothing(void* user, const char* key, int64_t timeout_ns, tutti_store_reply* reply) {
  (void)user, (void)key, (void)timeout_ns;
  OK(tutti_store_reply_set(reply, "nothing here", 12));
  return TUTTI_SYSTEM;
}

static tutti_status set_nothing(void* user, const char* key, const void* value, size_t value_size, int64_t timeout_ns,
                                tutti_store_reply* reply) {
  (void)value, (void)value_size;
  return get_nothing(user, key, timeout_ns, reply);
}

static void check_store(void) {
  tutti_comm* comm = NULL;
  tutti_store_callbacks callbacks = TUTTI_STORE_CALLBACKS_INIT;
  EXPECT(tutti_store_register("c99", &callbacks) == TUTTI_INVALID);
  callbacks.get = get_nothing;
  callbacks.set_if_absent = set_nothing;
  OK(tutti_store_register("c99", &callbacks));
  EXPECT(tutti_comm_create_from_store(&comm, 2, 0, "callback://c99", NULL) == TUTTI_SYSTEM);
  EXPECT(strstr(tutti_last_error(), "nothing here") != NULL);
  EXPECT(tutti_last_error_rank() == -1);
  OK(tutti_store_unregister("c99"));
  EXPECT(tutti_comm_create_from_store(&comm, 2, 0, "callback://c99", NULL) == TUTTI_INVALID);
}

static void check_elastic(void) {
  tutti_comm* comm = NULL;
  tutti_comm* joined = NULL;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  tutti_refresh_options refresh = TUTTI_REFRESH_OPTIONS_INIT;
  uint64_t epoch = 99;
  int waiting = 99;
  int slot = 99;
  int slots = 99;
  int ranks[2] = {7, 7};
  char directory[] = "/tmp/tutti-c99-alone-XXXXXX";
  char store[64];
  char removal[64];
  EXPECT(mkdtemp(directory) != NULL);
  snprintf(store, sizeof store, "file://%s", directory);
  snprintf(removal, sizeof removal, "rm -rf %s", directory);
  options.settings = "TUTTI_ELASTIC=on";
  options.timeout_ns = 100000000;
  OK(tutti_comm_create_from_store(&comm, 1, 0, store, &options));
  OK(tutti_comm_revoke(comm, "for a test"));
  EXPECT(tutti_barrier(comm, NULL, NULL) == TUTTI_ABORTED);
  EXPECT(strstr(tutti_last_error(), "for a test") != NULL);
  OK(tutti_comm_refresh(comm, &refresh));
  OK(tutti_barrier(comm, NULL, NULL));
  OK(tutti_comm_agree(comm, NULL, NULL));
  OK(tutti_comm_grow(comm, &refresh));
  OK(tutti_comm_epoch(comm, &epoch));
  OK(tutti_comm_waiting(comm, &waiting));
  EXPECT(epoch == 1 && waiting == 0);
  OK(tutti_comm_slot(comm, 0, &slot));
  OK(tutti_comm_slots(comm, ranks, 2, &slots));
  EXPECT(slot == 0 && slots == 1 && ranks[0] == 0 && ranks[1] == -1);
  EXPECT(tutti_comm_slot(comm, 1, &slot) == TUTTI_INVALID);
  OK(tutti_comm_shrink(comm, NULL));
  EXPECT(tutti_comm_join(&joined, "tcp://127.0.0.1:1", &options) != TUTTI_OK && joined == NULL);
  OK(tutti_comm_leave(comm, 0));
  EXPECT(system(removal) == 0);
}

static void check_state(tutti_comm* comm, int rank) {
  tutti_state* state = NULL;
  tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
  tutti_state_report report = TUTTI_STATE_REPORT_INIT;
  uint64_t revision = 99;
  double weights[COUNT];
  double moved[COUNT];
  int i;
  for (i = 0; i < COUNT; ++i) weights[i] = moved[i] = rank;
  OK(tutti_state_create(&state, "model"));
  OK(tutti_state_add(state, "weights", weights, COUNT, TUTTI_FLOAT64));
  OK(tutti_state_add(state, "steps", &revision, 1, TUTTI_UINT64));
  EXPECT(tutti_state_add(state, "steps", &options, 1, TUTTI_UINT8) == TUTTI_INVALID);
  OK(tutti_state_remove(state, "steps"));
  OK(tutti_state_move(state, "weights", moved));
  OK(tutti_state_set_revision(state, rank == 0 ? 5 : 0));
  OK(tutti_state_synchronize(state, comm, &options, &report));
  OK(tutti_state_revision(state, &revision));
  EXPECT(revision == 5 && report.revision == 5 && moved[COUNT - 1] == 0 && weights[0] == rank);
  OK(tutti_state_destroy(state));
}

static int be_rank(tutti_comm* comm) {
  tutti_comm* half = NULL;
  tutti_comm* twin = NULL;
  tutti_comm* single = NULL;
  tutti_comm* stored = NULL;
  tutti_unique_id id;
  int rank = -1;
  int size = -1;
  OK(tutti_comm_rank(comm, &rank));
  OK(tutti_comm_size(comm, &size));
  check_memory();
  check_collectives(comm, rank, size);
  check_requests(comm, rank, size);
  check_texts(comm);
  check_state(comm, rank);
  OK(tutti_comm_split(comm, rank % 2, 0, &half, NULL));
  OK(tutti_comm_duplicate(comm, &twin, NULL));
  OK(tutti_comm_abort(half, "it is not needed"));
  EXPECT(tutti_barrier(half, NULL, NULL) == TUTTI_ABORTED);
  OK(tutti_comm_destroy(half));
  OK(tutti_comm_destroy(twin));
  OK(tutti_unique_id_create(&id));
  OK(tutti_comm_create(&single, 1, &id, 0, NULL));
  OK(tutti_comm_destroy(single));
  OK(tutti_comm_create_from_store(&stored, 1, 0, "file:///nowhere", NULL));
  OK(tutti_comm_destroy(stored));
  check_store();
  check_elastic();
  OK(tutti_comm_finalize(comm, 0));
  OK(tutti_comm_destroy(comm));
  return 0;
}

static int run_from_environment(void) {
  tutti_comm* comm = NULL;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.name = "c99";
  options.settings = "TUTTI_LOG=info";
  OK(tutti_set_log_hook(count_line, &lines_logged));
  OK(tutti_comm_create_from_environment(&comm, &options));
  EXPECT(lines_logged > 0);
  OK(tutti_set_log_hook(NULL, NULL));
  return be_rank(comm);
}

static int run_job(int ranks) {
  char directory[] = "/tmp/tutti-c99-XXXXXX";
  char text[64];
  int failed = 0;
  int rank;
  if (mkdtemp(directory) == NULL) return 2;
  snprintf(text, sizeof text, "file://%s", directory);
  setenv("TUTTI_STORE", text, 1);
  snprintf(text, sizeof text, "%d", ranks);
  setenv("TUTTI_SIZE", text, 1);
  for (rank = 0; rank < ranks; ++rank) {
    snprintf(text, sizeof text, "%d", rank);
    setenv("TUTTI_RANK", text, 1);
    if (fork() == 0) exit(run_from_environment());
  }
  for (rank = 0; rank < ranks; ++rank) {
    int status = 0;
    wait(&status);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failed = 1;
  }
  snprintf(text, sizeof text, "rm -rf %s", directory);
  return system(text) == 0 ? failed : 2;
}

int main(int argc, char** argv) {
  check_values();
  if (argc == 2 && strcmp(argv[1], "alone") == 0) return run_from_environment();
  if (argc == 2 && atoi(argv[1]) > 0) return run_job(atoi(argv[1]));
  fprintf(stderr, "usage: %s alone|RANKS\n", argv[0]);
  return 2;
}
