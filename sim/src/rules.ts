/**
 * What must hold, looked at whenever something happens: the model's safety rules (spec/handover.pml) on the state of this world, and that each
 * step of the register and of the journals is one that the model takes.
 */
import type { HandoverEntry } from '@ferry/handover';
import { Answer, type AskRequest, type AskResponse } from '@ferry/proto/ferry/v1/migration';
import type { Disk } from './journals.ts';
import type { Server } from './network.ts';
import type { Qemu } from './qemu.ts';
import type { RedisServer } from './redis-server.ts';
import type { Life } from './timeline.ts';
import type { UserAct } from './users.ts';
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
const outcomes: ReadonlySet<string> = new Set([
  'exclusive',
  'fresh',
  'survivor',
  'settled',
  'owner',
  'stuck',
  'internal',
]);

interface Recorded {
  readonly decision: string;
  readonly vote: string;
  /** How often the destination was told 'committed'. */
  readonly grant: number;
  /** The nonce of the run that it is of. */
  readonly run: string;
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
  // Each of these scripts is told its run last.
  if (!exists || before.run !== rest.at(-1)) return { answer: 'forgotten', after: before };
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

/** One migration, as far as it was said and done. */
class Handover {
  readonly id: string;
  /** The source's vote is out of its hands. */
  voted = false;
  /** Lives of the register under which it was decided so. */
  readonly committed = new Set<string>();
  readonly aborted = new Set<string>();
  /** A person has said that the destination's copy goes on. */
  committedByWord = false;
  /** The source, which had voted, has said that its copy has ended: the destination commits by that. */
  leftToDest = false;
  /** The destination has asked for the commit: what ends from then on it could not see before. */
  commitSent = false;
  /** That commit may be granted still: it was not refused since, and not withdrawn. */
  commitUnderWay = false;

  constructor(id: string) {
    this.id = id;
  }

  get isCommitted(): boolean {
    return this.committed.size > 0 || this.committedByWord || this.leftToDest;
  }
}

export class Rules {
  readonly #world: World;
  readonly #handovers = new Map<string, Handover>();
  broken: Violation | undefined;
  /** QEMUs that a fault ended while they held the whole guest. */
  readonly killedByFault: Qemu[] = [];
  /** Those of them that came and that nobody had committed yet: their agents see it in time to leave the guest to its source. */
  readonly #killedUncommitted = new Set<Qemu>();
  /** A fault has ended a copy that was the guest. */
  #excuses = false;
  /** A fault ended the QEMU in which the guest ran. */
  #guestKilled = false;
  /** Its user has shut it down, or wanted it ended. */
  readonly #poweredOff = new Set<Qemu>();
  #destroyWished = false;
  #pauseWished = false;
  /** Copies that a person has had ended, since no agent knew whether they were older than their disks. */
  readonly endedByWord = new Set<Qemu>();
  /** Hosts whose latest claim was granted by a master that had been cut off: no other one knows of it. */
  readonly #ownersAtCutOff = new Set<string>();
  /** How often the guest was started. */
  #generation = 0;
  /** Something has happened that an assumption of the models rules out (spec/README.md): what follows is not judged. */
  excused = false;

  constructor(world: World) {
    this.#world = world;
  }

  break(rule: string, message: string): void {
    if (this.#world.plan.outcomesOnly && !outcomes.has(rule)) return;
    this.#world.trace?.(`BROKEN ${rule}: ${message}`);
    this.broken ??= new Violation(rule, message);
  }

  /** A user is about to ask for something; whether it is done is not known. */
  wished(act: UserAct): void {
    this.#destroyWished ||= act === 'destroy';
    this.#pauseWished ||= act === 'suspend' || act === 'resume';
  }

  handover(id: string): Handover {
    const known = this.#handovers.get(id);
    if (known !== undefined) return known;
    const handover = new Handover(id);
    this.#handovers.set(id, handover);
    return handover;
  }

  /** The migration that a copy was sent by, if it was sent. */
  #sentBy({ departure }: Qemu): Handover | undefined {
    const id = departure?.dest?.migrationId;
    return id === undefined ? undefined : this.handover(id);
  }

