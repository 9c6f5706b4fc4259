/*
 * Post-copy's vote, which Ferry does not have yet: once QEMU says postcopy-active the guest's memory is in two places,
 * and neither copy is whole until the rest has flowed. Beside handover.pml, with the register as it is there but in one
 * life of it: what a lost register adds is the same.
 *
 * exclusive  Qs and Qd never both execute the guest
 * whole      the agents never end a copy that the guest still needs
 * settled    when both agents are done the guest runs, unless a QEMU has died by itself
 *
 *   RESUMES  the source takes its guest back because the pages do not flow any more, as it may in pre-copy before its vote
 *   DROPS    the destination drops its copy although the source has voted, as it may in pre-copy
 *   EARLY    the source ends its copy when it hears of the commit, as in pre-copy, and not when all has flowed
 */

#ifndef DEATHS
#define DEATHS 1
#endif

mtype = { PRECOPY, POSTCOPY, COMPLETED,        /* what QEMU says of the migration               */
          RUNNING, STOPPED, DEAD,
          UNDECIDED, COMMITTED, ABORTED };

mtype migration = PRECOPY;
mtype qs = RUNNING, qd = STOPPED;
mtype decision = UNDECIDED;                    /* in R                                          */
bool  vote;                                    /* in R, or in the cookie: QEMU has said postcopy-active */
bool  sDone, dDone, fault, broke;
byte  deaths;

active proctype Transfer() {
end:
  do
  :: atomic { migration == PRECOPY && qs == RUNNING && qd == STOPPED && decision == UNDECIDED -> migration = POSTCOPY; qs = STOPPED }
  :: atomic { migration == POSTCOPY && qs == STOPPED && qd == RUNNING -> migration = COMPLETED }
  od
}

/* An agent keeps nothing in mind: what it goes by it asks QEMU and R, so that a crash changes nothing. */
active proctype Source() {
end:
  do
  :: atomic { !sDone && migration == PRECOPY && qs == RUNNING && decision == UNDECIDED ->
              decision = ABORTED; sDone = true }                                /* cancelled: it runs on */
  :: atomic { !sDone && migration == PRECOPY && decision == ABORTED -> sDone = true }
  :: atomic { !sDone && migration != PRECOPY && !vote && qs != DEAD -> vote = true } /* durable before the flow */
#ifdef RESUMES
  :: atomic { !sDone && migration == POSTCOPY && qs == STOPPED -> qs = RUNNING; sDone = true }
#endif
#ifdef EARLY
  :: atomic { !sDone && decision == COMMITTED && qs == STOPPED ->
              if :: migration == POSTCOPY -> broke = true :: else -> skip fi; qs = DEAD; sDone = true }
#else
  :: atomic { !sDone && decision == COMMITTED && migration == COMPLETED && qs == STOPPED -> qs = DEAD; sDone = true }
#endif
  :: atomic { !sDone && qs == DEAD -> sDone = true }                            /* the guest is lost with it */
  od
}

active proctype Destination() {
end:
  do
  :: atomic { !dDone && vote && qd == STOPPED && decision == UNDECIDED -> decision = COMMITTED }     /* Finish */
  :: atomic { !dDone && decision == COMMITTED && qd == STOPPED -> qd = RUNNING }
  :: atomic { !dDone && decision == COMMITTED && qd == RUNNING && migration == COMPLETED -> dDone = true }
  :: atomic { !dDone && decision == ABORTED && qd == STOPPED -> qd = DEAD; dDone = true }
#ifdef DROPS
  :: atomic { !dDone && decision == UNDECIDED && qd == STOPPED ->
              if :: migration != PRECOPY -> broke = true :: else -> skip fi;
              decision = ABORTED; qd = DEAD; dDone = true }
#else
  :: atomic { !dDone && decision == UNDECIDED && qd == STOPPED && migration == PRECOPY ->
              decision = ABORTED; qd = DEAD; dDone = true }                     /* gives up; the source runs */
#endif
  :: atomic { !dDone && qd == DEAD -> dDone = true }
  od
}

active proctype Faults() {
end:
  do
  :: atomic { deaths < DEATHS && qs != DEAD && !sDone -> deaths++; qs = DEAD; fault = true }
  :: atomic { deaths < DEATHS && qd != DEAD && !dDone -> deaths++; qd = DEAD; fault = true }
  od
}

#define exclusive (!(qs == RUNNING && qd == RUNNING))
#define whole     (!broke)
#define settled   (!(sDone && dDone) || fault || (qs == RUNNING) != (qd == RUNNING))

/* A broken rule is found by its name in the assertion. */
bool not_exclusive, not_whole, not_settled;

active proctype Watch() {
end:
  do
  :: atomic { !exclusive -> not_exclusive = true; assert(!not_exclusive) }
  :: atomic { !whole -> not_whole = true; assert(!not_whole) }
  :: atomic { !settled -> not_settled = true; assert(!not_settled) }
  od
}
