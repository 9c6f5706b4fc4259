/*
 * What lies around the decision of handover.pml: an id that was used before, an id that is prepared at two destinations
 * (version 2), QEMUs that end between the vote and the start, a source's host that reboots, and guests that did not run when they were sent.
 *
 * Host 0 has the guest, 1 and 2 may become its destination. The register is that of handover.pml in one incarnation, which
 * may be lost once; agents do not crash, but that the source's host may reboot once the guest was sent. What more incarnations and crashes add is searched there.
 *
 * exclusive  at most one copy executes, or is given to its user as it is
 * survivor   no agent ends a whole copy while no other one is whole, unless its guest had gone on elsewhere
 * fresh      no copy executes the guest that is older than one which has executed it since
 * state      a guest that did not run at its STOP is not started by an agent
 *
 * Each guard can be taken away with -D: the list is in README.md and check.sh.
 */

#ifndef LOSSES
#define LOSSES 1         /* times R comes back without what it knew */
#endif
#ifndef DEATHS
#define DEATHS 1         /* QEMUs that die by themselves */
#endif

mtype = { NOT, RUNS, HALTED,                   /* a QEMU: none, executes, here and does not execute */
          SENT, LOADING, WHOLE, GONE,          /* postmigrate; incoming; complete; died by itself   */
          NONE, COMMITTED, ABORTED, CHANGED, LOST };

#define OLD 1                                  /* the run of the id before this one             */
#define NOW 2
mtype q[3] = NOT;
bool  v2, ran = true, ranAtBegin = true;       /* protocol; whether the guest ran at its STOP   */
byte  target, peer;                            /* where the memory goes; whom S asks            */
bool  pledged[3], took[3], dDone[3], dDropped[3]; /* D's pledge; D is past its gate; D is done */
bool  sDone, sReleased, bound;                 /* S ends, or has no copy; it has bound R to D's */
bool  lived[3];                                /* the guest has gone on there                   */
bool  unsure, voteGiven, seen[3];              /* S's host has rebooted before its journal said that it voted; it has; D has the vote */
bool  stale;                                   /* a copy goes on that is older                  */
bool  lost, tooLate, oldCommit, oldAbort;
byte  losses, deaths;

/* ---- R: the record of this id ---- */
bool  record; byte nonce, dest; bool vote, binding, changed;
mtype decision = NONE;

#ifdef NO_NONCE
#define MINE(n) (record && !changed)
#else
#define MINE(n) (record && !changed && nonce == n)
#endif
#ifdef NO_ONE_DEST
#define FOR_ME(i) true
#else
#define FOR_ME(i) (dest == i)
#endif

inline begin(ok) {
  if
#ifdef NO_NONCE
  :: record -> ok = true
#else
  :: record && (vote || decision != NONE) -> ok = false                 /* of another run               */
  :: record && !vote && decision == NONE -> nonce = NOW; dest = 0; ok = true
#endif
  :: !record -> record = true; nonce = NOW; dest = 0; ok = true
  fi
}

inline commit(n, h, sent, answer) {
  if
  :: !MINE(n) -> answer = CHANGED
  :: MINE(n) && (!FOR_ME(h) || (!vote && !sent)) -> answer = LOST    /* refused                      */
  :: else -> vote = true; decision = (decision == NONE -> COMMITTED : decision); answer = decision
  fi
}

#ifdef NO_BIND_COMMITS
#define WISH ABORTED
#else
#define WISH (binding -> COMMITTED : ABORTED)
#endif
inline abort(n, answer) {
  if
  :: !MINE(n) -> answer = CHANGED
  :: else ->
     if                                        /* Qs lives, or S has not noticed: its death counts as one after the abort */
     :: decision == NONE && !bound && !unsure -> tooLate = true
     :: else -> skip
     fi;
     decision = (decision == NONE -> WISH : decision); answer = decision
  fi
}

inline bind(n) {                               /* records the vote too: R may have none yet, in version 3 */
  if
  :: MINE(n) && decision != ABORTED -> vote = true; binding = true; bound = true
  :: else -> skip
  fi
}

inline withdraw(n, answer) {
  if
  :: MINE(n) && decision == COMMITTED && !binding -> decision = ABORTED; answer = ABORTED
  :: else -> abort(n, answer)
  fi
}

