/*
 * Tutti: collective communication for processes that differ, over shared memory and networks. The C99 API.
 *
 * A first program (every rank runs it; docs/tutorial.md goes on from here):
 *
 *     tutti_comm *comm = NULL;
 *     if (tutti_comm_create_from_environment(&comm, NULL) != TUTTI_OK) { puts(tutti_last_error()); return 1; }
 *     tutti_all_reduce(input, output, count, TUTTI_FLOAT32, TUTTI_SUM, comm, NULL, NULL);
 *     tutti_comm_destroy(comm);
 *
 * Rules that hold for every call
 *
 *   Errors.   Each call returns a tutti_status: TUTTI_OK, or what to do now. tutti_last_error() gives the sentence that
 *             goes with the calling thread's last failure: what failed, between whom, the cause, what to do. No call
 *             prints, exits or aborts the process. TUTTI_INVALID means: nothing was changed and nothing was sent, the
 *             communicator is as good as before (except where a mismatch with other ranks was found, see Collectives).
 *   Threads.  All functions may be called from any thread at any time, with these exceptions: one request is waited for
 *             or tested by one thread at a time, a tutti_state is used by one at a time; nobody may use a communicator
 *             while or after it is destroyed; the order in which operations of one communicator are started must be
 *             the same on every rank, so threads that share a communicator order their calls themselves. Different
 *             communicators need no common order.
 *   Memory.   Pointers in arguments are read during the call only, except data buffers, which belong to Tutti from the
 *             start of the operation until its request completes: inputs must not change, outputs must not be touched.
 *             Buffers need no alignment. Input and output are the same or do not overlap ("in place", below).
 *   Time.     Every wait ends. Operations end at the latest at their deadline (tutti_call.timeout_ns, else the setting
 *             TUTTI_TIMEOUT), the creation of communicators at TUTTI_CONNECT_TIMEOUT. All times are nanoseconds.
 *   Forking.  A forked child must not use communicators made before the fork: each call on them returns TUTTI_INVALID
 *             in the child and does nothing. The parent is not disturbed. The child may create new communicators.
 *   Structs.  Option structs start with their size; set it to sizeof the struct (the _INIT macros do). NULL = defaults.
 *
 * Settings (TUTTI_...) are read when a communicator is created: docs/settings.md.
 */
#ifndef TUTTI_TUTTI_H
#define TUTTI_TUTTI_H

#include <stddef.h>
#include <stdint.h>

#define TUTTI_VERSION_MAJOR 0
#define TUTTI_VERSION_MINOR 1
#define TUTTI_VERSION_PATCH 0
#define TUTTI_VERSION (TUTTI_VERSION_MAJOR * 10000 + TUTTI_VERSION_MINOR * 100 + TUTTI_VERSION_PATCH)

#if defined(__GNUC__)
#define TUTTI_API __attribute__((visibility("default")))
#else
#define TUTTI_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Results ---------------------------------------------------------------------------------------------------- */

typedef enum tutti_status {
  TUTTI_OK = 0,
  TUTTI_AGAIN = 1,       /* not done yet; call again */
  TUTTI_INVALID = 2,     /* this call, or a setting, is wrong, or does not match what another rank called */
  TUTTI_UNSUPPORTED = 3, /* right, but not available here */
  TUTTI_TIMEOUT = 4,     /* a deadline passed; the text names who was waited for */
  TUTTI_PEER_LOST = 5,   /* another process, or every way to reach it, is gone */
  TUTTI_ABORTED = 6,     /* somebody aborted the communicator */
  TUTTI_SYSTEM = 7,      /* the operating system refused something; the text has its words */
  TUTTI_INTERNAL = 8     /* a bug in Tutti; please report the text */
} tutti_status;

/* "TUTTI_OK", ...; never NULL. The string is static. */
TUTTI_API const char *tutti_status_name(tutti_status status);

/* The sentence of the last call that failed on this thread, "" if none did. Valid until the thread's next failing call;
   never NULL. */
TUTTI_API const char *tutti_last_error(void);

/* The rank that this failure is the fault of, as far as is known, in the numbering of the communicator that it happened
   on; -1 if nobody's in particular, or if no call has failed. */
TUTTI_API int tutti_last_error_rank(void);

