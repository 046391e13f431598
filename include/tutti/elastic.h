/*
 * Tutti: elastic communicators, which outlive their members. A part of tutti.h, which includes it; its rules hold here.
 */
#ifndef TUTTI_ELASTIC_H
#define TUTTI_ELASTIC_H

#include "tutti.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Elastic communicators ----------------------------------------------------------------------------------------
 * With the setting TUTTI_ELASTIC=on or step (on every rank) a communicator outlives its members.
 *   One outcome.  With on, every collective ends the same way on all members that survive: either all of them have the
 *             complete result, over every member that the communicator had when it was called, or all get the same
 *             error, the same sentence naming the same culprit, and every input is as it was, in place too (an output
 *             that is not the input is undefined then). So an operation is complete only once it is so on every rank:
 *             it costs about the latency of a small message more, and in place a copy of the input.
 *   One outcome a step.  With step, a collective is complete as soon as this rank's part is, and costs no more than on
 *             any communicator; its result is certain only when tutti_comm_agree, at the end of a step, says so for all
 *             since the last: on all survivors or on none. If not, what they wrote is undefined, in place too, and the
 *             caller does the step again from a copy of its own.
 *   Recovery. After that the communicator is wrong, as any other would be. tutti_comm_refresh, called by every survivor
 *             whenever it sees the error, makes it work again: without those who are lost, with those who wait to
 *             join.
 *   Who decides.  The members themselves: more than half of them, or half with rank 0 among them, or all that are not
 *             known to have ended (on one host the last of eight may go on alone). Those who are fewer, cut off from
 *             the others, stop with an error that says so (docs/membership.md). Nothing waits for longer than its
 *             deadline plus twice TUTTI_HEARTBEAT_TIMEOUT.
 *             TUTTI_ELASTIC_MINIMUM makes fewer than so many stop in any case.
 *   Slots.    Ranks are always 0 to size - 1, so that collectives have no holes, and change with the members. What does
 *             not change for as long as a member is one is its slot, for its share of the data, say: its rank at first;
 *             who joins gets the lowest that is free. With TUTTI_ELASTIC_SLOTS=on ranks follow slots.
 *   Sends and receives that had not ended by then end with the error, without a common outcome.
 */

typedef struct tutti_refresh_options {
  size_t size;               /* sizeof(tutti_refresh_options) */
  int64_t timeout_ns;        /* 0 = TUTTI_CONNECT_TIMEOUT, negative = no limit */
  int admit;                 /* not 0: those who wait in tutti_comm_join become members */
  int members_max;           /* not 0: only while there are fewer members than this */
  struct tutti_state *state; /* not NULL, on every rank: synchronized (Shared state, below) before it returns */
  const struct tutti_state_options *state_options; /* for that; NULL = defaults */
} tutti_refresh_options;
#define TUTTI_REFRESH_OPTIONS_INIT {sizeof(tutti_refresh_options), 0, 1, 0, NULL, NULL}

/* Collective over the survivors, in no order with anything else: whoever calls it first ends the pending operations of
   all with TUTTI_ABORTED. Returns when a communicator of all that are left works: `comm` is that one from then on, with
   its name and settings; ranks are closed up in their old order, joiners come last. Members that are lost meanwhile are
   left out. No other call on `comm` may run at the same time on this rank; requests made before stay valid to wait for.
   With a state, who has joined calls tutti_state_synchronize after tutti_comm_join; if members are lost meanwhile, it
   is refreshed once more, and only what is still missing is sent. `comm` works also where the synchronization alone
   fails (INVALID, as there).
   INVALID: not elastic. TIMEOUT: names the survivors that have not called it; it may be called again. PEER_LOST: the
   others go on without this rank, or too few members are left to decide; destroy `comm` (tutti_comm_join may get this
   process back in). `options` may be NULL. */
TUTTI_API tutti_status tutti_comm_refresh(tutti_comm *comm, const tutti_refresh_options *options);

