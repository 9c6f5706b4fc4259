/*
 * Who owns a guest: one record a domain, which Start, Adopt, Resume, a migration's commit and a person's Forget go by.
 *
 * Three hosts: a, where the guest runs at first, b, to which it migrates once, and c. On each host users start, suspend
 * and resume the guest, QEMUs die, and the agent's look (Keeper) claims a guest that it sees running and gives up one
 * that has gone. Each script is one step, and whatever stands between two scripts may be overtaken. The migration's own
 * decision is that of handover.pml: here only what it does to the record.
 *
 * exclusive  two hosts never execute the guest, unless a person's word was untrue, or Redis lost the record and the
 *            guest was claimed elsewhere before the agent of the host that had it looked again
 * kept       a release never takes the record from a host that has claimed it anew
 * void       a commit after the guest was given to another host comes to nothing
 *
 * Each guard, and each assumption, can be taken away with -D: the list is in README.md and check.sh.
 */

#ifndef STARTS
#define STARTS 1         /* Starts and Adopts */
#endif
#ifndef LOSSES
#define LOSSES 1         /* times Redis comes back with an older record, or none */
#endif
#ifndef FORGETS
#define FORGETS 1
#endif

mtype = { NOT, PAUSED, RUNS,                   /* a QEMU: not there, stopped, executes          */
          SENT, LOADING, LOADED,               /* postmigrate on a; on b incoming, and complete */
          START, KEEP, SEEN, DECIDED,          /* claims                                        */
          UNDECIDED, COMMITTED, ABORTED };

#define A 1
#define B 2
#define C 3
#define LOST 9
mtype q[4] = NOT;
mtype decision = UNDECIDED;                    /* of the one migration                          */
bool  may[4];                                  /* its claim was granted, cont comes next        */
byte  mEpoch, mLife;                           /* noted by register-begin                       */
bool  coming[4];                               /* being adopted: claimed, and not here yet      */
bool  sJob, dJob;                              /* the migration's jobs on a and b               */
bool  gone[4];                                 /* the host is gone for good, as a person said   */

/* ---- the record, in each life of Redis; only the newest answers, unless SPLIT ---- */
#define LIVES (LOSSES + 1)
byte  life = 0;
byte  own[LIVES], epoch[LIVES], under[LIVES];
byte  since[LIVES];                            /* when this epoch was given: a loss or two ago    */
byte  savedOwn, savedEpoch, savedUnder, savedSince;        /* what the next life will know                  */
mtype how[LIVES], savedHow;                    /* how it became its host's                         */
bool  doubt[LIVES], savedDoubt;                /* asserted for the migration, as Redis had lost it */
bool  unseen[4];                               /* since Redis lost it the host has not claimed  */
bool  excused;                                 /* what an assumption rules out has happened     */
byte  starts, losses, forgets;
bool  begun, anew;                             /* the guest was started on a since the migration began */
bool  stolen, late;                            /* what kept and void forbid                     */

#ifdef SPLIT
#define reach(k) if :: k = life :: k = 0 fi
#else
#define reach(k) k = life
#endif

#ifdef NO_SEEN
#define AGAINST_OLD false
#else
#define AGAINST_OLD(kind, k) (kind == SEEN && under[k] != k)
#endif
#ifdef TRUST_LOSS
#define EXCUSE_LOSS(h, kind) false
#else
#define ALIVE(x) (unseen[x] && (q[x] == RUNS || may[x] || (q[x] == LOADED && decision == COMMITTED)))
#define EXCUSE_LOSS(h, kind) (kind != SEEN && ((h != A && ALIVE(A)) || (h != B && ALIVE(B)) || (h != C && ALIVE(C))))
#endif

inline claim(h, kind, ok) {                    /* owner-claim.lua */
  reach(k);
#ifdef NO_SEEN
  if :: own[k] != 0 && own[k] != h && !(kind == DECIDED && own[k] == B && how[k] == COMMITTED) -> ok = false
#else
  if :: own[k] != 0 && own[k] != h && !(kind == SEEN && (under[k] != k || doubt[k])) && !(kind == DECIDED && own[k] == B && how[k] == COMMITTED) -> ok = false
#endif
     :: own[k] == h && doubt[k] && kind == START -> ok = false
  :: else -> ok = true;
     if :: EXCUSE_LOSS(h, kind) -> excused = true :: else -> skip fi;
     if :: begun && kind == START && h == A -> anew = true :: else -> skip fi;
     if
     :: own[k] == h && kind != START -> under[k] = k
     :: else -> own[k] = h; epoch[k]++; since[k] = losses; under[k] = k; how[k] = kind
     fi;
     doubt[k] = false
  fi;
  if :: (kind == SEEN || ok) && k == life -> unseen[h] = false :: else -> skip fi;
  k = 0
}

