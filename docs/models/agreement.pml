/* The protocol of src/membership/agreement.h for the model checker spin: docs/membership.md explains it, docs/models/check
   runs it. What is left out can only make more happen here than there: who is suspected of silence does not matter, as
   any member may begin a round at any time; time does not exist; a value is the ballot that first brought it, so that no
   two rounds bring the same.

   -DMEMBERS=n        of the view
   -DROUNDS=..        two bits for each member: how many rounds it may begin
   -DMORTAL=..        one bit for each member: whether it may die
   -DCASTING=n        the member whose half may decide; 0 if not given
   -DUNFENCED         the mistake: messages of the dead are still taken

   Messages that could only be ignored are not kept, so that there are fewer states: what goes to members who have died or
   decided, answers to rounds that are over, what comes from the fenced. Who has decided does not answer either: it has
   told everybody when it decided, and links deliver in order.

   A message that is never received stands for one that a crash between two sends, or a cut, has swallowed: links
   deliver in order, each at its own pace. The invariant is checked whenever somebody decides: whoever decided otherwise
   before is known to be dead. So no two survivors decide differently, and no survivor is ever contradicted. */

#define ALL ((1 << MEMBERS) - 1)
#define BIT(i) (1 << (i))
#define LINK(from, to) net[(from) * MEMBERS + (to)]
#define COUNT(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1) + (((s) >> 4) & 1))
#ifndef CASTING
#define CASTING 0
#endif
#define IS_QUORUM(s, d) \
  (2 * COUNT(s) > MEMBERS || (2 * COUNT(s) == MEMBERS && ((s) & BIT(CASTING))) || ((s) | (d)) == ALL)

mtype = {prepare, promise, accept, accepted, decided};

/* kind, ballot, accepted ballot of a promise, value, whom the sender knows to be dead */
chan net[MEMBERS * MEMBERS] = [8] of {mtype, byte, byte, byte, byte};

byte alive = ALL;
byte decision[MEMBERS];  /* 0: none */
byte promised[MEMBERS];
byte ballot[MEMBERS];    /* of its own round; 0: none */

inline send(to, kind, b, a, v) {
  if
  :: (alive & BIT(to)) && !decision[to] &&
     !(kind == prepare && promised[to] >= b) && !(kind == accept && promised[to] > b) &&
     !((kind == promise || kind == accepted) && ballot[to] != b) ->
    assert(nfull(LINK(self, to))); LINK(self, to)!kind(b, a, v, dead)
  :: else
  fi
}

inline send_all(kind, b, v) {
  other = 0;
  do
  :: other < MEMBERS ->
    if
    :: other != self && !(dead & BIT(other)) -> send(other, kind, b, 0, v)
    :: else
    fi;
    other++
  :: else -> break
  od;
  other = 0
}

inline decide(v) {
  other = 0;
  do
  :: other < MEMBERS ->
    assert(decision[other] == 0 || decision[other] == v || (dead & BIT(other)));
    other++
  :: else -> break
  od;
  other = 0;
  decision[self] = v;
  phase = 0; ballot[self] = 0; round_dead = 0; answered = 0; latest = 0; value = 0;
  promised[self] = 0; accepted_in = 0; accepted_value = 0;
  send_all(decided, 0, decision[self])
}

inline propose() {
  if
  :: latest == 0 -> value = ballot[self]
  :: else
  fi;
  phase = 2;
  answered = BIT(self);
  accepted_in = ballot[self];
  accepted_value = value;
  send_all(accept, ballot[self], value)
}

inline count_answers() {
  if
  :: phase == 1 && IS_QUORUM(answered, round_dead) -> propose()
  :: else
  fi;
  if
  :: phase == 2 && IS_QUORUM(answered, round_dead) -> decide(value)
  :: else
  fi
}