/* TUTTI_VERSION of the library that is loaded, which may differ from the header's. */
TUTTI_API int tutti_version(void);

/* ---- Element types and operations ------------------------------------------------------------------------------- */

typedef enum tutti_datatype {
  TUTTI_INT8 = 0,
  TUTTI_UINT8 = 1,
  TUTTI_INT16 = 2,
  TUTTI_UINT16 = 3,
  TUTTI_INT32 = 4,
  TUTTI_UINT32 = 5,
  TUTTI_INT64 = 6,
  TUTTI_UINT64 = 7,
  TUTTI_FLOAT16 = 8,       /* IEEE 754 binary16 */
  TUTTI_BFLOAT16 = 9,
  TUTTI_FLOAT32 = 10,
  TUTTI_FLOAT64 = 11,
  TUTTI_FLOAT8_E4M3 = 12,  /* OCP E4M3 (FN: no infinities) */
  TUTTI_FLOAT8_E5M2 = 13   /* OCP E5M2 */
} tutti_datatype;

/* Reductions. Every rank gets the same bits, run after run, for one number of ranks, count and plan: operands are
   folded in an order fixed by the plan, never by arrival. float16, bfloat16 and float8 accumulate in float32 within a
   pass and round once per pass. Integer sums and products wrap. A reduction that meets a NaN writes the canonical quiet
   NaN of the type; minimum and maximum propagate NaN and order -0 below +0. Sums keep the sign of zero as IEEE 754
   does. A collective on one rank, and data movement, copy NaNs as they are. */
typedef enum tutti_op {
  TUTTI_SUM = 0,
  TUTTI_PRODUCT = 1,
  TUTTI_MIN = 2,
  TUTTI_MAX = 3,
  TUTTI_AVERAGE = 4,     /* sum, then divided by the number of ranks; integers truncate towards zero */
  TUTTI_BIT_AND = 5,     /* bitwise: integers only */
  TUTTI_BIT_OR = 6,
  TUTTI_BIT_XOR = 7,
  TUTTI_LOGICAL_AND = 8, /* logical: integers only; not zero is true; the result is 1 or 0 */
  TUTTI_LOGICAL_OR = 9,
  TUTTI_PREMULTIPLIED_SUM = 10 /* sum of each rank's input times that rank's scalar (tutti_call.scalar) */
} tutti_op;

/* Bytes per element; 0 for a value that is no type. */
TUTTI_API size_t tutti_datatype_size(tutti_datatype type);
/* "float32", "sum", ...; NULL for a value that is none. Static strings. */
TUTTI_API const char *tutti_datatype_name(tutti_datatype type);
TUTTI_API const char *tutti_op_name(tutti_op op);

/* ---- Communicators ---------------------------------------------------------------------------------------------- */

/* An ordered set of ranks 0..size-1 that communicate. Made by all of them together. Links belong to the process and are
   shared by its communicators, so many communicators are cheap. Several ranks of a communicator may live in one process
   (one thread each). */
typedef struct tutti_comm tutti_comm;

/* How ranks find each other: the address of a rendezvous that runs in the process that created the id, and a secret
   which keeps strangers out. Hand it to the other ranks by any means that keeps it private. */
typedef struct tutti_unique_id {
  unsigned char bytes[256];
} tutti_unique_id;

typedef struct tutti_comm_options {
  size_t size;                /* sizeof(tutti_comm_options) */
  const char *name;           /* appears in every message about it; NULL = "world", "world/split1", ... */
  const char *settings;       /* "TUTTI_TIMEOUT=10s TUTTI_TRANSPORTS=tcp": go before the environment; NULL = none */
  int64_t timeout_ns;         /* for the creation; 0 = TUTTI_CONNECT_TIMEOUT, negative = no limit */
} tutti_comm_options;
#define TUTTI_COMM_OPTIONS_INIT {sizeof(tutti_comm_options), NULL, NULL, 0}

/* Makes an id and starts its rendezvous in this process, where it stays until the process ends. The process should take
   part in the communicator. Its address is that of TUTTI_STORE if set, else this host's.
   INVALID: id is NULL or a setting is wrong. SYSTEM: no socket could be had. */
TUTTI_API tutti_status tutti_unique_id_create(tutti_unique_id *id);