#define FREE(k) own[k] = 0; how[k] = 0; under[k] = k; doubt[k] = false

inline release(h, e, g, u) {                   /* owner-release.lua: if the record is as it was seen */
  reach(k);
  if
#ifdef NO_EPOCH
  :: own[k] == h -> if :: epoch[k] != e -> stolen = true :: else -> skip fi; FREE(k)
#else
#ifdef NO_SINCE
  :: own[k] == h && epoch[k] == e && under[k] == u -> if :: since[k] != g -> stolen = true :: else -> skip fi; FREE(k)
#elif defined(NO_UNDER)
  :: own[k] == h && epoch[k] == e && since[k] == g -> FREE(k)
#else
  :: own[k] == h && epoch[k] == e && since[k] == g && under[k] == u -> FREE(k)
#endif
#endif
  :: else -> skip
  fi;
  k = 0
}

/* owner-assert.lua: of a guest that was sent, where Redis has lost the record; one of this life that names nobody stays */
#define LOSTRECORD(k) (own[k] == 0 && (epoch[k] == 0 || under[k] != k))
inline assertOwner() {
  reach(k);
  if
  :: LOSTRECORD(k) -> own[k] = A; epoch[k]++; since[k] = losses; under[k] = k; doubt[k] = true; how[k] = KEEP
  :: else -> skip
  fi;
  k = 0
}

#define GIVE(h) own[life] = h; epoch[life]++; since[life] = losses; how[life] = DECIDED
inline settle(h) {                             /* owner-settle.lua: what was asserted becomes an ordinary record */
  if :: doubt[life] && own[life] != h -> GIVE(h) :: else -> skip fi;
  doubt[life] = false
}

/* ---- what users do on a host; a QEMU may die at any moment ---- */
#define ON(h)   (!excused && !gone[h])
#define BUSY(h) ((h == A && sJob) || (h == B && dJob))
bool  busy[4];                                 /* a user's job is under way: no migration       */

proctype User(byte h) {
  byte k;
end:
  do
  :: atomic { ON(h) && q[h] == NOT && !BUSY(h) && starts < STARTS -> starts++; q[h] = PAUSED; busy[h] = true };  /* Start */
     atomic { ON(h) -> claim(h, START, may[h]) };
     atomic { ON(h) -> if :: may[h] && q[h] == PAUSED -> q[h] = RUNS :: may[h] && q[h] != PAUSED -> skip
              :: !may[h] -> q[h] = NOT fi; may[h] = false; busy[h] = false }
  :: atomic { ON(h) && q[h] == NOT && !BUSY(h) && starts < STARTS -> starts++; busy[h] = true;   /* Adopt */
#ifndef NO_EXPECT
              coming[h] = true
#endif
     };
#ifdef ADOPT_KEEPS
     atomic { ON(h) -> claim(h, KEEP, may[h]) };
#else
     atomic { ON(h) -> claim(h, START, may[h]) };
#endif
     atomic { ON(h) -> if :: may[h] -> q[h] = RUNS :: else -> skip fi; coming[h] = false; may[h] = false; busy[h] = false }
  :: atomic { ON(h) && q[h] == PAUSED && !BUSY(h) -> busy[h] = true;                             /* Resume */
#ifdef NO_KEEP
              may[h] = true
#else
              claim(h, KEEP, may[h])
#endif
     };
     atomic { ON(h) -> if :: may[h] && q[h] == PAUSED -> q[h] = RUNS :: else -> skip fi; may[h] = false; busy[h] = false }
  :: atomic { ON(h) && q[h] == RUNS && !BUSY(h) -> q[h] = PAUSED }                               /* Suspend */
  :: atomic { ON(h) && q[h] != NOT -> q[h] = NOT }                                               /* it ends */
  od
}

/* ---- the source agent's look at its guests, on each host ---- */
#define HELD(h) (coming[h] || BUSY(h))