  /** A guest's CPUs have started. */
  running(qemu: Qemu): void {
    const { arrival, departure } = qemu;
    // One that is started here begins anew: all that there was before it is old.
    if (!qemu.incoming && departure === undefined && qemu.generation === 0 && qemu !== this.#world.qemus[0]) {
      this.#generation += 1;
      qemu.generation = this.#generation;
    }
    if (qemu.generation < this.#generation)
      this.break('fresh', `${qemu.label} goes on with a guest that was started again since`);
    if (arrival !== undefined && departure?.completed !== true) arrival.wentOn.dest = true;
    if (departure?.completed === true) departure.wentOn.source = true;
    for (const way of [arrival, departure])
      if (way?.wentOn.dest === true && way.wentOn.source)
        this.break('fresh', `${qemu.label} goes on with the guest after the other copy has done so`);
    const all = this.#world.qemus.filter((other) => other.running);
    if (all.length > 1) this.break('exclusive', `${all.map((each) => each.label).join(' and ')} execute one guest`);
    if (arrival !== undefined && !arrival.completed)
      this.break('vote', `${qemu.label} runs although the source has not said that it has sent everything`);
  }

  /** An agent has told a QEMU to run, and it will. */
  toldToRun(qemu: Qemu): void {
    const { migrationId, settled, runState, host } = qemu;
    if (runState !== 'postmigrate') {
      if (migrationId !== undefined && !settled && !this.handover(migrationId).isCommitted)
        this.break('decision', `${qemu.label} is told to run, and nobody has committed`);
      return;
    }
    const handover = this.#sentBy(qemu);
    if (handover === undefined || !handover.voted) return;
    const { id } = handover;
    const noted = this.#world.hosts[host].disks.source.get(id);
    if (noted === undefined) return;
    const { decision, incarnation } = noted;
    if (decision !== 'aborted')
      this.break(
        'journal',
        `${qemu.label} is told to run again, and the source's journal says ${decision ?? 'nothing'}`,
      );
    const there = Object.values(this.#world.hosts).flatMap(({ disks }) => disks.dest.get(id) ?? []);
    const given =
      handover.aborted.has(incarnation) ||
      there.some((each) => each.decision === 'aborted' || each.promised.includes(incarnation)) ||
      !this.#world.qemus.some((other) => other.migrationId === id && other.alive);
    if (!given) this.break('decision', `${qemu.label} is told to run again, and nothing keeps the destination from it`);
  }

  died(qemu: Qemu, by: 'agent' | 'fault' | 'itself'): void {
    if (!qemu.whole) return;
    if (by === 'itself') this.#poweredOff.add(qemu);
    if (by === 'fault') {
      this.killedByFault.push(qemu);
      const { migrationId, settled } = qemu;
      const handover = migrationId === undefined || settled ? undefined : this.handover(migrationId);
      if (handover !== undefined && !handover.isCommitted && !handover.commitUnderWay)
        this.#killedUncommitted.add(qemu);
      this.#guestKilled ||= qemu.runState === 'running';
      this.#excuses ||= this.#hadGuest(qemu);
    }
    if (by !== 'agent') return;
    if (this.#destroyWished || this.endedByWord.has(qemu)) return;
    if (qemu.runState === 'running') this.break('survivor', `an agent ends ${qemu.label}, in which the guest runs`);
    const others = this.#world.qemus.filter((other) => other !== qemu && other.whole && other.alive);
    if (others.length === 0 && !this.#excuses && !this.#promisedAway() && this.#poweredOff.size === 0)
      this.break('survivor', `an agent ends ${qemu.label}, the last copy`);
    const handover = this.#sentBy(qemu);
    if (handover !== undefined && !handover.isCommitted)
      this.break('decision', `${qemu.label}, the source's copy, is ended, and nobody has committed`);
  }

  /** A source whose copy has ended may still be promised the guest: the models let it abort then. */
  #promisedAway(): boolean {
    return this.killedByFault.some((qemu) => {
      const id = this.#sentBy(qemu)?.id;
      return Object.values(this.#world.hosts).some(({ disks }) =>
        [...disks.dest.values()].some((noted) => noted.migrationId === id && noted.promised.length > 0),
      );
    });
  }

  /** An agent is about to have a script run. */
  sending(name: string, keys: readonly string[]): void {
    const [key = ''] = keys;
    if (name !== 'ferryRegisterCommit') return;
    const handover = this.handover(key.slice(key.lastIndexOf(':') + 1));
    handover.commitSent = true;
    handover.commitUnderWay = true;
  }

  /** A copy that a fault ends was the guest: nothing that comes after is lost by the agents. One that waited for a decision was not. */
  #hadGuest(qemu: Qemu): boolean {
    const { departure, migrationId, settled, arrival } = qemu;
    const sent = departure?.completed === true && !departure.wentOn.source;
    const handover = sent ? this.#sentBy(qemu) : undefined;
    if (handover !== undefined) return handover.aborted.size > 0 || handover.isCommitted || !handover.voted;
    return (
      migrationId === undefined ||
      settled ||
      arrival?.wentOn.dest === true ||
      this.handover(migrationId).isCommitted ||
      this.handover(migrationId).commitSent
    );
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
    if (name === 'ferryOwnerClaim') this.#claimed(server, args, reply);
    const grant = granting[name];
    if (grant !== undefined && Array.isArray(reply) && reply[0] === grant.answer)
      this.#granted(server, String(args[grant.host]));
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
    const handover = this.handover(key.slice(key.lastIndexOf(':') + 1));
    const life = String(args[0]);
    // A record that is bound is committed by whoever asks.
    if (answer === 'committed') handover.committed.add(life);
    if (name === 'ferryRegisterCommit' && answer !== 'committed') handover.commitUnderWay = false;
    if (name === 'ferryRegisterCommit' && answer === 'committed') {
      const noted = Object.values(this.#world.hosts).some(({ disks }) => disks.dest.has(handover.id));
      if (!noted) this.break('journal', 'the destination commits, and its journal knows nothing of it');
    }
    if (answer === 'aborted') {
      handover.aborted.add(life);
      // The source has not said yet that its copy has ended: no other agent can know. The source itself does.
      const bySource = name === 'ferryRegisterAbort' && String(args[2]) === 'source' && handover.voted;
      this.#excuses ||=
        !bySource && !before.binding && this.killedByFault.some((qemu) => this.#sentBy(qemu) === handover);
      // Withdrawn: nobody may act on it any more.
      handover.committed.delete(life);
      handover.commitUnderWay = false;
    }
    return reply;
  }

  /** A host may run a guest as its own. While another one does that must not be granted to one that starts it anew. */
  #claimed(server: RedisServer, [host, , , kind]: readonly (string | Buffer)[], reply: unknown): void {
    if (!Array.isArray(reply) || reply[0] !== 'ok' || kind !== 'start') return;
    const { qemus, redis } = this.#world;
    const elsewhere = qemus.filter((qemu) => qemu.alive && qemu.whole && qemu.host !== host);
    if (elsewhere.length === 0) return;
    // The models assume that no host claims a guest before the one that runs it has looked again, and that a master that was cut off takes no writes.
    if (redis.hasLost || server !== redis.newest) this.excused = true;
    else if (elsewhere.some(({ running }) => running))
      this.break(
        'owner',
        `${String(host)} is granted the guest, which runs in ${elsewhere.map(({ label }) => label).join(' and ')}`,
      );
  }

  #granted(server: RedisServer, host: string): void {
    if (server === this.#world.redis.newest) this.#ownersAtCutOff.delete(host);
    else this.#ownersAtCutOff.add(host);
  }

  /** A side is about to write down its word: what it said before stands. */
  journal(life: Life, disk: Disk, entry: HandoverEntry): void {
    const before = disk.get(entry.migrationId);
    if (before?.decision !== undefined && entry.decision !== before.decision) {
      this.break('journal', `${life.name} had written ${before.decision} and writes ${entry.decision ?? 'nothing'}`);
    }
    // Peer to peer, nobody else sees the vote.
    if (entry.voteSeen) this.handover(entry.migrationId).voted = true;
    if (before?.promised.some((each) => !entry.promised.includes(each)) === true)
      this.break('promise', `${life.name} takes a promise back`);
  }

  /** An agent is about to answer a call. */
  answered({ host, side }: Server, method: string, request: unknown, response: unknown): void {
    const { disks } = this.#world.hosts[host];
    const { migrationId } = request as { migrationId: string };
    if (side === 'source' && method === 'perform') {
      this.handover(migrationId).voted = true;
      if (!disks.source.has(migrationId))
        this.break('journal', 'the source gives its vote, and its journal knows nothing of it');
    }
    if (method === 'ask') this.#asked(this.handover(migrationId), request as AskRequest, response as AskResponse);
    if (side === 'dest' && method === 'ask' && (response as AskResponse).answer === Answer.ANSWER_PROMISED) {
      const { incarnation } = request as AskRequest;
      if (disks.dest.get(migrationId)?.promised.includes(incarnation) !== true)
        this.break('promise', 'the destination gives a promise that is not in its journal');
    }
  }

  /** A source that says that its copy has ended never resumes it; what it claims of its vote must be true. */
  #asked(handover: Handover, { copyEnded, voted }: AskRequest, response: AskResponse): void {
    const ended = copyEnded === true || response.answer === Answer.ANSWER_SOURCE_ENDED;
    if (!ended) return;
    const sent = this.#world.qemus.some(
      (qemu) => qemu.departure?.completed === true && !qemu.departure.wentOn.source && this.#sentBy(qemu) === handover,
    );
    if ((voted === true || response.voted === true) && !sent)
      this.break('vote', 'the source says that it has voted, and its guest was not sent, or has run on');
    // A destination that had dropped its copy by then, its commit withdrawn, had left the guest to the source.
    const dropped = Object.values(this.#world.hosts).some(
      ({ disks }) => disks.dest.get(handover.id)?.decision === 'aborted',
    );
    handover.leftToDest ||= sent && !dropped;
  }

  /** Something that nobody foresaw. */
  internal(life: Life, where: string, error: unknown): void {
    const stack = typeof error === 'object' && error !== null && 'stack' in error ? String(error.stack) : String(error);
    this.break('internal', `${life.name}, ${where}: ${stack}`);
  }

  /** What is still to be done before the world is at rest; empty when it is. */
  unrest(): string[] {
    const { agents, redis, hosts, qemus } = this.#world;
    const left: string[] = [];
    for (const agent of agents) {
      if (agent.host.gone) continue;
      if (!agent.serving || agent.life.state !== 'runs') left.push(`${agent.name} does not serve`);
      else if (agent.agent?.migrations.all().length !== 0) left.push(`${agent.name} holds a migration`);
    }
    const there = Object.values(hosts).filter((host) => !host.gone);
    const theirs = new RegExp(`:(job|lease|short):(${there.map((host) => host.name).join('|')})(:|$)`);
    const keys = redis.newest.keys().filter((key) => theirs.test(key));
    left.push(...keys.map((key) => `Redis has ${key}`));
    const copies = qemus.filter((qemu) => qemu.alive);
    if (copies.length > 1) left.push(`${copies.length} QEMUs are there: ${copies.map(stateOf).join(', ')}`);
    for (const host of there) {
      for (const { qemu, definition } of host.places.values()) {
        // What a killed QEMU leaves is cleared away when its domain comes again.
        // So is a directory that was made just before a crash, and in which no QEMU was started.
        if (qemu === undefined || this.killedByFault.includes(qemu) || this.#poweredOff.has(qemu)) continue;
        if (!qemu.alive && this.#destroyWished) continue;
        if (!qemu.alive) left.push(`host ${host.name} has a directory without a QEMU`);
        else if (definition.incoming !== undefined) left.push(`host ${host.name} has a guest that is still coming in`);
        else if (definition.starting === true) left.push(`host ${host.name} has a guest whose Start has not ended`);
      }
      for (const side of ['source', 'dest'] as const) {
        for (const entry of host.disks[side].values())
          if (!entry.ended)
            left.push(`the ${side}'s journal on ${host.name} has not ended (${entry.decision ?? 'undecided'})`);
      }
    }
    const [copy] = copies;
    if (left.length === 0 && copy?.running === true && this.#ownerNow() !== copy.host)
      left.push(`${notOwned}: the guest runs on ${copy.host}, and the record says ${this.#ownerNow() ?? 'nobody'}`);
    return left;
  }

  #ownerNow(): string | undefined {
    const { newest } = this.#world.redis;
    const [key] = newest.keys().filter((each) => each.endsWith(':owner'));
    return key === undefined ? undefined : newest.hash(key)['host'];
  }

  /** Time is over, and the world is not at rest. */
  stuck(): void {
    const left = this.unrest();
    const rule = left[0]?.startsWith(notOwned) === true ? notOwned : 'stuck';
    // The models assume that a master that was cut off takes no writes.
    this.excused ||=
      rule === notOwned && this.#world.qemus.some((qemu) => qemu.running && this.#ownersAtCutOff.has(qemu.host));
    if (this.excused) return;
    this.break(rule, left.join('; ') || 'the caller is not done');
  }

  /** Exactly one copy, in the state that the user left the guest in; none only if a fault ended it. */
  atRest(): void {
    const { qemus, plan } = this.#world;
    const [copy] = qemus.filter((qemu) => qemu.alive);
    if (copy === undefined) {
      const isEndedByWord = [...this.endedByWord].some(({ alive }) => !alive);
      if (this.#poweredOff.size > 0 || this.#destroyWished || isEndedByWord) return;
      if (!this.#guestKilled && !this.#guestWasIn(this.killedByFault)) this.break('survivor', 'no copy is left');
      return;
    }
    if (!copy.whole) this.break('survivor', 'what is left is no whole guest');
    if (this.#pauseWished) return;
    // One that was started again since is as whoever started it wanted it.
    const paused = plan.paused && copy.generation === 0;
    const wanted = paused ? 'paused' : 'running';
    const isPaused = copy.runState === 'paused' || copy.runState === 'postmigrate';
    if (paused ? !isPaused : !copy.running)
      this.break('settled', `the guest is left ${stateOf(copy)} instead of ${wanted}`);
  }

  /** One of these was the copy that had the guest, by what was decided in the latest migration that sent it. */
  #guestWasIn(killed: readonly Qemu[]): boolean {
    return killed.some((qemu) => {
      // A copy that has not been sent is the guest's, and one that came is if it was committed.
      const { migrationId, departure } = qemu;
      if (departure?.completed === true) return !this.#stands(this.#sentBy(qemu));
      if (migrationId === undefined) return true;
      const handover = this.handover(migrationId);
      const sourceLives = !killed.some((other) => this.#sentBy(other) === handover);
      return this.#stands(handover) && !(this.#killedUncommitted.has(qemu) && sourceLives);
    });
  }

  /** Committed; but what was promised to the source is the source's again, whatever the register says. */
  #stands(handover: Handover | undefined): boolean {
    if (handover?.isCommitted !== true) return false;
    const noted = Object.values(this.#world.hosts).flatMap(({ disks }) => disks.dest.get(handover.id) ?? []);
    return !noted.some(({ promised }) => promised.some((life) => handover.committed.has(life)));
  }
}

/** What makes a host the owner: the answer that does, and which argument names the host. */
const granting: Readonly<Record<string, { readonly answer: string; readonly host: number }>> = {
  ferryOwnerClaim: { answer: 'ok', host: 0 },
  ferryRegisterCommit: { answer: 'committed', host: 3 },
};

/** The rule that the record of ownership says where the guest runs. */
const notOwned = 'owner';

const stateOf = (qemu: Qemu): string => `${qemu.label} ${qemu.runState}`;

const wordsOf = ({ decision, vote, grant, binding }: Recorded): string =>
  `${decision}/${vote} grant ${grant}${binding ? ' binding' : ''}`;

function recordedIn(server: RedisServer, key: string): Recorded & { readonly exists: boolean } {
  const fields = server.hash(key);
  return {
    decision: fields['decision'] ?? '',
    vote: fields['vote'] ?? '',
    grant: Number(fields['grant'] ?? 0),
    run: fields['run'] ?? '',
    destHost: fields['destHost'] ?? '',
    binding: fields['binding'] === '1',
    exists: Object.keys(fields).length > 0,
  };
}
