/** The phases of libvirt's migration protocol, by the names libvirt's status XML gives them. */
export type Phase =
  | 'perform2'
  | 'perform2-done'
  | 'begin3'
  | 'perform3'
  | 'perform3-done'
  | 'confirm3-cancelled'
  | 'confirm3'
  | 'prepare'
  | 'finish2'
  | 'finish3';

export type Side = 'source' | 'dest';

/**
 * What an agent does with a job that it finds in a phase with nobody executing it: after an exception, a lost lease, a lost
 * peer, or its own restart.
 */
export type Recovery =
  /** Nothing has happened to the guest yet. */
  | 'forget'
  /** Stop QEMU's migration; if QEMU nevertheless completed it, go on as `ask-decision`; else the guest runs on here. */
  | 'cancel-and-resume'
  /** The guest is stopped for good until the register has decided: abort (resume) or committed (end this copy). */
  | 'ask-decision'
  /** The decision is known: the guest runs here. */
  | 'resume-source'
  /** The decision is known: the guest runs there. */
  | 'destroy-source'
  /** Nothing runs here yet: abort in the register, then end the waiting QEMU. */
  | 'destroy-incoming'
  /** A QEMU that runs is committed; one that does not asks the register. */
  | 'keep-if-running';

export interface PhaseRule {
  readonly side: Side;
  readonly protocols: readonly (2 | 3)[];
  /** The phases it may follow; none: it opens the job. */
  readonly after: readonly Phase[];
  readonly recovery: Recovery;
}

/** The protocol as data. Phases, recovery and the diagram in docs/protocol.md all follow it. */
export const phases: Readonly<Record<Phase, PhaseRule>> = {
  // Source: holds MIGRATION_OUT from begin3 (v2: perform2) to confirm3.
  begin3: { side: 'source', protocols: [3], after: [], recovery: 'forget' },
  perform3: { side: 'source', protocols: [3], after: ['begin3'], recovery: 'cancel-and-resume' },
  'perform3-done': { side: 'source', protocols: [3], after: ['perform3'], recovery: 'ask-decision' },
  perform2: { side: 'source', protocols: [2], after: [], recovery: 'cancel-and-resume' },
  'perform2-done': { side: 'source', protocols: [2], after: ['perform2'], recovery: 'ask-decision' },
  confirm3: {
    side: 'source',
    protocols: [2, 3],
    after: ['perform3-done', 'perform2-done'],
    recovery: 'destroy-source',
  },
  'confirm3-cancelled': {
    side: 'source',
    protocols: [2, 3],
    after: ['begin3', 'perform3', 'perform3-done', 'perform2', 'perform2-done'],
    recovery: 'resume-source',
  },
  // Destination: holds MIGRATION_IN from prepare to finish.
  prepare: { side: 'dest', protocols: [2, 3], after: [], recovery: 'destroy-incoming' },
  finish3: { side: 'dest', protocols: [3], after: ['prepare'], recovery: 'keep-if-running' },
  finish2: { side: 'dest', protocols: [2], after: ['prepare'], recovery: 'keep-if-running' },
};

/** A job that is in no phase yet was taken by the call that opens it, and nothing else has been done. */
const beforeFirst: Readonly<Record<Side, Recovery>> = { source: 'forget', dest: 'destroy-incoming' };

/** What a side does with a job found in a phase; in none, if its first was never recorded. */
export function recoveryOf(side: Side, phase: Phase | undefined): Recovery {
  if (phase === undefined) return beforeFirst[side];
  if (phases[phase].side !== side) throw new Error(`phase ${phase} is not the ${side}'s`);
  return phases[phase].recovery;
}

/** The phase whose call takes a side's job. */
export function openingPhase(side: Side, protocol: 2 | 3): Phase {
  const opens = ({ side: its, protocols, after }: PhaseRule): boolean =>
    its === side && protocols.includes(protocol) && after.length === 0;
  const opening = Object.keys(phases)
    .filter(isPhase)
    .find((phase) => opens(phases[phase]));
  if (opening === undefined) throw new Error(`no phase opens the ${side}'s job in version ${protocol}`);
  return opening;
}

/** A phase's number on the wire (proto/ferry/v1/migration.proto); libvirt's own, and 10 for ours. */
export const phaseNumber: Readonly<Record<Phase, 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10>> = {
  perform2: 1,
  begin3: 2,
  perform3: 3,
  'perform3-done': 4,
  'confirm3-cancelled': 5,
  confirm3: 6,
  prepare: 7,
  finish2: 8,
  finish3: 9,
  'perform2-done': 10,
};

/** Whether a word, from a job's record say, is a phase. */
export const isPhase = (word: string): word is Phase => Object.hasOwn(phases, word);