proctype Keeper(byte h) {
  byte host, e, g, u, k; bool ok, left;
end:
  do
#ifdef NO_LOOK_FIRST
  :: atomic { ON(h) && q[h] == NOT && !HELD(h) -> left = true };
     atomic { ON(h) -> reach(k); host = own[k]; e = epoch[k]; g = since[k]; u = under[k]; k = 0 };
#else
  :: atomic { ON(h) && own[life] == h && q[h] != RUNS -> reach(k); host = own[k]; e = epoch[k]; g = since[k]; u = under[k]; k = 0 };
     atomic { ON(h) -> left = (q[h] == NOT && !HELD(h)) };
#endif
     atomic { ON(h) -> if :: left && host == h -> release(h, e, g, u) :: else -> skip fi;
              left = false; host = 0; e = 0; g = 0; u = 0 }
#ifdef SLOW_CLAIM
  :: atomic { ON(h) && q[h] == RUNS -> ok = true };                             /* it was seen running */
     atomic { ON(h) -> claim(h, SEEN, ok); ok = false }
#else
  :: atomic { ON(h) && q[h] == RUNS -> claim(h, SEEN, ok); ok = false }         /* it is seen running  */
#endif
  :: atomic { h == B && ON(B) && dJob && q[B] == LOADED && LOSTRECORD(life) -> assertOwner() }
  od
}

/* ---- one migration from a to b ---- */
bool  promised, took, dOver;                   /* D's promise; D has passed its gate; D is done */

#ifdef NO_OWNER
#define MOVED(k) false
#elif defined(NO_OWNER_EPOCH)
#define MOVED(k) (epoch[k] != 0 && own[k] != A && own[k] != B)
#else
#define MOVED(k) (epoch[k] != 0 && !(own[k] == A && (epoch[k] == mEpoch || doubt[k] || EPOCH_UNKNOWN)) && own[k] != B)
#endif
#ifdef NO_BEGIN_CLAIM
#define EPOCH_UNKNOWN (mEpoch == 0)
#else
#define EPOCH_UNKNOWN false
#endif

proctype Source() {
  bool ok; byte k;
  atomic { ON(A) && q[A] == RUNS && !busy[A] -> sJob = true };
  atomic { ON(A) -> claim(A, SEEN, ok) };
  atomic { ON(A) ->
    if
    :: ok && q[A] == RUNS && q[B] == NOT && !busy[B] ->        /* register-begin.lua           */
       reach(k);
#ifndef NO_BEGIN_CLAIM
       if :: own[k] == 0 -> own[k] = A; epoch[k]++; since[k] = losses; under[k] = k; how[k] = KEEP :: else -> skip fi;
#endif
       mEpoch = epoch[k]; mLife = k; begun = true; k = 0; q[B] = LOADING; dJob = true
    :: else -> sJob = false; dOver = true; goto over
    fi
  };
  atomic { ON(A) ->
    if
    :: q[A] == RUNS && q[B] == LOADING -> q[A] = SENT; q[B] = LOADED
    :: q[B] == LOADING -> q[B] = NOT                                      /* failed                       */
    :: q[A] != RUNS || q[B] != LOADING -> q[B] = (q[B] == LOADING -> NOT : q[B])
    fi
  };
end:
  do
  :: atomic { ON(A) && q[A] == SENT && life == mLife -> decision = (decision == UNDECIDED -> ABORTED : decision);
              if :: decision == ABORTED -> goto back :: else -> q[A] = NOT; settle(B) fi; sJob = false; break }
  :: atomic { ON(A) && q[A] == SENT && took -> q[A] = NOT; settle(B); sJob = false; break }  /* D's own word */
  :: atomic { ON(A) && q[A] == SENT && !took && !gone[B] -> promised = true; goto back }
  :: atomic { ON(A) && q[A] != SENT -> sJob = false; break }           /* runs on, or has ended        */
  :: atomic { ON(A) && q[A] == SENT && LOSTRECORD(life) -> assertOwner() }
  od;
  goto over;
back:                                                                  /* claimed before `cont`        */
#ifdef NO_SENT_CLAIM
  atomic { ON(A) -> may[A] = true };
#else
  atomic { ON(A) -> claim(A, DECIDED, may[A]) };
#endif
  atomic { ON(A) -> if :: may[A] && q[A] == SENT -> q[A] = RUNS
                    :: !may[A] && q[A] == SENT -> q[A] = NOT           /* started elsewhere: it is ended */
                    :: else -> skip fi; may[A] = false; sJob = false };
over:
  skip
}