inline begin_round() {
  rounds++;
  if
  :: self == 0 && promised[self] == 0 -> ballot[self] = 1
  :: else -> ballot[self] = promised[self] - promised[self] % MEMBERS + self + 1;
    if
    :: ballot[self] <= promised[self] -> ballot[self] = ballot[self] + MEMBERS
    :: else
    fi
  fi;
  phase = 1;
  round_dead = dead;
  answered = BIT(self);
  latest = accepted_in;
  value = accepted_value;
  promised[self] = ballot[self];
  if
  :: ballot[self] == 1 -> propose()
  :: else -> send_all(prepare, ballot[self], 0)
  fi;
  count_answers()
}

inline follow(b) {
  promised[self] = b;
  phase = 0; ballot[self] = 0; round_dead = 0; answered = 0; latest = 0; value = 0
}

inline handle() {
  if
  :: kind == prepare && b > promised[self] -> follow(b); send(from, promise, b, accepted_in, accepted_value)
  :: kind == accept && b >= promised[self] ->
    follow(b);
    accepted_in = b;
    accepted_value = v;
    send(from, accepted, b, 0, 0)
  :: kind == promise && phase == 1 && b == ballot[self] ->
    if
    :: a > latest -> latest = a; value = v
    :: else
    fi;
    answered = answered | BIT(from);
    count_answers()
  :: kind == accepted && phase == 2 && b == ballot[self] ->
    answered = answered | BIT(from);
    count_answers()
  :: kind == decided -> decide(v)
  :: else
  fi
}

/* Forgets what has come: from everybody or from the dead. */
inline drain(whose) {
  other = 0;
  do
  :: other < MEMBERS ->
    do
    :: (whose & BIT(other)) && len(LINK(other, self)) > 0 -> LINK(other, self)?kind(b, a, v, d)
    :: !(whose & BIT(other)) || len(LINK(other, self)) == 0 -> break
    od;
    other++
  :: else -> break
  od;
  other = 0
}

inline fence() {
#ifndef UNFENCED
  drain(dead)
#else
  skip
#endif
}

inline forget_message() { from = 0; kind = 0; b = 0; a = 0; v = 0; d = 0 }

inline receive(sender) {
  atomic {
    sender < MEMBERS && sender != self && nempty(LINK(sender, self)) ->
    from = sender;
    LINK(from, self)?kind(b, a, v, d);
    dead = dead | d;
    handle();
    if
    :: decision[self] -> drain(ALL)
    :: else -> fence()
    fi;
    forget_message()
  }
}

inline die() {
  alive = alive & ~BIT(self);
  drain(ALL);
  forget_message();
  dead = 0; promised[self] = 0; accepted_in = 0; accepted_value = 0;
  phase = 0; ballot[self] = 0; round_dead = 0; answered = 0; latest = 0; value = 0; rounds = 0
}

inline learn_of(victim) {
  atomic {
    victim < MEMBERS && !decision[self] && !(alive & BIT(victim)) && !(dead & BIT(victim)) ->
    dead = dead | BIT(victim);
    fence();
    forget_message()
  }
}

proctype Member(byte self) {
  byte dead, accepted_in, accepted_value;                        /* as everybody */
  byte rounds, phase, round_dead, answered, latest, value;         /* as a proposer; phase 0: no round */
  byte from, b, a, v, d, other;                                            /* 0 between steps */
  mtype kind;
end:
  do
  :: receive(0)
  :: receive(1)
  :: receive(2)
  :: receive(3)
  :: learn_of(0)
  :: learn_of(1)
  :: learn_of(2)
  :: learn_of(3)
  :: atomic {
       !decision[self] && rounds < ((ROUNDS >> (2 * self)) & 3) -> begin_round();
       if
       :: decision[self] -> drain(ALL); forget_message()
       :: else
       fi
     }
  :: atomic { (MORTAL & BIT(self)) && (alive & ~BIT(self)) -> die(); break }
  od
}

init {
  atomic {
    byte i = 0;
    do
    :: i < MEMBERS -> run Member(i); i++
    :: else -> break
    od
  }
}
