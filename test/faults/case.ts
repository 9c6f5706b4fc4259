/** One case of the matrix: a migration, one point in it, one fault there; and whether all is well afterwards. */
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Side } from '@ferry/lab';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Caller, type Journey, type Mode } from './drive.ts';
import { type FaultName, faults, type Scene } from './faults.ts';
import { type Point, samePoint } from './points.ts';
import { type LinkMode, Proxy } from './proxy.ts';
import { type HostName, type Stage, type StageGuest, until } from './stage.ts';
import { executes } from './watch.ts';

export interface Case {
  readonly protocol: 2 | 3;
  readonly mode: Mode;
  readonly side: Side;
  readonly point: Point;
  readonly fault: FaultName;
}

/** Names a case, for `--case`. */
export const idOf = ({ protocol, mode, side, point, fault }: Case): string =>
  [`v${protocol}`, mode, side, point.phase, point.act, point.nth, point.when, fault].join('/');

/** Throws if the text names no case. */
export function caseOf(id: string): Case {
  const [protocol, mode, side, phase, act, nth, when, fault] = id.split('/');
  const known =
    (protocol === 'v2' || protocol === 'v3') &&
    (mode === 'direct' || mode === 'peer' || mode === 'cancelled') &&
    (side === 'source' || side === 'dest') &&
    (when === 'before' || when === 'after') &&
    fault !== undefined &&
    Object.hasOwn(faults, fault);
  if (!known || phase === undefined || act === undefined) throw new Error(`${id} is no case`);
  const point = { phase, act, nth: Number(nth), when } as const;
  return { protocol: protocol === 'v2' ? 2 : 3, mode, side, point, fault: fault as FaultName };
}

export interface Result {
  readonly id: string;
  /** `ran`; or the point was not come by, or there was nothing to strike: no case then. */
  readonly end: 'ran' | 'not-reached' | 'nothing-to-strike';
  /** What the caller was told. */
  readonly told: string;
  readonly doubles: readonly string[];
  readonly lost: string | undefined;
  readonly stuck: string | undefined;
  readonly leftovers: readonly string[];
  readonly memory: readonly string[];
  /** From when the fault was gone until all was settled, ms. */
  readonly settledMs: number;
  /** The bound that this fault has, ms. */
  readonly boundMs: number;
}

const restartMsMax = 3_000;
const reachMsMax = 10_000;
const lastActsMs = 100;
/** The guest is a new one after so many cases: its output is checked from its beginning each time. */
const casesPerGuest = 12;

const chanceOf = (id: string): number => createHash('sha256').update(id).digest().readUInt32BE() / 2 ** 32;

export const isBad = (r: Result): boolean =>
  r.doubles.length > 0 ||
  r.lost !== undefined ||
  r.stuck !== undefined ||
  r.leftovers.length > 0 ||
  r.memory.length > 0;