/* ---- an agent ends a copy ---- */
#define WHOLE_AT(x) (q[x] == RUNS || q[x] == HALTED || q[x] == WHOLE || q[x] == SENT || lived[x])
inline drop(x) {
  if
  :: (q[x] == SENT || q[x] == WHOLE) && !(x != 0 && WHOLE_AT(0)) && !(x != 1 && WHOLE_AT(1)) && !(x != 2 && WHOLE_AT(2)) && !tooLate ->
     lost = true
  :: else -> skip
  fi;
  q[x] = NOT
}

inline give(x) {                               /* the guest is as it was at its STOP            */
#ifdef NO_RUN_STATE
  q[x] = (ranAtBegin -> RUNS : HALTED);
#else
  q[x] = (ran -> RUNS : HALTED);
#endif
  if :: x != 0 && lived[0] -> stale = true :: else -> skip fi;
  lived[x] = true
}

inline prepare(h) {
  if
#ifndef NO_ONE_DEST
  :: record && !changed && dest != 0 && dest != h -> skip               /* refused: the record has one  */
#endif
  :: record && !changed && q[h] == NOT -> q[h] = LOADING; dest = h; peer = h
  :: else -> skip
  fi
}

/* What D answers S: a pledge binds it. */
inline askD(i, answer) {
  if
#ifdef NO_DEAD_WITHDRAW
  :: dDone[i] && !dDropped[i] -> answer = COMMITTED
#else
  :: lived[i] -> answer = COMMITTED
#endif
  :: dDropped[i] -> answer = ABORTED
  :: took[i] && !dDropped[i] && !lived[i] && !dDone[i] -> answer = LOST /* about to start, or to withdraw */
  :: else -> pledged[i] = true; answer = ABORTED
  fi
}

active proctype Source() {
  mtype a = NONE; bool ok;
  atomic {
    q[0] = RUNS;
    if :: v2 = true :: skip fi;
    if                                         /* what an earlier run of this id has left       */
    :: skip
    :: record = true; nonce = OLD; vote = true; decision = COMMITTED; dest = 1
    :: record = true; nonce = OLD; decision = ABORTED; dest = 1
    :: record = true; nonce = OLD; dest = 1
    fi;
    if :: oldCommit = true :: oldAbort = true :: skip fi;
    if :: ranAtBegin = false; ran = false; q[0] = HALTED :: skip fi;
    begin(ok);
    if :: !ok -> sDone = true; goto over :: else -> skip fi
  };
  atomic { prepare(1) };
  atomic { if :: v2 -> prepare(2) :: skip fi };
  atomic {                                     /* the URI leads to one that waits               */
    if
    :: q[1] == LOADING -> target = 1
    :: q[2] == LOADING -> target = 2
    :: sDone = true; goto over                 /* cancelled, or failed: it runs on              */
    fi;
    if :: q[0] == RUNS -> ran = false :: skip fi;                       /* it shut down while its memory flowed */
    q[0] = SENT; q[target] = WHOLE;
#ifndef NO_ONE_DEST
    peer = target                              /* readiness: the agent asked holds that QEMU    */
#endif
  };
  if
  :: atomic { deaths < DEATHS && q[0] == SENT -> deaths++; q[0] = GONE; unsure = true;   /* its host reboots          */
       if :: skip :: lived[0] = true fi }                               /* QEMU failed late, and it ran on (P104) */
  :: atomic { v2 && MINE(NOW) -> vote = true; voteGiven = true }
  :: atomic { v2 && !MINE(NOW) -> if :: q[0] == SENT -> give(0) :: else -> skip fi; sDone = true; goto over }
  :: atomic { !v2 -> voteGiven = true }
  fi;
end:
  do
  :: atomic { !sDone && q[0] == SENT -> abort(NOW, a);
       if
       :: a == COMMITTED -> binding = true;
          if :: q[target] == GONE && !dDone[target] -> tooLate = true :: else -> skip fi;
          sReleased = true; drop(0); sDone = true
       :: a == ABORTED -> give(0); sDone = true
       :: else -> askD(peer, a);
          if
          :: a == COMMITTED -> sReleased = true; drop(0); sDone = true
          :: a == ABORTED -> give(0); sDone = true
          :: else -> skip
          fi
       fi; a = NONE }
#ifdef NO_UNSURE
  :: atomic { !sDone && q[0] == GONE && unsure -> abort(NOW, a); sReleased = (a == COMMITTED); a = NONE; sDone = true }
#else
  :: atomic { !sDone && q[0] == GONE && unsure ->                       /* what R does not know D may   */
       if
       :: MINE(NOW) && vote && decision == NONE -> unsure = false
       :: MINE(NOW) && decision != NONE -> sReleased = (decision == COMMITTED); sDone = true
       :: lived[peer] -> sReleased = true; sDone = true
       :: dDropped[peer] -> sDone = true
       :: else -> skip                                                  /* in doubt                     */
       fi }
#endif
  :: atomic { !sDone && q[0] == GONE && !unsure -> bind(NOW); sReleased = (bound || !MINE(NOW)); sDone = true }
  :: atomic { sDone -> break }
  od;
over:
  skip
}