/* Creates this rank's end of a communicator of `size` ranks. Collective: returns when all ranks have arrived, or an
   error that names who is missing, doubled, or different. An id serves for one communicator.
   INVALID: bad argument, rank or size; two ranks with one number; ranks that disagree on size. TIMEOUT: ranks missing.
   PEER_LOST: the rendezvous could not be reached. SYSTEM. */
TUTTI_API tutti_status tutti_comm_create(tutti_comm **comm, int size, const tutti_unique_id *id, int rank,
                                         const tutti_comm_options *options);

/* The same with a store: "tcp://host:port" (rank 0 serves it there unless something does already), "file:///directory"
   (a directory all ranks share), "etcd://host:port[,host:port...][/prefix]", or "callback://name" (A store of your own,
   below). Communicators of one store are told apart by options->name; ranks prove that they know TUTTI_SECRET. Errors
   as above. */
TUTTI_API tutti_status tutti_comm_create_from_store(tutti_comm **comm, int size, int rank, const char *store,
                                                    const tutti_comm_options *options);

/* The same with rank, size and store from the launcher: TUTTI_RANK, TUTTI_SIZE, TUTTI_STORE; torchrun (RANK,
   WORLD_SIZE, MASTER_ADDR, MASTER_PORT); Open MPI; MPICH and others by PMI; Slurm. INVALID names variables that are
   missing or contradict each other. Errors as above. */
TUTTI_API tutti_status tutti_comm_create_from_environment(tutti_comm **comm, const tutti_comm_options *options);

/* This rank takes no part in any of the new communicators. */
#define TUTTI_NO_COLOR (-1)

/* Collective over `comm`, ordered among its operations: ranks with the same colour (>= 0) form a new communicator, in
   order of key, then of rank in `comm`. *split is NULL for TUTTI_NO_COLOR. Opens no connection. `comm` stays usable.
   INVALID: a negative colour other than TUTTI_NO_COLOR. Otherwise errors as for an operation. */
TUTTI_API tutti_status tutti_comm_split(tutti_comm *comm, int color, int key, tutti_comm **split,
                                        const tutti_comm_options *options);
/* The same members and order again, with an order of operations of its own. */
TUTTI_API tutti_status tutti_comm_duplicate(tutti_comm *comm, tutti_comm **duplicate,
                                            const tutti_comm_options *options);

/* This process's rank; the number of ranks. INVALID: NULL argument. */
TUTTI_API tutti_status tutti_comm_rank(const tutti_comm *comm, int *rank);
TUTTI_API tutti_status tutti_comm_size(const tutti_comm *comm, int *size);

/* Collective: waits for this rank's operations, then until every rank has come this far, so that destroy loses nothing.
   timeout_ns: 0 = TUTTI_TIMEOUT, negative = no limit. Afterwards only destroy is allowed. Errors as for an
   operation. */
TUTTI_API tutti_status tutti_comm_finalize(tutti_comm *comm, int64_t timeout_ns);

/* Ends the communicator at once, here and, as far as they can be reached, on all ranks: pending and later operations
   end with TUTTI_ABORTED. Never blocks. May be called from any thread while others wait. `reason` may be NULL. */
TUTTI_API tutti_status tutti_comm_abort(tutti_comm *comm, const char *reason);

/* Frees this rank's end. Pending operations end with TUTTI_ABORTED first (also on other ranks, unless all that is
   pending here are receives, which nobody else waits for). Receives from this rank that others have pending end with
   PEER_LOST there, and their communicator goes on working. Local and bounded; needs no other rank. Requests that are
   still held stay valid to wait for. NULL is OK. */
TUTTI_API tutti_status tutti_comm_destroy(tutti_comm *comm);

/* TUTTI_OK while the communicator works. After an operation went wrong (a peer lost, a deadline, a mismatch, an abort):
   that status, and up to capacity - 1 bytes of its sentence in `text` (may be NULL), always NUL-terminated. Once wrong,
   a communicator stays wrong and every call on it returns this error; destroy it and make a new one. */
TUTTI_API tutti_status tutti_comm_error(const tutti_comm *comm, char *text, size_t capacity);

