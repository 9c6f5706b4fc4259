/** A migration seen from outside: one trace over both agents' processes, which goes on from the caller's own; and log lines that lead to it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { DomainState, type ListResponse } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import type { MigrateRequest } from '@ferry/proto/ferry/v1/source_agent';
import { Metadata } from '@grpc/grpc-js';
import { type OtlpSink, startOtlpSink, type TakenSpan } from './otlp-sink.ts';
import { SecondMonitors } from './second-monitor.ts';
import { follow } from '@ferry/agent';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { endless, untilMemoryFlows } from './under-way.ts';
import { callsOf, eventually, freePort, patience, type TestGuest, World } from './world.ts';

const [source, dest] = ['source-agent@a', 'dest-agent@b'];

let sink: OtlpSink;
let monitors: SecondMonitors;
let metricsPort: number;
let world: World;
beforeAll(async () => {
  sink = await startOtlpSink();
  monitors = new SecondMonitors();
  metricsPort = await freePort();
  const env = {
    // Renewed three times a second.
    FERRY_LEASE_MS: '1000',
    FERRY_QEMU: monitors.qemu,
    OTEL_EXPORTER_OTLP_ENDPOINT: sink.endpoint,
    OTEL_BSP_SCHEDULE_DELAY: '50',
  };
  const metrics = { FERRY_METRICS_LISTEN: `127.0.0.1:${metricsPort}` };
  world = await World.start({
    env: ({ host, side }) => (host === 'a' && side === 'source' ? { ...env, ...metrics } : env),
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  monitors[Symbol.dispose]();
  await sink[Symbol.asyncDispose]();
});

/** How many calls of Migrate the source agent of host a has counted that ended for that reason. */
async function migrationsCounted(reason: string): Promise<number> {
  const scraped = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const labels = ['rpc_method="ferry.v1.SourceAgent/Migrate"', `error_type="${reason}"`];
  const isWanted = (line: string): boolean =>
    line.startsWith('rpc_server_call_duration_seconds_count{') && labels.every((label) => line.includes(label));
  return Number(scraped.split('\n').find(isWanted)?.split(' ').at(-1) ?? 0);
}

/** A caller with a trace of its own, as the W3C's traceparent header carries it. */
class Caller {
  static readonly traces = new Set<string>();
  readonly trace = randomBytes(16).toString('hex');
  readonly span = randomBytes(8).toString('hex');

  constructor() {
    Caller.traces.add(this.trace);
  }

  /** Has a peer-to-peer migration from a to b made under its trace. */
  async migrate(guest: TestGuest, wish: Partial<MigrateRequest>): Promise<{ migrationId: string; outcome: Outcome }> {
    const migrationId = randomUUID();
    const request: MigrateRequest = {
      migrationId,
      domain: guest.name,
      destination: world.b.destAddress,
      protocol: Protocol.PROTOCOL_V3,
      migrationUri: '',
      options: undefined,
      ...wish,
    };
    let outcome = Outcome.OUTCOME_UNSPECIFIED;
    for await (const { event } of world.a.clients.source.migrate(request, this.#metadata())) {
      if (event?.event?.$case === 'ended') outcome = event.event.value.outcome;
    }
    return { migrationId, outcome };
  }

  /** The domains of a host. */
  list(host: LabHost): Promise<ListResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<ListResponse>();
    host.clients.domains.list({}, this.#metadata(), (error, answer) =>
      error === null ? resolve(answer) : reject(error),
    );
    return promise;
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    metadata.set('traceparent', `00-${this.trace}-${this.span}-01`);
    return metadata;
  }

  /** Its trace, once that is whole: the agents export when they like, and a span comes after what is below it. */
  async whole(last: readonly string[]): Promise<Trace> {
    const now = (): Trace => new Trace(sink.spans.filter((span) => span.trace === this.trace));
    const has = (name: string): boolean => now().spans.some((span) => span.name === name);
    const complete = (): boolean => last.every(has) && now().strays(this.span).length === 0;
    return eventually('the trace is whole', () => (complete() ? now() : undefined)).catch((cause: unknown) => {
      const strays = now()
        .strays(this.span)
        .map((span) => `${span.agent} ${span.name}`);
      const missing = last.filter((name) => !has(name));
      const words = `missing: ${missing.join()}; nobody's children: ${strays.join()}; the trace is`;
      throw new Error(`${words}\n${now().tree(this.span)}`, { cause });
    });
  }
}

class Trace {
  readonly spans: readonly TakenSpan[];

  constructor(spans: readonly TakenSpan[]) {
    this.spans = spans;
  }

  /** Spans whose parent is neither `root` nor in the trace. */
  strays(root: string): TakenSpan[] {
    const ids = new Set([root, ...this.spans.map((span) => span.id)]);
    return this.spans.filter((span) => !ids.has(span.parent));
  }