proctype Destination(byte i) {
  mtype a = NONE; bool tried;
end:
  do
  :: atomic { !dDone[i] && q[i] == WHOLE && !tried && voteGiven ->      /* Finish                       */
       tried = true; seen[i] = !v2; commit(NOW, i, !v2, a) }; goto gate
#ifdef NO_ASK
  :: atomic { !dDone[i] && q[i] == WHOLE && !tried -> dDropped[i] = true; drop(i); dDone[i] = true }
#else
  :: atomic { !dDone[i] && q[i] == WHOLE && !pledged[i] && (!unsure || sDone) ->       /* idle, or cancelled */
       abort(NOW, a) }; goto gate
#endif
#ifdef NO_SEEN_VOTE
  :: atomic { !dDone[i] && q[i] == WHOLE && unsure && i == target -> give(i); dDone[i] = true }
#else
  :: atomic { !dDone[i] && q[i] == WHOLE && unsure && seen[i] -> give(i); dDone[i] = true }  /* S's copy has ended, and it had voted */
#endif
  :: atomic { !dDone[i] && q[i] == WHOLE && (pledged[i] || !MINE(NOW)) ->  /* S has decided for good, or says nothing */
       if
       :: sReleased -> give(i); dDone[i] = true
       :: lived[0] && sDone -> dDropped[i] = true; drop(i); dDone[i] = true
       :: else -> skip
       fi }
  :: atomic { !dDone[i] && q[i] == LOADING -> q[i] = NOT; dDropped[i] = true; dDone[i] = true }
  od;
gate:
  atomic {
    if
    :: a == COMMITTED && !pledged[i] && q[i] == WHOLE -> a = NONE; took[i] = true
    :: a == ABORTED && q[i] == WHOLE -> a = NONE; dDropped[i] = true; drop(i); dDone[i] = true; goto end
    :: else -> a = NONE; goto end
    fi
  };
  if
  :: atomic { q[i] == WHOLE -> give(i); dDone[i] = true }               /* cont                         */
  :: atomic { deaths < DEATHS && q[i] == WHOLE -> deaths++; q[i] = GONE };  /* it dies first: known not sent */
#ifdef NO_DEAD_WITHDRAW
     atomic { dDone[i] = true }
#else
     atomic { withdraw(NOW, a); dDropped[i] = (a != COMMITTED); dDone[i] = true; a = NONE }
#endif
  fi;
  goto end
}

active proctype Faults() {
  mtype a;
end:
  do
  :: atomic { deaths < DEATHS && q[0] == SENT -> deaths++; q[0] = GONE }
  :: atomic { deaths < DEATHS && q[0] == SENT && voteGiven -> deaths++; q[0] = GONE; unsure = true }   /* with its host */
  :: atomic { losses < LOSSES && record -> losses++; changed = true }
  :: atomic { oldCommit -> oldCommit = false; commit(OLD, 1, true, a); a = NONE }
  :: atomic { oldAbort -> oldAbort = false; abort(OLD, a); a = NONE }
  od
}

init { atomic { run Destination(1); run Destination(2) } }

/* ---- what must hold ---- */
#define HERE(x)    (q[x] == RUNS || q[x] == HALTED)
#define exclusive  (HERE(0) + HERE(1) + HERE(2) < 2)
#define survivor   (!lost)
#define fresh      (!stale)
#define state      (ran || !(q[0] == RUNS || q[1] == RUNS || q[2] == RUNS))

/* A broken rule is found by its name in the assertion. */
bool not_exclusive, not_survivor, not_fresh, not_state;

active proctype Watch() {
end:
  do
  :: atomic { !exclusive -> not_exclusive = true; assert(!not_exclusive) }
  :: atomic { !survivor -> not_survivor = true; assert(!not_survivor) }
  :: atomic { !fresh -> not_fresh = true; assert(!not_fresh) }
  :: atomic { !state -> not_state = true; assert(!not_state) }
  od
}