/* ---- Operations --------------------------------------------------------------------------------------------------
 *
 * Collectives are called by every rank of a communicator, in the same order, with matching kind, count, type, op and
 * root: if not, every rank gets TUTTI_INVALID with a sentence naming both calls, and the communicator is wrong from
 * then on (a rank whose own part was complete before the mismatch was found learns it from tutti_comm_error or its
 * next call).
 *
 * Each takes `call` (NULL = defaults) and `request`. With request == NULL the call returns when the operation is done
 * on this rank. Otherwise it returns as soon as the operation is started and *request is to be waited for. On an error
 * *request is NULL and nothing was started. Several operations may be in flight; they complete in any order.
 *
 * Counts are in elements. count == 0 is allowed: nothing is moved, NULL buffers are fine, ranks still match calls.
 *
 * Errors of every operation: INVALID (NULL buffer with count > 0, unknown type or op, a root or peer out of range,
 * overlapping buffers that are not the in-place form, sizes beyond the address space, a mismatch); UNSUPPORTED (the op
 * does not exist for the type); TIMEOUT, PEER_LOST, ABORTED, SYSTEM, INTERNAL as above.
 */

/* An operation in flight. Freed by the wait or test that finds it complete. */
typedef struct tutti_request tutti_request;

typedef struct tutti_call {
  size_t size;           /* sizeof(tutti_call) */
  int64_t timeout_ns;    /* the operation's deadline from now; 0 = TUTTI_TIMEOUT, negative = none */
  const void *scalar;    /* TUTTI_PREMULTIPLIED_SUM: this rank's factor, one element of the operation's type */
  const char *algorithm; /* "ring", "direct", ...: use this one (tutti_comm_explain lists them); NULL = Tutti chooses.
                            Must be the same on every rank. */
} tutti_call;
#define TUTTI_CALL_INIT {sizeof(tutti_call), 0, NULL, NULL}