/** Plays a case on a stage that is settled, and leaves it settled unless the result is bad: what is not settled after so long is stuck. */
export async function play(stage: Stage, what: Case, settleMsMax = 15_000): Promise<Result> {
  const id = idOf(what);
  const { guest, at: from } = await stage.guestReady(casesPerGuest);
  guest.cases += 1;
  stage.watch.forget();
  const to: HostName = from === 'a' ? 'b' : 'a';
  const { protocol, mode, side, point } = what;
  const fault = faults[what.fault];
  const redisBytes = statSync(stage.redisFile()).size;
  await using stream = fault.stream === undefined ? undefined : new Stream(stage, fault.stream);
  const journey: Journey = { protocol, mode, guest, from, to, migrationUri: stream?.uri ?? '' };
  await using caller = new Caller(stage, journey);

  const routing = stream === undefined ? [] : [streamStop(protocol)];
  if (side === 'dest') stage.plan(to, 'dest', { stops: [point] });
  stage.plan(from, 'source', { stops: side === 'source' ? [...routing, point] : routing });
  let told: string | undefined;
  const run = caller.run().then((end) => {
    told = end;
  });

  const host = side === 'source' ? from : to;
  const stopped = (): boolean => stage.passed(host, side).some((each) => each.stopped && samePoint(each, point));
  let killed: HostName | undefined;
  const settled = async (): Promise<boolean> =>
    (await unsettled(stage, guest, caller.migrationId, killed)).length === 0;
  const reached = await until(async () => {
    await stream?.route(from);
    if (stopped()) return 'stopped';
    if (told === undefined || !(await settled())) return undefined;
    // What an agent does last, it does after all is settled.
    await delay(lastActsMs);
    return stopped() ? 'stopped' : 'over';
  }, AbortSignal.timeout(reachMsMax));

  let end: Result['end'] = 'not-reached';
  let goneAtMs = performance.now();
  if (reached === 'stopped') {
    const agent = stage.agent(host, side);
    await untilStopped(agent.pid);
    const scene: Scene = {
      stage,
      caller,
      from,
      to,
      side,
      point,
      stream: stream?.proxy,
      redisBytes,
      chance: chanceOf(id),
    };
    // Whoever is restarted from here on is not stopped again.
    for (const each of ['source', 'dest'] as const) for (const h of [from, to]) stage.plan(h, each, undefined);
    const struck = await fault.strike(scene);
    end = struck === undefined ? 'nothing-to-strike' : 'ran';
    killed = struck?.killed;
    if (struck?.holds !== true) agent.signal('SIGCONT');
    if (struck !== undefined) {
      await delay(struck.lastsMs);
      goneAtMs = performance.now();
      await struck.heal();
    }
  } else {
    for (const each of ['source', 'dest'] as const) stage.plan(each === 'source' ? from : to, each, undefined);
    stage.agent(host, side).signal('SIGCONT');
  }

  const boundMs = fault.restart === true ? restartMsMax : settleMsMax;
  // Two that execute the guest at once will not settle any more.
  const over = async (): Promise<boolean> => (await settled()) || stage.watch.doubles().length > 0;
  const inTime = await until(over, AbortSignal.timeout(settleMsMax));
  const settledMs = performance.now() - goneAtMs;
  await run;
  // The caller may have gone on after that.
  if (inTime !== undefined) await until(over, AbortSignal.timeout(settleMsMax));
  const judged = () => judge(stage, guest, caller.migrationId, killed, killed === from);
  let verdict = await judged();
  // Its agent too, without it, and only just begun: what is under way is not left.
  if (inTime !== undefined && verdict.leftovers.length > 0) {
    await until(over, AbortSignal.timeout(settleMsMax));
    verdict = await judged();
  }
  return { id, end, told: told ?? '', ...verdict, settledMs, boundMs };
}

/** The agent has said that it stops; the kernel may be a moment later. */
async function untilStopped(pid: number | undefined): Promise<void> {
  await until(() => {
    try {
      return /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    } catch {
      return true;
    }
  }, AbortSignal.timeout(1_000));
}

/**
 * What is missing to: at most one QEMU, which executes; no job, no lease, no directory elsewhere, no journal without an end. The directory
 * of the only copy, whose QEMU the fault killed on that host, stays with its last words, as that of any guest that crashed.
 */
async function unsettled(
  stage: Stage,
  guest: StageGuest,
  migrationId: string,
  killed: HostName | undefined,
): Promise<string[]> {
  const living = stage.watch.living();
  const left: string[] = [];
  if (living.length > 1) left.push(`${living.length} QEMUs: ${living.map(({ host }) => host).join(', ')}`);
  if (living.length === 1 && !living.some(executes)) left.push(`the QEMU on ${living[0]?.host} does not execute`);
  const directories = stage.directories(guest);
  const foreign = directories.filter(
    (host) => !living.some((qemu) => qemu.host === host) && (living.length > 0 || host !== killed),
  );
  if (foreign.length > 0) left.push(`a directory on ${foreign.join(', ')}`);
  const journals = stage.openJournals(migrationId);
  if (journals.length > 0) left.push(`journals without an end: ${journals.join(', ')}`);
  if (left.length === 0) {
    const leases = await stage.leases(guest).catch(() => ['Redis does not answer']);
    if (leases.length > 0) left.push(`held in Redis: ${leases.join(', ')}`);
  }
  return left;
}

