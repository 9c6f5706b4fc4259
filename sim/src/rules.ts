/**
 * What must hold, looked at whenever something happens: the model's safety rules (spec/handover.pml) on the state of this world, and that each
 * step of the register and of the journals is one that the model takes.
 */
import type { HandoverEntry } from '@ferry/handover';
import { Answer, type AskRequest, type AskResponse } from '@ferry/proto/ferry/v1/migration';
import type { Disk } from './journals.ts';
import type { Qemu } from './qemu.ts';
import type { RedisServer } from './redis-server.ts';
import type { Life } from './timeline.ts';
import type { World } from './world.ts';

/** A rule is broken: the schedule has found something. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(`${rule}: ${message}`);
    this.rule = rule;
  }
}

/** The rules about what becomes of the guest; the others are about how. */
const outcomes: ReadonlySet<string> = new Set(['exclusive', 'fresh', 'survivor', 'settled', 'stuck', 'internal']);

interface Recorded {
  readonly decision: string;
  readonly vote: string;
  /** How often the destination was told 'committed'. */
  readonly grant: number;
  /** The destination that has joined. */
  readonly destHost: string;
  /** The source goes by a commit: it cannot be withdrawn. */
  readonly binding: boolean;
}

interface Step {
  readonly answer: string;
  readonly after: Recorded;
}

/** The model's steps that vote and decide, run by the life `k`: what a record says afterwards, and the answer. */
function modelOf(
  name: string,
  before: Recorded,
  exists: boolean,
  k: string,
  args: readonly (string | Buffer)[],
): Step | undefined {
  const step = steps[name];
  if (step === undefined) return undefined;
  const [i, ...rest] = args.map(String);
  if (k !== i) return { answer: 'changed', after: before };
  if (!exists) return { answer: 'forgotten', after: before };
  return step(before, i, rest);
}

const isDecided = ({ decision, vote }: Recorded, i: string): boolean => vote === i && decision !== 'undecided';

function decide(before: Recorded, i: string, wish: string): Step {
  const answer = isDecided(before, i) ? before.decision : wish;
  return { answer, after: { ...before, decision: answer, vote: i } };
}

/** What the destination is told. */
function granted({ answer, after }: Step): Step {
  return answer === 'committed' ? { answer, after: { ...after, grant: after.grant + 1 } } : { answer, after };
}

const steps: Readonly<Record<string, (before: Recorded, i: string, args: readonly string[]) => Step>> = {
  ferryRegisterVote: (before, i) => decide(before, i, 'undecided'),
  ferryRegisterCommit: (before, i, [, vote, host]) => {
    if (before.destHost !== host) return { answer: 'forgotten', after: before };
    if (before.vote !== i && vote !== 'carried') return { answer: 'vote-missing', after: before };
    return granted(decide(before, i, 'committed'));
  },
  ferryRegisterAbort: (before, i, [, side, host]) => {
    if (side === 'dest' && before.destHost !== host) return { answer: 'forgotten', after: before };
    const step = decide(
      before,
      i,
      before.binding && before.vote === i && before.destHost !== '' ? 'committed' : 'aborted',
    );
    if (side === 'dest') return granted(step);
    return { ...step, after: { ...step.after, binding: step.after.binding || step.answer === 'committed' } };
  },
  ferryRegisterBind: (before, i) => {
    const { decision } = decide(before, i, 'undecided').after;
    return decision === 'aborted'
      ? { answer: 'ok', after: before }
      : { answer: 'ok', after: { ...before, decision, vote: i, binding: true } };
  },
  ferryRegisterWithdraw: (before, i, [, grant, host]) => {
    if (before.destHost !== host) return { answer: 'forgotten', after: before };
    const takes =
      before.vote === i && before.decision === 'committed' && !before.binding && grant === `${before.grant}`;
    return takes ? { answer: 'aborted', after: { ...before, decision: 'aborted' } } : decide(before, i, 'aborted');
  },
};

export class Rules {
  readonly #world: World;
  broken: Violation | undefined;
  /** The source's QEMU has said `completed`: its guest is stopped for good. */
  #completed = false;
  /** The source's vote is out of its hands. */
  #voted = false;
  /** Lives of the register under which it was decided so. */
  readonly #committed = new Set<string>();
  readonly #aborted = new Set<string>();
  /** QEMUs that a fault ended while they held the whole guest. */
  readonly killedByFault: Qemu[] = [];
  /** The guest has gone on at the destination, whatever became of it since. */
  cameToLife = false;
  /** A person has said that the destination's copy goes on. */
  committedByWord = false;
  /** It was sent whole, and has gone on at the source since. */
  wentBack = false;
  /** A fault ended the QEMU in which the guest ran. */
  #guestKilled = false;