proctype Destination() {
  mtype got = UNDECIDED; byte k, e;
end:
  if
  :: atomic { ON(B) && dJob && q[B] == LOADED -> reach(k);             /* register-commit.lua          */
       if
       :: k == mLife && decision == UNDECIDED && !MOVED(k) ->
          if :: own[k] == C || (own[k] == A && anew) -> late = true :: else -> skip fi;
          decision = COMMITTED; unseen[B] = false; doubt[k] = false; how[k] = COMMITTED; own[k] = B; epoch[k]++; since[k] = losses; under[k] = k; e = epoch[k]
       :: k == mLife && decision == UNDECIDED && MOVED(k) -> decision = ABORTED
       :: else -> skip
       fi;
       got = (k == mLife -> decision : UNDECIDED); k = 0 }
  :: atomic { ON(B) && dJob && q[B] != LOADING -> got = ABORTED;       /* never tries                  */
       if :: life == mLife && decision == UNDECIDED -> decision = ABORTED :: else -> skip fi }
  :: atomic { dOver -> goto over }
  fi;
  if
  :: atomic { ON(B) && got == COMMITTED && !promised -> took = true;   /* the gate                     */
              if :: q[B] == LOADED -> q[B] = RUNS :: else -> skip fi }
  :: atomic { ON(B) && (promised || got != COMMITTED) -> q[B] = (q[B] == LOADED -> NOT : q[B]) };
#ifndef NO_GIVE_BACK
     atomic { ON(B) -> reach(k);                                       /* register-give-back.lua        */
              if
              :: got == COMMITTED && own[k] == B && epoch[k] == e -> doubt[k] = false; how[k] = DECIDED; own[k] = A; epoch[k]++; since[k] = losses; unseen[A] = false
              :: else -> skip
              fi; k = 0 }
#endif
  fi;
  atomic { if :: took -> settle(B) :: else -> settle(A) fi; dJob = false; got = UNDECIDED; e = 0 };
over:
  skip
}

#define EXECUTED ((q[A] == RUNS) + (q[B] == RUNS) + (q[C] == RUNS))
#define NOWHERE  (EXECUTED == 0 && !may[A] && !may[B] && !may[C])

/* ---- a person says that a host is gone for good ---- */
proctype Person() {
  byte host, e, g, u, k;
end:
  do
  :: atomic { !excused && forgets < FORGETS && own[life] != 0 -> forgets++; host = own[life]; e = epoch[life]; g = since[life]; u = under[life] };
     atomic { !excused ->
              if
              :: q[host] == NOT && NOWHERE -> gone[host] = true                /* and the guest runs nowhere   */
              :: else ->
#ifndef UNTRUE_WORD
                 excused = true
#else
                 skip
#endif
              fi;
              release(host, e, g, u); host = 0; e = 0; g = 0; u = 0 }
  od
}

proctype Redis() {
end:
  do
  :: atomic { !excused && losses < LOSSES && savedEpoch != epoch[life] ->
              savedOwn = own[life]; savedEpoch = epoch[life]; savedUnder = under[life]; savedSince = since[life]; savedDoubt = doubt[life]; savedHow = how[life] }
  :: atomic { !excused && losses < LOSSES -> losses++;
              unseen[A] = true; unseen[B] = true; unseen[C] = true;
              if
              :: life++; own[life] = savedOwn; epoch[life] = savedEpoch; under[life] = savedUnder; since[life] = savedSince; doubt[life] = savedDoubt; how[life] = savedHow
              :: own[life] = 0; epoch[life] = 0; since[life] = 0; doubt[life] = false; how[life] = 0;                /* flushed: the same life */
                 mLife = (mLife == life -> LOST : mLife)                         /* the register's record too */
              fi }
  od
}

init {
  atomic {
    q[A] = RUNS; own[0] = A; epoch[0] = 1;
    run User(A); run User(B); run User(C); run Keeper(A); run Keeper(B); run Keeper(C);
    run Source(); run Destination(); run Person(); run Redis()
  }
}

/* ---- what must hold ---- */
#define exclusive  (excused || EXECUTED < 2)
#define kept       (!stolen)
#define nothing     (!late)

/* A broken rule is found by its name in the assertion. */
bool not_exclusive, not_kept, not_nothing;

active proctype Watch() {
end:
  do
  :: atomic { !exclusive -> not_exclusive = true; assert(!not_exclusive) }
  :: atomic { !kept -> not_kept = true; assert(!not_kept) }
  :: atomic { !nothing -> not_nothing = true; assert(!not_nothing) }
  od
}