  /** The one span of that name on an agent that has none of the same name above it. */
  one(agent: string, name: string): TakenSpan {
    const found = this.spans.filter((span) => span.agent === agent && span.name === name);
    const outer = found.filter((span) => !this.above(span).some((each) => found.includes(each)));
    expect([agent, name, outer.length]).toEqual([agent, name, 1]);
    const [only] = outer;
    if (only === undefined) throw new Error('checked above');
    return only;
  }

  /** The way up, nearest first. */
  above(span: TakenSpan): TakenSpan[] {
    const parent = this.spans.find((each) => each.id === span.parent);
    return parent === undefined ? [] : [parent, ...this.above(parent)];
  }

  /** Those of that name directly below, by when they began. */
  children(span: TakenSpan, name: string): TakenSpan[] {
    const found = this.spans.filter((each) => each.parent === span.id && each.name === name);
    return found.toSorted((a, b) => a.startUs - b.startUs);
  }

  /** The names of everything below. */
  below(span: TakenSpan): string[] {
    const children = this.spans.filter((each) => each.parent === span.id);
    return children.flatMap((child) => [child.name, ...this.below(child)]);
  }

  tree(from: string, indent = ''): string {
    const children = this.spans.filter((span) => span.parent === from);
    return children.map((span) => `${indent}${span.agent} ${span.name}\n${this.tree(span.id, `${indent}  `)}`).join('');
  }
}