  constructor(world: World) {
    this.#world = world;
  }

  break(rule: string, message: string): void {
    if (this.#world.plan.outcomesOnly && !outcomes.has(rule)) return;
    this.#world.trace?.(`BROKEN ${rule}: ${message}`);
    this.broken ??= new Violation(rule, message);
  }

  /** The source's QEMU holds a guest that was sent whole, or has ended. */
  get sentWhole(): boolean {
    return this.#completed;
  }

  get committed(): boolean {
    return this.#committed.size > 0 || this.committedByWord;
  }

  /** A guest's CPUs have started. */
  running(qemu: Qemu): void {
    this.cameToLife ||= qemu.incoming;
    this.wentBack ||= !qemu.incoming && this.#completed;
    if (this.cameToLife && this.wentBack)
      this.break('fresh', `${qemu.label} goes on with the guest after the other copy has done so`);
    const both = this.#world.qemus.filter((other) => other.running);
    if (both.length > 1) {
      this.break(
        'exclusive',
        `${both.map((each) => `${each.label} (pid ${each.pid})`).join(' and ')} execute one guest`,
      );
    }
    if (qemu.incoming && !this.#completed)
      this.break('vote', `${qemu.label} runs although the source has not said that it has sent everything`);
  }

  /** An agent has told a QEMU to run, and it will. */
  toldToRun(qemu: Qemu): void {
    if (qemu.incoming) {
      if (!this.committed) this.break('decision', `${qemu.label} is told to run, and nobody has committed`);
      return;
    }
    if (qemu.runState !== 'postmigrate' || !this.#voted) return;
    const { source, dest } = { source: this.#world.hosts.a.disks.source, dest: this.#world.hosts.b.disks.dest };
    for (const { migrationId, decision, incarnation } of source.values()) {
      if (decision !== 'aborted') {
        this.break(
          'journal',
          `${qemu.label} is told to run again, and the source's journal says ${decision ?? 'nothing'}`,
        );
      }
      const there = dest.get(migrationId);
      const given =
        this.#aborted.has(incarnation) ||
        there?.decision === 'aborted' ||
        there?.promised.includes(incarnation) === true ||
        !this.#world.qemus.some((other) => other.incoming && other.alive);
      if (!given)
        this.break('decision', `${qemu.label} is told to run again, and nothing keeps the destination from it`);
    }
  }

  completed(qemu: Qemu): void {
    if (!qemu.incoming) this.#completed = true;
  }

  died(qemu: Qemu, by: 'agent' | 'fault' | 'itself'): void {
    if (!qemu.whole) return;
    if (by === 'fault') {
      this.killedByFault.push(qemu);
      this.#guestKilled ||= qemu.runState === 'running';
    }
    if (by !== 'agent') return;
    if (qemu.runState === 'running') this.break('survivor', `an agent ends ${qemu.label}, in which the guest runs`);
    const others = this.#world.qemus.filter((other) => other !== qemu && other.whole && other.alive);
    if (others.length === 0 && this.killedByFault.length === 0)
      this.break('survivor', `an agent ends ${qemu.label}, the last copy`);
    if (!qemu.incoming && !this.committed)
      this.break('decision', `the source's copy is ended, and nobody has committed`);
  }

  /** Runs a script, and compares the step with the model's. */
  script<T>(
    name: string,
    server: RedisServer,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
    run: () => T,
  ): T {
    const key = keys[0] ?? '';
    const before = recordedIn(server, key);
    const reply = run();
    const model = modelOf(name, before, before.exists, server.incarnation, args);
    if (model === undefined) return reply;
    const answer: unknown = Array.isArray(reply) ? reply[0] : undefined;
    const after = recordedIn(server, key);
    if (answer !== model.answer || wordsOf(after) !== wordsOf(model.after)) {
      this.break(
        'model',
        `${name} answered ${String(answer)} and left ${wordsOf(after)}; the model answers ${model.answer} and leaves ${wordsOf(model.after)}`,
      );
    }
    if (name === 'ferryRegisterCommit' && answer === 'committed') {
      this.#committed.add(String(args[0]));
      if (this.#world.hosts.b.disks.dest.size === 0)
        this.break('journal', 'the destination commits, and its journal knows nothing of it');
    }
    if (answer === 'aborted') {
      this.#aborted.add(String(args[0]));
      // Withdrawn: nobody may act on it any more.
      this.#committed.delete(String(args[0]));
    }
    return reply;
  }

  /** A side is about to write down its word: what it said before stands. */
  journal(life: Life, disk: Disk, entry: HandoverEntry): void {
    const before = disk.get(entry.migrationId);
    if (before?.decision !== undefined && entry.decision !== before.decision) {
      this.break('journal', `${life.name} had written ${before.decision} and writes ${entry.decision ?? 'nothing'}`);
    }
    if (before?.promised.some((each) => !entry.promised.includes(each)) === true)
      this.break('promise', `${life.name} takes a promise back`);
  }

  /** An agent is about to answer a call. */
  answered(_life: Life, side: 'source' | 'dest', method: string, request: unknown, response: unknown): void {
    if (side === 'source' && method === 'perform') {
      this.#voted = true;
      if (this.#world.hosts.a.disks.source.size === 0)
        this.break('journal', 'the source gives its vote, and its journal knows nothing of it');
    }
    if (side === 'dest' && method === 'ask' && (response as AskResponse).answer === Answer.ANSWER_PROMISED) {
      const { migrationId, incarnation } = request as AskRequest;
      if (this.#world.hosts.b.disks.dest.get(migrationId)?.promised.includes(incarnation) !== true)
        this.break('promise', 'the destination gives a promise that is not in its journal');
    }
  }

  /** Something that nobody foresaw. */
  internal(life: Life, where: string, error: unknown): void {
    const stack = typeof error === 'object' && error !== null && 'stack' in error ? String(error.stack) : String(error);
    this.break('internal', `${life.name}, ${where}: ${stack}`);
  }

  /** What is still to be done before the world is at rest; empty when it is. */
  unrest(): string[] {
    const { source, dest, redis, hosts, qemus } = this.#world;
    const left: string[] = [];
    for (const agent of [source, dest]) {
      if (agent.host.gone) continue;
      if (!agent.serving || agent.life.state !== 'runs') left.push(`${agent.name} does not serve`);
      else if (agent.agent?.migrations.all().length !== 0) left.push(`${agent.name} holds a migration`);
    }
    const there = [hosts.a, hosts.b].filter((host) => !host.gone);
    const theirs = new RegExp(`:(job|lease|short):(${there.map((host) => host.name).join('|')})(:|$)`);
    const keys = redis.newest.keys().filter((key) => theirs.test(key));
    left.push(...keys.map((key) => `Redis has ${key}`));
    const copies = qemus.filter((qemu) => qemu.alive);
    if (copies.length > 1) left.push(`${copies.length} QEMUs are there: ${copies.map(stateOf).join(', ')}`);
    for (const host of there) {
      for (const { qemu, definition } of host.places.values()) {
        // What a killed QEMU leaves is cleared away when its domain comes again.
        // So is a directory that was made just before a crash, and in which no QEMU was started.
        if (qemu === undefined || this.killedByFault.includes(qemu)) continue;
        if (!qemu.alive) left.push(`host ${host.name} has a directory without a QEMU`);
        else if (definition.incoming !== undefined) left.push(`host ${host.name} has a guest that is still coming in`);
      }
      for (const side of ['source', 'dest'] as const) {
        for (const entry of host.disks[side].values())
          if (!entry.ended) left.push(`the ${side}'s journal has not ended (${entry.decision ?? 'undecided'})`);
      }
    }
    return left;
  }

  /** Exactly one copy, in the state that the user left the guest in; none only if a fault ended it. */
  atRest(): void {
    const { qemus, plan } = this.#world;
    const [copy] = qemus.filter((qemu) => qemu.alive);
    if (copy === undefined) {
      // What was promised to the source is the source's again, whatever the register says.
      const promised = [...this.#world.hosts.b.disks.dest.values()].flatMap((entry) => entry.promised);
      const owner = this.committed && !promised.some((life) => this.#committed.has(life)) ? 'b' : 'a';
      if (!this.#guestKilled && !this.killedByFault.some((qemu) => qemu.host === owner))
        this.break('survivor', 'no copy is left');
      return;
    }
    if (!copy.whole) this.break('survivor', 'what is left is no whole guest');
    const wanted = plan.paused ? 'paused' : 'running';
    const isPaused = copy.runState === 'paused' || copy.runState === 'postmigrate';
    if (plan.paused ? !isPaused : !copy.running)
      this.break('settled', `the guest is left ${stateOf(copy)} instead of ${wanted}`);
  }
}

const stateOf = (qemu: Qemu): string => `${qemu.label} ${qemu.runState}`;

const wordsOf = ({ decision, vote, grant, binding }: Recorded): string =>
  `${decision}/${vote} grant ${grant}${binding ? ' binding' : ''}`;

function recordedIn(server: RedisServer, key: string): Recorded & { readonly exists: boolean } {
  const fields = server.hash(key);
  return {
    decision: fields['decision'] ?? '',
    vote: fields['vote'] ?? '',
    grant: Number(fields['grant'] ?? 0),
    destHost: fields['destHost'] ?? '',
    binding: fields['binding'] === '1',
    exists: Object.keys(fields).length > 0,
  };
}