async function judge(
  stage: Stage,
  guest: StageGuest,
  migrationId: string,
  killed: HostName | undefined,
  killedSource: boolean,
) {
  const doubles = stage.watch.doubles();
  const living = stage.watch.living();
  const running = living.filter(executes);
  const left = await unsettled(stage, guest, migrationId, killed);
  const decision = await stage.lab.redis.client
    .hget(`ferry:{${guest.uuid}}:handover:${migrationId}`, 'decision')
    .catch(() => null);
  // The fault killed the copy that the guest was, by the register's word.
  const excused = killed !== undefined && (decision === 'committed') !== killedSource;
  const lost = living.length === 0 && !excused ? `no copy is left (the register says ${decision})` : undefined;
  const stuck = living.length > 0 && running.length !== 1 ? left.join('; ') : undefined;
  const leftovers = stuck === undefined ? left : [];
  if (doubles.length + left.length === 0 && lost === undefined && living.length === 1) {
    leftovers.push(...(await disagreements(stage, guest, living[0]?.host)));
  }
  const report = living.length === 1 && stuck === undefined ? await stage.ticksOn(guest, 3) : stage.report(guest);
  const memory = report === undefined ? ['the guest does not tick'] : [...report.problems];
  return { doubles, lost, stuck, leftovers, memory };
}

/** What the agents say, against what is. */
async function disagreements(stage: Stage, guest: StageGuest, host: string | undefined): Promise<string[]> {
  const says = await stage.domains(guest).catch((error: unknown) => String(error));
  if (typeof says === 'string') return [`the agents cannot be asked: ${says}`];
  const right = says.length === 1 && says[0]?.host === host;
  const [one] = says;
  const idle = one?.domain.job === '' && one.domain.state === DomainState.DOMAIN_STATE_RUNNING;
  return right && idle
    ? []
    : [`agents say ${says.map((s) => `${s.host}: state ${s.domain.state}, job “${s.domain.job}”`).join('; ')}`];
}

const streamStop = (protocol: 2 | 3): Point => ({
  phase: protocol === 3 ? 'perform3' : 'perform2',
  act: 'qmp:migrate',
  nth: 1,
  when: 'before',
});

/** Memory goes through a UNIX socket; before it is connected to, a proxy takes the socket's place. */
class Stream implements AsyncDisposable {
  readonly #path: string;
  readonly #stage: Stage;
  readonly #mode: LinkMode;
  proxy: Proxy | undefined;

  constructor(stage: Stage, mode: LinkMode) {
    this.#stage = stage;
    this.#mode = mode;
    this.#path = join(stage.lab.dir, 'sockets', `stream-${randomUUID()}`);
    for (const path of [this.#path, `${this.#path}.real`]) rmSync(path, { force: true });
  }

  get uri(): string {
    return `unix:${this.#path}`;
  }

  /** When the source stands before `migrate`: takes the socket's place and lets it go on. */
  async route(from: HostName): Promise<void> {
    if (this.proxy !== undefined || !existsSync(this.#path)) return;
    if (!this.#stage.passed(from, 'source').some((each) => each.stopped && each.act === 'qmp:migrate')) return;
    renameSync(this.#path, `${this.#path}.real`);
    this.proxy = await Proxy.listen({ path: this.#path }, { path: `${this.#path}.real` });
    this.proxy.mode = this.#mode;
    const agent = this.#stage.agent(from, 'source');
    await untilStopped(agent.pid);
    agent.signal('SIGCONT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy?.[Symbol.asyncDispose]();
    for (const path of [this.#path, `${this.#path}.real`]) rmSync(path, { force: true });
  }
}
