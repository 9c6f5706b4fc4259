/**
 * What must hold, looked at whenever something happens: the model's safety rules (spec/handover.pml) on the state of this world, and that each
 * step of the register and of the journals is one that the model takes.
 */
import type { HandoverEntry } from '@ferry/handover';
import { Answer, type AskRequest, type AskResponse } from '@ferry/proto/ferry/v1/migration';
import { Handover } from './handover.ts';
import type { Disk } from './journals.ts';
import { Losses } from './losses.ts';
import type { Server } from './network.ts';
import type { Qemu } from './qemu.ts';
import type { RedisServer } from './redis-server.ts';
import { modelOf, recordedIn, wordsOf } from './register-model.ts';
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

export class Rules {
  readonly #world: World;
  readonly #handovers = new Map<string, Handover>();
  broken: Violation | undefined;
  /** Of the guest as it was started last. */
  #losses = new Losses();
  /** QEMUs that ended so that their directories may stay. */
  readonly #mayLeaveDirectory = new Set<Qemu>();
  /** Hosts on which a user wished the guest to be ended. */
  readonly #destroyWished = new Set<string>();
  /** What users wished besides. */
  readonly #wishes = new Set<UserAct>();
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
  wished(act: UserAct, host: string): void {
    if (act === 'destroy') this.#destroyWished.add(host);
    this.#wishes.add(act);
  }

  /** An agent is about to end a guest as a user asked it to. */
  destroying(qemu: Qemu): void {
    if (!this.#destroyWished.has(qemu.host))
      this.break('survivor', `an agent destroys ${qemu.label} without a request`);
    this.#losses.destroyed.add(qemu);
    this.#mayLeaveDirectory.add(qemu);
  }

  /** A person says that this copy is to be ended, since no agent knows whether it is older than its disks. */
  endedByWord(qemu: Qemu): void {
    this.#losses.endedByWord.add(qemu);
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
      // Destroy may come before it runs.
      const isDestroyed = this.#losses.destroyed.has(qemu);
      this.#losses = new Losses();
      if (isDestroyed) this.#losses.destroyed.add(qemu);
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
    const losses = this.#losses;
    const isLatest = qemu.generation === this.#generation;
    if (by !== 'agent') this.#mayLeaveDirectory.add(qemu);
    if (by === 'itself' && isLatest) losses.poweredOff.add(qemu);
    if (by === 'fault' && isLatest) {
      losses.killed.push(qemu);
      const { migrationId, settled } = qemu;
      const handover = migrationId === undefined || settled ? undefined : this.handover(migrationId);
      if (handover !== undefined && !handover.isCommitted && !handover.commitUnderWay)
        losses.killedUncommitted.add(qemu);
      losses.runningKilled ||= qemu.runState === 'running';
      losses.guestKilled ||= this.#hadGuest(qemu);
    }
    if (by === 'agent') this.#endedByAgent(qemu);
  }

  #endedByAgent(qemu: Qemu): void {
    const losses = this.#losses;
    if (losses.destroyed.has(qemu) || losses.endedByWord.has(qemu)) return;
    if (qemu.runState === 'running') this.break('survivor', `an agent ends ${qemu.label}, in which the guest runs`);
    const isGuest = (one: Qemu): boolean => one.whole && one.generation === this.#generation;
    const isLast = isGuest(qemu) && !this.#world.qemus.some((other) => other !== qemu && other.alive && isGuest(other));
    if (isLast && !losses.guestKilled && !losses.isWanted && !this.#isPromisedAway(qemu))
      this.break('survivor', `an agent ends ${qemu.label}, the last copy`);
    const handover = this.#sentBy(qemu);
    if (handover !== undefined && !handover.isCommitted)
      this.break('decision', `${qemu.label}, the source's copy, is ended, and nobody has committed`);
  }

  /** A source whose copy has ended may still be promised the guest: the models let it abort then, and the copy that came by its migration be ended. */
  #isPromisedAway({ migrationId }: Qemu): boolean {
    if (migrationId === undefined) return false;
    const isPromised = Object.values(this.#world.hosts).some(
      ({ disks }) => (disks.dest.get(migrationId)?.promised.length ?? 0) > 0,
    );
    return isPromised && this.#losses.killed.some((qemu) => this.#sentBy(qemu)?.id === migrationId);
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
      this.#losses.guestKilled ||=
        !bySource && !before.binding && this.#losses.killed.some((qemu) => this.#sentBy(qemu) === handover);
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
        if (qemu === undefined || (!qemu.alive && this.#mayLeaveDirectory.has(qemu))) continue;
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
      const { isWanted, runningKilled, killed } = this.#losses;
      if (!isWanted && !runningKilled && !this.#guestWasIn(killed)) this.break('survivor', 'no copy is left');
      return;
    }
    if (!copy.whole) this.break('survivor', 'what is left is no whole guest');
    // One that was started again since is as whoever started it wanted it. Whether a wish came about is not known.
    const startedPaused = plan.paused && copy.generation === 0;
    const mayBePaused = startedPaused || this.#wishes.has('suspend');
    const mayRun = !startedPaused || this.#wishes.has('resume');
    const isPaused = copy.runState === 'paused' || copy.runState === 'postmigrate';
    if ((copy.running && mayRun) || (isPaused && mayBePaused)) return;
    const wanted = [...(mayBePaused ? ['paused'] : []), ...(mayRun ? ['running'] : [])];
    this.break('settled', `the guest is left ${stateOf(copy)} instead of ${wanted.join(' or ')}`);
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
      return this.#stands(handover) && !(this.#losses.killedUncommitted.has(qemu) && sourceLives);
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