describe('a peer-to-peer migration', () => {
  const phasesOf = {
    v3: { begin: 'migration.begin3', perform: 'migration.perform3', confirm: 'migration.confirm3' },
    v2: { perform: 'migration.perform2' },
  };

  it.each([
    ['v3', Protocol.PROTOCOL_V3],
    ['v2', Protocol.PROTOCOL_V2],
  ] as const)('%s is one trace over both agents, below the caller’s own span', async (version, protocol) => {
    const caller = new Caller();
    const guest = await world.boot(world.a);
    const { migrationId, outcome } = await caller.migrate(guest, { protocol });
    expect(outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    const trace = await caller.whole([
      'migration.migrate',
      'migration.finish',
      'migration.blackout',
      'migration.switchover',
    ]);

    const migrate = trace.one(source, 'migration.migrate');
    expect(trace.above(migrate).map((span) => [span.agent, span.name, span.parent])).toEqual([
      [source, 'grpc.ferry.v1.SourceAgent/Migrate', caller.span],
    ]);
    expect(migrate.attributes).toMatchObject({ 'ferry.migration_id': migrationId, 'ferry.side': 'source' });

    // The migration itself, which goes on without its caller.
    const migration = trace.one(source, 'migration');
    expect(migration.parent).toBe(migrate.id);
    expect(migration.attributes).toMatchObject({
      'ferry.migration_id': migrationId,
      'ferry.domain': guest.uuid,
      'ferry.domain_name': guest.name,
      'ferry.outcome': 'completed',
      'ferry.from': 'a',
      'ferry.to': 'b',
    });
    expect(Number(migration.attributes['ferry.bytes'])).toBeGreaterThan(0);
    expect(Number(migration.attributes['ferry.blackout_ms'])).toBeGreaterThan(0);

    // The source's own phases, and what they do with QEMU and Redis.
    const { begin, perform, confirm } = { begin: undefined, confirm: undefined, ...phasesOf[version] };
    for (const name of [begin, perform, confirm]) {
      if (name !== undefined) expect(trace.one(source, name).parent).toBe(migration.id);
    }
    if (begin !== undefined) expect(trace.below(trace.one(source, begin))).toContain('redis register-begin');
    const sending = [
      'qmp migrate-set-capabilities',
      'qmp migrate-set-parameters',
      'qmp migrate',
      'qmp migrate-continue',
    ];
    expect(trace.below(trace.one(source, perform))).toEqual(expect.arrayContaining(sending));
    // The passes over the guest's memory one after the other, then its switchover; the blackout ends on the other host.
    const passes = trace.children(trace.one(source, perform), 'migration.pass');
    expect(passes.length).toBeGreaterThan(0);
    for (const [i, pass] of passes.entries()) {
      expect(pass.attributes['ferry.pass']).toBe(String(i + 1));
      if (i > 0) expect(pass.startUs).toBe(passes[i - 1]?.endUs);
    }
    const [switchover] = trace.children(trace.one(source, perform), 'migration.switchover');
    const blackout = trace.one(source, 'migration.blackout');
    expect(blackout).toMatchObject({ parent: migration.id, attributes: { 'ferry.ended_on': 'dest' } });
    expect(blackout.startUs).toBe(switchover?.startUs);
    expect(blackout.startUs).toBeLessThan(switchover?.endUs ?? 0);
    expect(Math.round(blackout.endUs - blackout.startUs)).toBe(
      Math.round(Number(migration.attributes['ferry.blackout_ms']) * 1e3),
    );
    const cont = trace.spans.find(({ agent, name }) => agent === dest && name === 'qmp cont');
    expect(blackout.endUs).toBeLessThan((cont?.endUs ?? 0) + 1_000);
    // A phase is over when everything in it is.
    for (const name of [begin, perform, confirm]) {
      if (name === undefined) continue;
      const phase = trace.one(source, name);
      // A span's start is a whole millisecond of the system's clock, and its end is counted from there: two spans may disagree by one.
      for (const command of trace.spans.filter((span) => span.name.startsWith('qmp ') && span.parent === phase.id))
        expect([command.name, phase.endUs + 1_000 >= command.endUs]).toEqual([command.name, true]);
    }
    expect(trace.spans.filter((span) => span.isError)).toEqual([]);
    const own = trace.below(migrate);
    expect(own).toEqual(expect.arrayContaining(['redis job-start', 'redis job-phase', 'redis job-finish']));

    // The destination's, on the other side of a call.
    const [prepare, finish] = [trace.one(dest, 'migration.prepare'), trace.one(dest, 'migration.finish')];
    for (const phase of [prepare, finish]) {
      const [server, client, ...rest] = trace.above(phase);
      expect([server?.agent, client?.agent]).toEqual([dest, source]);
      expect(server?.name).toMatch(/^grpc\.ferry\.v1\.DestAgent\//);
      expect(client?.name).toBe(server?.name);
      expect(rest[0]).toBe(migration);
      expect(phase.attributes).toMatchObject({ 'ferry.side': 'dest' });
    }
    const waiting = ['redis job-start', 'qmp migrate-set-capabilities', 'qmp migrate-incoming', 'redis register-begin'];
    expect(trace.below(prepare)).toEqual(expect.arrayContaining(waiting));
    expect(trace.below(finish)).toEqual(
      expect.arrayContaining(['redis register-commit', 'qmp cont', 'redis job-finish']),
    );

    // Nothing of it is elsewhere: no command that only a migration gives is in a trace that nobody asked for.
    const migrating = sink.spans.filter(({ name }) => /^qmp migrate|^migration\./.test(name));
    expect(migrating.filter((span) => !Caller.traces.has(span.trace)).map((span) => span.name)).toEqual([]);
    expect(JSON.stringify(trace.spans)).not.toContain('<domain');
  });

  it('that fails has its lines in both agents’ logs under its id and its trace', async () => {
    const caller = new Caller();
    const guest = await world.boot(world.a);
    const { migrationId, outcome } = await caller.migrate(guest, { migrationUri: 'tcp:192.0.2.1' });
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);

    const linesOf = (agent: { logs(): Record<string, unknown>[] }): Record<string, unknown>[] =>
      agent.logs().filter((line) => line['migrationId'] === migrationId);
    await eventually(
      'both have said how it ended',
      () =>
        [world.a.source, world.b.dest].every((agent) => linesOf(agent).some((line) => line['call'] !== undefined)) &&
        linesOf(world.a.source).some((line) => line['call'] === 'migration.migrate'),
    );
    const ofDest = linesOf(world.b.dest);
    expect(ofDest).toContainEqual(
      expect.objectContaining({ msg: 'refused', call: 'migration.prepare', reason: 'address-unusable', side: 'dest' }),
    );
    for (const line of [...linesOf(world.a.source), ...ofDest]) expect(line).toMatchObject({ trace_id: caller.trace });

    const trace = await caller.whole(['migration.migrate', 'migration.prepare']);
    expect(trace.one(dest, 'migration.prepare').attributes).toMatchObject({ 'ferry.reason': 'address-unusable' });
    // Its stream ends in good order, with what it was for.
    const migrate = trace.one(source, 'migration.migrate');
    expect(migrate).toMatchObject({ isError: true, attributes: { 'ferry.reason': 'address-unusable' } });
    expect(linesOf(world.a.source)).toContainEqual(
      expect.objectContaining({ msg: 'failed', call: 'migration.migrate', reason: 'address-unusable' }),
    );
    expect(await migrationsCounted('address-unusable')).toBe(1);
  });

  it('that is cancelled is so in its trace, in the metric of its call and in the log', async () => {
    const caller = new Caller();
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name };
    const migrated = caller.migrate(guest, { ...names, options: { ...endless } });
    await untilMemoryFlows(world, names);
    await callsOf(world.a).abort(names);
    expect((await migrated).outcome).toBe(Outcome.OUTCOME_CANCELLED);
    await world.expectSettled(guest, world.a);

    const trace = await caller.whole(['migration.migrate', 'migration.perform3']);
    const migrate = trace.one(source, 'migration.migrate');
    expect(migrate).toMatchObject({ isError: true, attributes: { 'ferry.reason': 'migration-cancelled' } });
    expect(trace.one(source, 'migration.perform3').isError).toBe(true);
    const line = { msg: 'failed', call: 'migration.migrate', migrationId: names.migrationId };
    const reason = await world.a.source.untilLogged((record) =>
      Object.entries(line).every(([key, value]) => record[key] === value) ? record['reason'] : undefined,
    );
    expect(reason).toBe('migration-cancelled');
    expect(await migrationsCounted('migration-cancelled')).toBe(1);
  });
});