/* A verdict on all collectives since the last one (with TUTTI_ELASTIC=on, where each has its own, it is a barrier).
   Ordered among the operations; call and request are theirs. TUTTI_OK, on all survivors or on none: all collectives
   that were called before it are complete on all of them, over every member that there was, and so are the sends and
   receives that were waited for. What they have computed is certain then, also an all-reduce of votes on whether the
   step is worth keeping. Otherwise all survivors get the same error, which names the culprit: tutti_comm_refresh, then
   the step again. Costs about a small all-reduce. INVALID: not elastic. Otherwise errors as of an operation. */
TUTTI_API tutti_status tutti_comm_agree(tutti_comm *comm, const tutti_call *call, tutti_request **request);

/* Ends all pending operations on all ranks with TUTTI_ABORTED, uniformly, so that they call tutti_comm_refresh: after
   an error that only this rank saw, say. Never blocks. INVALID: not elastic. `reason` may be NULL. */
TUTTI_API tutti_status tutti_comm_revoke(tutti_comm *comm, const char *reason);

/* tutti_comm_refresh that lets nobody in. */
TUTTI_API tutti_status tutti_comm_shrink(tutti_comm *comm, const tutti_refresh_options *options);

/* Lets in those who wait, without ending anything. Called by every member, ordered among the operations, as
   tutti_comm_agree, which it begins with. If nobody waits, or there is no room, nothing changes. `admit` is not read;
   `state` only where the members change.
   Errors as of tutti_comm_agree (then refresh) and tutti_comm_refresh; PEER_LOST or TIMEOUT on all, with nothing
   changed, where rank 0 could not ask the store. */
TUTTI_API tutti_status tutti_comm_grow(tutti_comm *comm, const tutti_refresh_options *options);

/* This rank goes, properly: waits until its operations are complete, says so, and frees this rank's end as
   tutti_comm_destroy does. For the others the first collective that it has not completed ends with TUTTI_ABORTED,
   uniformly: "rank 3 ... leaves the communicator". They refresh and go on; nobody has lost it. It may join again.
   With TUTTI_ELASTIC=step it leaves after an agree, or their step has to be done again. timeout_ns: 0 = TUTTI_TIMEOUT,
   negative = no limit. INVALID: not elastic. TIMEOUT: operations are pending; it has not left. */
TUTTI_API tutti_status tutti_comm_leave(tutti_comm *comm, int64_t timeout_ns);

/* Becomes a member of an elastic communicator that exists already, at its members' next refresh. `store` is the address
   at which they met (NULL: TUTTI_STORE), options->name its name; TUTTI_JOB, TUTTI_SECRET and the settings must be
   theirs. INVALID; TIMEOUT: nobody let it in; PEER_LOST: the store could not be reached. */
TUTTI_API tutti_status tutti_comm_join(tutti_comm **comm, const char *store, const tutti_comm_options *options);

/* How many processes wait to join, as the store knows: asks it (no other rank). 0 for communicators made from a
   tutti_unique_id, which nobody can join. */
TUTTI_API tutti_status tutti_comm_waiting(tutti_comm *comm, int *count);

/* The slot of a rank. INVALID: NULL, or no rank. */
TUTTI_API tutti_status tutti_comm_slot(const tutti_comm *comm, int rank, int *slot);

/* Which slots are taken: *count gets the number of slots, empty ones included; ranks[s], for s < capacity, the rank
   that has slot s, -1 if nobody has. INVALID: NULL. */
TUTTI_API tutti_status tutti_comm_slots(const tutti_comm *comm, int ranks[], int capacity, int *count);

/* How many times the members have changed; 0 at first. The same on all of them. */
TUTTI_API tutti_status tutti_comm_epoch(const tutti_comm *comm, uint64_t *epoch);

#ifdef __cplusplus
}
#endif

#endif /* TUTTI_ELASTIC_H */