/* output[i] = op over the ranks' input[i], on every rank. In place: input == output. */
TUTTI_API tutti_status tutti_all_reduce(const void *input, void *output, size_t count, tutti_datatype type, tutti_op op,
                                        tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* The same, on the root only; output is not used elsewhere and may be NULL there. In place: input == output at the
   root. */
TUTTI_API tutti_status tutti_reduce(const void *input, void *output, size_t count, tutti_datatype type, tutti_op op,
                                    int root, tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Every rank's output = the root's input. input is not used elsewhere and may be NULL there. In place: input == output
   at the root (other ranks may pass their output as input too). */
TUTTI_API tutti_status tutti_broadcast(const void *input, void *output, size_t count, tutti_datatype type, int root,
                                       tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* output has size * count elements: block r is rank r's input of count elements. In place: input == output + rank *
   count. */
TUTTI_API tutti_status tutti_all_gather(const void *input, void *output, size_t count, tutti_datatype type,
                                        tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Blocks of unlike sizes: block r has counts[r] elements at output + displacements[r] (in elements; NULL = packed in
   rank order). counts are the same on every rank; count == counts[rank]. In place: input is block `rank` of the
   output. */
TUTTI_API tutti_status tutti_all_gather_v(const void *input, size_t count, void *output, const size_t counts[],
                                          const size_t displacements[], tutti_datatype type, tutti_comm *comm,
                                          const tutti_call *call, tutti_request **request);

/* input has size * count elements; output of count elements = op over the ranks' block `rank`.
   In place: output == input + rank * count. */
TUTTI_API tutti_status tutti_reduce_scatter(const void *input, void *output, size_t count, tutti_datatype type,
                                            tutti_op op, tutti_comm *comm, const tutti_call *call,
                                            tutti_request **request);

/* Block r of the input has counts[r] elements, packed in rank order; counts are the same on every rank.
   In place: output is block `rank` of the input. */
TUTTI_API tutti_status tutti_reduce_scatter_v(const void *input, void *output, const size_t counts[],
                                              tutti_datatype type, tutti_op op, tutti_comm *comm,
                                              const tutti_call *call, tutti_request **request);

/* input and output have size blocks of count elements: output block r of this rank = input block `rank` of rank r.
   In place: input == output. */
TUTTI_API tutti_status tutti_all_to_all(const void *input, void *output, size_t count, tutti_datatype type,
                                        tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Blocks of unlike sizes: input_counts[r] elements at input + input_displacements[r] go to rank r; output_counts[r]
   elements from rank r go to output + output_displacements[r]. Displacements NULL = packed. What a rank sends must be
   what the other receives. Not in place. */
TUTTI_API tutti_status tutti_all_to_all_v(const void *input, const size_t input_counts[],
                                          const size_t input_displacements[], void *output,
                                          const size_t output_counts[], const size_t output_displacements[],
                                          tutti_datatype type, tutti_comm *comm, const tutti_call *call,
                                          tutti_request **request);

/* The root's output has size blocks: block r is rank r's input. output is not used elsewhere.
   In place: input == output + root * count at the root. */
TUTTI_API tutti_status tutti_gather(const void *input, void *output, size_t count, tutti_datatype type, int root,
                                    tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Blocks of unlike sizes. counts and displacements are read at the root only; count == counts[rank] there. */
TUTTI_API tutti_status tutti_gather_v(const void *input, size_t count, void *output, const size_t counts[],
                                      const size_t displacements[], tutti_datatype type, int root, tutti_comm *comm,
                                      const tutti_call *call, tutti_request **request);

/* Rank r's output = block r of the root's input. input is not used elsewhere.
   In place: output == input + root * count at the root. */
TUTTI_API tutti_status tutti_scatter(const void *input, void *output, size_t count, tutti_datatype type, int root,
                                     tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Blocks of unlike sizes. counts and displacements are read at the root only; count is this rank's own. */
TUTTI_API tutti_status tutti_scatter_v(const void *input, const size_t counts[], const size_t displacements[],
                                       void *output, size_t count, tutti_datatype type, int root, tutti_comm *comm,
                                       const tutti_call *call, tutti_request **request);

/* Done on no rank before every rank has called it. */
TUTTI_API tutti_status tutti_barrier(tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Point to point: the n-th send of rank a to rank b matches the n-th receive at b from a; count and type must match.
   They are not ordered with collectives. A rank may send to itself. A send may complete before it is received. */
TUTTI_API tutti_status tutti_send(const void *input, size_t count, tutti_datatype type, int peer, tutti_comm *comm,
                                  const tutti_call *call, tutti_request **request);
TUTTI_API tutti_status tutti_receive(void *output, size_t count, tutti_datatype type, int peer, tutti_comm *comm,
                                     const tutti_call *call, tutti_request **request);

/* Between begin and end (which nest), this thread's operations are only noted; the outermost end starts them all at
   once, so that sends and receives between them cannot block each other, and small operations travel together.
   Operations with request == NULL are waited for by that end. Arguments are checked when noted; end returns the first
   error. If one cannot be started, none is. Communicators may not be created, split or destroyed in between
   (INVALID). */
TUTTI_API tutti_status tutti_group_begin(void);
TUTTI_API tutti_status tutti_group_end(void);

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

/* Waits until the operation is complete and returns its result; frees the request and sets *request to NULL. With
   timeout_ns >= 0, TIMEOUT if it is not complete by then: the operation goes on and the request stays valid. Negative:
   until the operation's own deadline. *request == NULL returns TUTTI_OK. INVALID: request is NULL. */
TUTTI_API tutti_status tutti_request_wait(tutti_request **request, int64_t timeout_ns);

/* Like a wait with timeout 0, but *done says whether it was complete (1) or not (0, TUTTI_OK is returned). */
TUTTI_API tutti_status tutti_request_test(tutti_request **request, int *done);

/* Calls `notify(user)` once, when the operation is complete; at once if it is. That comes from any thread that uses or
   is Tutti's, with its lock held: `notify` must return soon and must not call Tutti. It sets a flag, writes to an
   eventfd, wakes a thread; that one then waits or tests, which returns the result without waiting. It has been called
   before a wait or a test frees the request. INVALID: NULL argument, or of a group that has not ended. */
typedef void (*tutti_notify)(void *user);
TUTTI_API tutti_status tutti_request_notify(tutti_request *request, tutti_notify notify, void *user);

/* Waits until one of `count` requests is complete, frees it, sets it to NULL and *index to its place, and returns its
   result. NULL entries are passed over; with nothing to wait for *index = -1 and TUTTI_OK. */
TUTTI_API tutti_status tutti_request_wait_any(size_t count, tutti_request *requests[], int *index, int64_t timeout_ns);

/* Waits for all; frees the complete ones. Returns the first error in array order, TIMEOUT if some are not complete. */
TUTTI_API tutti_status tutti_request_wait_all(size_t count, tutti_request *requests[], int64_t timeout_ns);

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

/* Memory that peers on this host read in place: the fastest for large data. Page-aligned, zeroed. Free it with
   tutti_mem_free, when no operation uses it. bytes == 0 gives NULL. SYSTEM: the memory could not be had. */
TUTTI_API tutti_status tutti_mem_alloc(void **memory, size_t bytes);
TUTTI_API tutti_status tutti_mem_free(void *memory);

/* Says that this memory will be used often, so that transports that must prepare memory do it once. Optional: any
   memory works without. It must stay mapped until deregistered. INVALID: NULL, or bytes == 0, or not a registered
   handle. */
typedef struct tutti_memory tutti_memory;
TUTTI_API tutti_status tutti_mem_register(void *memory, size_t bytes, tutti_memory **handle);
TUTTI_API tutti_status tutti_mem_deregister(tutti_memory *handle);

/* ---- Shared state -------------------------------------------------------------------------------------------------
 *
 * What every rank should have with the same bits: a model, an optimiser. Its tensors are memory of the caller's, named;
 * its revision is a number that the caller raises whenever the content has changed as planned (the step, say). When it
 * is synchronized, ranks that lack the content that counts get what they lack of it, from several ranks at once.
 *
 *   Which counts.  That of the newest revision; where ranks have it with different content, the content that most of
 *                  them have; of several that equally many have, the one of the lowest rank. It is always the whole
 *                  content of some rank. A new state has revision 0, so a process that joins receives from all that
 *                  have set one; where all have 0, the rule is the same.
 *   Equality.      Contents are compared by XXH3 of 128 bits, in chunks of up to 1 MiB, and every chunk that arrives is
 *                  checked. That finds mistakes and chance, not a member that deceives on purpose.
 *   After an error a rank that was to receive nothing has what it had. One that was receiving has, in each chunk, the
 *                  old or the new content or parts of both; its revision is 0, and its content counts for nothing,
 *                  until a synchronization succeeds or tutti_state_set_revision says that it is whole. Chunks that
 *                  have arrived are recognized by their hash the next time, whoever sends, and not sent again.
 *
 * A state belongs to no communicator, and is used by one thread at a time. All these calls but tutti_state_synchronize
 * are local.
 */
typedef struct tutti_state tutti_state;

/* A state without tensors, of revision 0. `name` appears in messages and must be the same on every rank; NULL =
   "state"; at most 4096 bytes. INVALID: NULL argument, name too long. */
TUTTI_API tutti_status tutti_state_create(tutti_state **state, const char *name);
/* Frees the object, not the tensors' memory. NULL is OK. Not while it is synchronized. */
TUTTI_API tutti_status tutti_state_destroy(tutti_state *state);

/* Adds `count` elements at `memory` under a name of 1 to 4096 bytes, which is copied. The memory stays the caller's; it
   must be there, and must not be written by others, during each synchronization. It needs no alignment. In which order
   tensors are added does not matter. count == 0 is allowed (and memory NULL then).
   INVALID: NULL argument, no such type, an empty or too long name, a name that is there already, memory shared with
   another tensor of the state, more than 2^20 tensors or 2^47 bytes. */
TUTTI_API tutti_status tutti_state_add(tutti_state *state, const char *name, void *memory, size_t count,
                                       tutti_datatype type);
/* From now on the tensor's content is at `memory`. INVALID: there is no such tensor; memory as in tutti_state_add. */
TUTTI_API tutti_status tutti_state_move(tutti_state *state, const char *name, void *memory);
/* INVALID: there is no such tensor. */
TUTTI_API tutti_status tutti_state_remove(tutti_state *state, const char *name);

/* Says that the tensors hold the whole content of this revision. INVALID: NULL argument. */
TUTTI_API tutti_status tutti_state_set_revision(tutti_state *state, uint64_t revision);
/* What was set or synchronized last; 0 after an error in the middle of receiving. INVALID: NULL argument. */
TUTTI_API tutti_status tutti_state_revision(const tutti_state *state, uint64_t *revision);

typedef struct tutti_state_options {
  size_t size;        /* sizeof(tutti_state_options) */
  int64_t timeout_ns; /* for all of it; 0 = no limit but TUTTI_TIMEOUT for each message, negative = none at all */
  int strict;         /* not 0, on every rank: other content at the newest revision is an error and is not replaced.
                         Ranks of older revisions receive all the same */
} tutti_state_options;
#define TUTTI_STATE_OPTIONS_INIT {sizeof(tutti_state_options), 0, 0}

typedef struct tutti_state_report {
  size_t size;             /* sizeof(tutti_state_report) */
  uint64_t revision;       /* that all have now; 0 after an error */
  uint64_t bytes_received; /* by this rank; also after an error */
  uint64_t bytes_sent;     /* by this rank, passed on ones among them; also after an error */
  int senders;             /* from how many ranks this one received */
  int receivers;           /* how many ranks lacked something; the same on all of them */
} tutti_state_report;
#define TUTTI_STATE_REPORT_INIT {sizeof(tutti_state_report), 0, 0, 0, 0, 0}

/* Collective over `comm`, which may be elastic or not, ordered among its operations, and also among the sends and
   receives of each two ranks. When it returns TUTTI_OK, all ranks have the content that counts, and its revision.
   `options` and `report` may be NULL.
   INVALID, on all ranks, `comm` works on: names, types or counts are not the same (the sentence names a tensor and a
   rank); strict, and ranks have drifted (each is named, with a tensor): nothing was changed. A tensor was written
   meanwhile (named, with its rank): as after any error. Nobody has a whole content any more. Other errors are those of
   an operation, uniform where `comm` is elastic: refresh it and call again. */
TUTTI_API tutti_status tutti_state_synchronize(tutti_state *state, tutti_comm *comm,
                                               const tutti_state_options *options, tutti_state_report *report);

/* ---- A store of your own ------------------------------------------------------------------------------------------
 *
 * A framework that has a store already (torch.distributed's TCPStore, say) can let Tutti's ranks meet there. Two
 * functions are enough; every change becomes an entry of a journal, under the keys "tutti/0", "tutti/1", ... in that
 * store, and everything else (counting, comparing, listing, removing) is Tutti's own, so that the store needs none of
 * it. Entries are never removed; they take about 1 KB for each rank of each communicator that is created, and every
 * rank reads all of them. So put a prefix of your own in front of the keys for each job, attempt or process group.
 *
 * Contract of the functions. They are called from threads that call Tutti, and from threads of Tutti's own, several at
 * once; one that waits must not keep the others waiting (give each thread a connection of its own, as torch's
 * Store.clone does). They must not call Tutti, apart from tutti_store_reply_set, nor throw. Pointers that they get are
 * valid during the call. timeout_ns: how long to wait at most; 0 = not at all, negative = no limit. They return
 * TUTTI_OK after giving a value to `reply`; TUTTI_TIMEOUT; TUTTI_PEER_LOST when the store has gone; or TUTTI_SYSTEM;
 * with an error, `reply` may be given a sentence that says why.
 */

/* Where a function below puts what it found. */
typedef struct tutti_store_reply tutti_store_reply;

typedef struct tutti_store_callbacks {
  size_t size; /* sizeof(tutti_store_callbacks) */
  void *user;  /* passed to both */

  /* Waits until the key is there and gives its value. TIMEOUT: it is not. */
  tutti_status (*get)(void *user, const char *key, int64_t timeout_ns, tutti_store_reply *reply);

  /* Stores the value if the key is absent, as one step, and gives what the key holds now: this value or the one that
     was there. Values are binary, never empty, never twice the same, and at most 1.1 MiB long. For torch:
     compare_set(key, "", value). */
  tutti_status (*set_if_absent)(void *user, const char *key, const void *value, size_t value_size, int64_t timeout_ns,
                                tutti_store_reply *reply);
} tutti_store_callbacks;
#define TUTTI_STORE_CALLBACKS_INIT {sizeof(tutti_store_callbacks), NULL, NULL, NULL}

/* Copies a value or a sentence; the last one counts. Only inside a function above. */
TUTTI_API tutti_status tutti_store_reply_set(tutti_store_reply *reply, const void *bytes, size_t size);

/* Makes "callback://NAME" an address of this store in this process, for every function and setting that takes the
   address of a store. The table is copied. INVALID: the name is empty or taken, or a function is NULL. */
TUTTI_API tutti_status tutti_store_register(const char *name, const tutti_store_callbacks *callbacks);

/* Ends that: waits for calls that are under way, and the functions are not called any more; what still uses the store
   gets PEER_LOST. INVALID: no store has this name. */
TUTTI_API tutti_status tutti_store_unregister(const char *name);

/* ---- Looking inside ---------------------------------------------------------------------------------------------- */

typedef enum tutti_collective {
  TUTTI_ALL_REDUCE = 0,
  TUTTI_REDUCE = 1,
  TUTTI_BROADCAST = 2,
  TUTTI_ALL_GATHER = 3,
  TUTTI_REDUCE_SCATTER = 4,
  TUTTI_ALL_TO_ALL = 5,
  TUTTI_GATHER = 6,
  TUTTI_SCATTER = 7
} tutti_collective;

/* The plan that an operation of this kind and size (count as in its call) would run by, and why: algorithm, lanes,
   transport, predicted time, what limits it, the runners-up. Writes up to capacity - 1 bytes, NUL-terminated; *needed
   (may be NULL) gets the full length. Local: asks no other rank. */
TUTTI_API tutti_status tutti_comm_explain(tutti_comm *comm, tutti_collective what, size_t count, tutti_datatype type,
                                          tutti_op op, char *text, size_t capacity, size_t *needed);

/* Stragglers: ranks that operations of this communicator have waited for, for longer than TUTTI_STRAGGLER_TIMEOUT, and
   still do. Each is also reported in the log (level warn), once for an operation. Nobody is named who merely waits for
   somebody else himself; all ranks that wait name the same. */
typedef enum tutti_lateness {
  TUTTI_ABSENT = 1, /* has not called the operation, as it says itself: it computes, or its program has gone astray */
  TUTTI_SILENT = 2, /* does not answer: very busy, swapping, or the way to it is cut */
  TUTTI_STOPPED = 3 /* does not answer, and its process is stopped (SIGSTOP, a debugger), as a rank of its host saw */
} tutti_lateness;

typedef struct tutti_straggler {
  int rank;
  tutti_lateness how;
  int seen_by;        /* the rank that found it so; the straggler itself where it says so */
  uint64_t operation; /* the number of the first operation that waits for it, as in error sentences */
  int64_t waited_ns;  /* for how long that has waited, in all */
  int64_t late_ns;    /* for how long it has been so, as far as is known */
} tutti_straggler;

/* The first `capacity` of them, by rank, into `stragglers`, whose elements have `size` bytes (sizeof(tutti_straggler));
   *count gets how many there are, 0 where all is well. Local: asks no other rank, does not wait; from another thread
   while one waits, or between tests of a request. INVALID: NULL argument (`stragglers` may be NULL with capacity 0),
   or another size. */
TUTTI_API tutti_status tutti_comm_stragglers(tutti_comm *comm, size_t size, tutti_straggler stragglers[],
                                             size_t capacity, size_t *count);

/* Every setting with its value and where it came from, one a line. As tutti_comm_explain otherwise. */
TUTTI_API tutti_status tutti_comm_settings(const tutti_comm *comm, char *text, size_t capacity, size_t *needed);

/* The path of this process's flight recorder file, "" when there is none. As tutti_comm_explain otherwise. */
TUTTI_API tutti_status tutti_recorder_path(char *text, size_t capacity, size_t *needed);

/* Where log lines go (level: 0 error, 1 warn, 2 info, 3 debug, 4 trace), instead of stderr or TUTTI_LOG_FILE. May be
   called from any thread of the library, one at a time; it must not call Tutti. NULL restores the default. */
typedef void (*tutti_log_hook)(int level, const char *area, const char *text, void *user);
TUTTI_API tutti_status tutti_set_log_hook(tutti_log_hook hook, void *user);

#ifdef __cplusplus
}
#endif

#include "elastic.h" /* Elastic communicators: agree, refresh, grow, join, leave */

#endif /* TUTTI_TUTTI_H */