it('a trace does not grow with the time that a migration takes', async () => {
  const guest = await world.boot(world.a, { dirty: '16M', rate: '4M' });
  /** Of a migration that is given up after QEMU was asked for its figures so often: how many spans of each name. */
  const given = async (polls: number): Promise<{ all: number; named: Map<string, number>; trace: Trace }> => {
    const caller = new Caller();
    const names = { migrationId: randomUUID(), domain: guest.name };
    const migrated = caller.migrate(guest, { ...names, options: { ...endless } });
    await untilMemoryFlows(world, names);
    let seen = 0;
    for await (const { event } of follow(
      world.a.clients.source,
      SourceAgentService.watchMigration,
      names,
      patience(),
    )) {
      if (event?.event?.$case === 'progress') seen += 1;
      if (seen >= polls) break;
    }
    await callsOf(world.a).abort(names);
    expect((await migrated).outcome).toBe(Outcome.OUTCOME_CANCELLED);
    await world.expectSettled(guest, world.a);
    const trace = await caller.whole(['migration.migrate', 'migration.perform3', 'migration']);
    const counts = Map.groupBy(trace.spans, ({ name }) => name);
    return { all: trace.spans.length, named: new Map([...counts].map(([name, of]) => [name, of.length])), trace };
  };
  const [soon, late] = [await given(2), await given(24)];
  const more = [...late.named].filter(
    ([name, count]) => name !== 'migration.pass' && count > (soon.named.get(name) ?? 0) + 3,
  );
  expect(more).toEqual([]);
  expect(late.all).toBeLessThan(250);
  expect(late.trace.one(source, 'migration')).toMatchObject({
    isError: true,
    attributes: {
      'ferry.outcome': 'cancelled',
      'ferry.reason': 'migration-cancelled',
      'ferry.from': 'a',
      'ferry.to': 'b',
    },
  });
});

it('many who list guests ask QEMU only for what may have changed', async () => {
  const [guest, other] = [await world.boot(world.b), await world.boot(world.b)];
  /** The states that a call of List gives, and the commands that QEMUs were given for it. */
  const list = async (): Promise<{ states: (DomainState | undefined)[]; asked: string[] }> => {
    const caller = new Caller();
    const { domains } = await caller.list(world.b);
    const trace = await caller.whole(['domain.list']);
    const states = [guest, other].map(({ uuid }) => domains.find((domain) => domain.uuid === uuid)?.state);
    return { states, asked: trace.spans.map(({ name }) => name).filter((name) => name.startsWith('qmp ')) };
  };
  const running = DomainState.DOMAIN_STATE_RUNNING;
  await list();
  expect(await list()).toEqual({ states: [running, running], asked: [] });
  await monitors.execute(world, world.b, guest, 'stop');
  const paused = await eventually('it is seen to be paused', async () => {
    const found = await list();
    return found.states[0] === DomainState.DOMAIN_STATE_PAUSED ? found : undefined;
  });
  // At most the one that was stopped; the look at ownership may have asked it before.
  expect(paused.states).toEqual([DomainState.DOMAIN_STATE_PAUSED, running]);
  expect(['', 'qmp query-status']).toContain(paused.asked.join());
  expect((await list()).asked).toEqual([]);
});

it('a span ends once, also that of a command which Redis answers after its time', async () => {
  await world.boot(world.a);
  const before = sink.spans.length;
  world.lab.redis.signal('SIGSTOP');
  const askedInVain = await callsOf(world.a).list();
  expect(askedInVain.map(({ jobUnknown }) => jobUnknown)).not.toContain('');
  const timedOut = (): boolean =>
    sink.spans.slice(before).some(({ agent, name, isError }) => agent === source && name === 'evalsha' && isError);
  await eventually('a command of the source agent is out of time', timedOut);
  world.lab.redis.signal('SIGCONT');
  // Redis answers in the order in which it was asked.
  await eventually('Redis answers again', async () =>
    (await callsOf(world.a).list()).every(({ jobUnknown }) => jobUnknown === ''),
  );
  const complaints = world.lab.agents.flatMap((agent) =>
    agent.logs().filter(({ msg }) => /ended Span|end\(\) on a span/.test(String(msg))),
  );
  expect(complaints).toEqual([]);
});
