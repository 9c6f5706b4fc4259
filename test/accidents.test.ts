/**
 * What goes wrong with QEMUs, ports and callers. Each time: a clear error with its reason, nothing left behind, the guest runs on. Agents
 * that crash and a Redis that is away are in crashes.test.ts and redis-away.test.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { completeDomain, parseDomain, qemuArguments } from '@ferry/domain-xml';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { Monitor } from '@ferry/qemu-qmp';
import { status } from '@grpc/grpc-js';
import { expectNothingOf, killQemu, startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, patience, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const [v2, v3] = [Protocol.PROTOCOL_V2, Protocol.PROTOCOL_V3];

/** What every host's QEMU does, other than being one; by the host's name. */
let behaviours: string;
let world: World;
/** Every test finds it running on a, and leaves it running there. */
let guest: TestGuest;

/** A program in QEMU's place: tells its machine types as QEMU does, and then behaves as it is told to. */
const program = (dir: string): string => `#!/bin/sh
case "$*" in *'-machine help'|*'-version') exec qemu-system-x86_64 "$@";; esac
case "$*" in */a/domains/*) host=a;; *) host=b;; esac
case "$(cat '${dir}'/"$host" 2>/dev/null)" in
  fails) echo 'the firmware is on fire' >&2; exit 3;;
  ends) exit 0;;
  hangs) exec sleep 1000;;
  dies) qemu-system-x86_64 -version; kill -9 $$;;
  babbles) exec /usr/bin/python3 -c '
import re, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(re.search(r"path=([^, ]*dest.sock)", " ".join(sys.argv)).group(1))
server.listen()
while True: server.accept()[0].send(b"220 mail.example.invalid ESMTP\\r\\n")' "$@";;
esac
exec qemu-system-x86_64 "$@"
`;

async function behave(host: 'a' | 'b', how: 'fails' | 'ends' | 'hangs' | 'dies' | 'babbles'): Promise<void> {
  await writeFile(join(behaviours, host), how);
}

beforeAll(async () => {
  behaviours = await mkdtemp(join(tmpdir(), 'ferry-qemu-'));
  const qemu = join(behaviours, 'qemu');
  await writeFile(qemu, program(behaviours));
  await chmod(qemu, 0o755);
  world = await World.start({ env: { FERRY_QEMU: qemu } });
  guest = await world.boot(world.a, { name: 'untouched' });
});
afterEach(async () => {
  for (const host of ['a', 'b']) await rm(join(behaviours, host), { force: true });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await rm(behaviours, { recursive: true, force: true });
});

const newNames = (of: TestGuest = guest) => ({ migrationId: randomUUID(), domain: of.name });

/** Begin and Prepare, or DumpXml and Prepare. */
async function prepare(names: { migrationId: string; domain: string }, protocol: typeof v2 | typeof v3 = v3) {
  const begun =
    protocol === v3
      ? await callsOf(world.a).begin({ ...names, options: undefined })
      : { ...(await callsOf(world.a).dumpXml(names)), cookieOut: none };
  const { domainXml, cookieOut: cookieIn } = begun;
  const { migrationId } = names;
  return callsOf(world.b).prepare({ migrationId, protocol, domainXml, cookieIn, migrationUri: '' });
}

/** Up to and with Perform. */
async function send(names: { migrationId: string; domain: string }, protocol: typeof v2 | typeof v3 = v3) {
  const { migrationUri, cookieOut: cookieIn } = await prepare(names, protocol);
  return callsOf(world.a).perform({ ...names, protocol, cookieIn, migrationUri, options: undefined });
}

const cancelled = { protocol: v3, cookieIn: none, cancelled: true };

describe('a range of ports that is used up', () => {
  let port: number;
  beforeAll(async () => {
    port = world.b.migrationPorts[1];
    await world.b.dest.restart({ env: { FERRY_MIGRATION_PORTS: `${port}-${port}` } });
  });
  afterAll(async () => {
    await world.b.dest.restart({ env: { FERRY_MIGRATION_PORTS: world.b.migrationPorts.join('-') } });
  });

  it('by another migration refuses; when that has ended there is a place', async () => {
    const other = await world.boot(world.a);
    const names = newNames(other);
    await prepare(names);
    expect(endOf(await world.migrate(guest))).toMatchObject({
      outcome: Outcome.OUTCOME_FAILED,
      failure: { reason: 'ports-exhausted', side: Side.SIDE_DEST, retryable: true },
    });
    await world.expectSettled(guest, world.a);

    await callsOf(world.b).finish({ ...names, ...cancelled });
    await callsOf(world.a).confirm({ ...names, ...cancelled });
    await world.expectSettled(other, world.a);
    expect(endOf(await world.migrate(other)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(other, world.b);
    await callsOf(world.b).destroy(other.name);
  });

  it('by somebody else refuses as well', async () => {
    const server = createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    const { domainXml } = await callsOf(world.a).dumpXml(newNames());
    const { migrationId } = newNames();
    const place = { migrationId, protocol: v2, domainXml, cookieIn: none, migrationUri: '' };
    const failure = await refusal(callsOf(world.b).prepare(place));
    expect(failure).toMatchObject({ reason: 'ports-exhausted', code: status.RESOURCE_EXHAUSTED });
    expect(failure.message).toContain(String(port));
    server.close();
    await world.expectSettled(guest, world.a);
  });
});

describe('a QEMU', () => {
  it.each([
    ['that says why it ends', 'fails', /status 3: .*the firmware is on fire/s],
    ['that ends without a word', 'ends', /status 0/],
    ['that is killed while it starts', 'dies', /SIGKILL/],
    ['that is none', 'babbles', /monitor/],
  ] as const)('%s at the destination: the migration fails with its last words', async (_what, how, words) => {
    await behave('b', how);
    const { outcome, failure } = endOf(await world.migrate(guest));
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    expect(failure).toMatchObject({ reason: 'qemu-start-failed', side: Side.SIDE_DEST });
    expect(failure?.message).toMatch(words);
    await world.expectSettled(guest, world.a);
  });

  it('that never answers holds nobody up for longer than the caller likes', async () => {
    await behave('b', 'hangs');
    const { domainXml } = await callsOf(world.a).dumpXml(newNames());
    const place = { migrationId: randomUUID(), protocol: v2, domainXml, cookieIn: none, migrationUri: '' };
    const hurried = callsOf(world.b).prepare(place, AbortSignal.timeout(1_000));
    await expect(hurried).rejects.toMatchObject({ name: 'TimeoutError' });
    await world.expectSettled(guest, world.a);
  });

  it('that does not start leaves no domain behind', async () => {
    const { xml, uuid } = world.describe();
    await behave('a', 'fails');
    const failure = await refusal(callsOf(world.a).start(xml));
    expect(failure).toMatchObject({ reason: 'qemu-start-failed', code: status.FAILED_PRECONDITION });
    expect(failure.message).toContain('the firmware is on fire');
    expect(existsSync(join(world.a.stateDir, 'domains', uuid))).toBe(false);
    await rm(join(behaviours, 'a'));
    await callsOf(world.a).start(xml);
    await callsOf(world.a).destroy(uuid);
  });

  it('that is not installed keeps an agent from serving, and it says what to do', async () => {
    const { dest } = world.b;
    await dest.kill('SIGTERM');
    await expect(dest.start({ FERRY_QEMU: join(behaviours, 'nothing') })).rejects.toThrow(/ended/);
    expect(dest.log.lines().join()).toContain('install QEMU or set FERRY_QEMU');
    await dest.start({ FERRY_QEMU: join(behaviours, 'qemu') });
  });

  it('killed after Prepare: Perform fails, and Finish has nothing to end', async () => {
    const names = newNames();
    const { migrationUri, cookieOut: cookieIn } = await prepare(names);
    await killQemu(world, world.b, guest);
    const way = { protocol: v3, cookieIn, migrationUri, options: undefined };
    // The source’s QEMU only sees that nobody listens.
    const first = { reason: 'incoming-failed', side: Side.SIDE_DEST };
    expect(await refusal(callsOf(world.a).perform({ ...names, ...way }))).toMatchObject(first);
    expect((await callsOf(world.b).finish({ ...names, ...cancelled })).domain).toBeUndefined();
    expect((await callsOf(world.a).confirm({ ...names, ...cancelled })).outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
    const { migration } = await callsOf(world.b).getIncoming(names);
    expect(migration?.failure).toMatchObject({ reason: 'incoming-failed', side: Side.SIDE_DEST });
  });

  it('killed at the destination while memory flows: the guest runs on', async () => {
    const { events } = await startMigration(world, guest);
    await killQemu(world, world.b, guest);
    const { outcome, failure } = endOf(await events);
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    expect(failure?.reason).toMatch(/^(migration|incoming)-failed$/);
    await world.expectSettled(guest, world.a);
  });

  it('killed at the destination before Finish: the guest runs on', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    await killQemu(world, world.b, guest);
    await eventually('its agent has seen that', async () => {
      return (await callsOf(world.b).getIncoming(names)).migration?.active === false;
    });
    const finish = { ...names, protocol: v3, cookieIn, cancelled: false };
    expect(await refusal(callsOf(world.b).finish(finish))).toMatchObject({
      reason: 'incoming-failed',
      side: Side.SIDE_DEST,
    });
    expect((await callsOf(world.a).confirm({ ...names, ...cancelled })).outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('killed at the destination, whose agent may not have seen it when Finish comes: the guest runs on', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    await killQemu(world, world.b, guest);
    const failure = await refusal(callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false }));
    expect(failure.reason).toMatch(/^(incoming-failed|in-doubt)$/);
    expect((await callsOf(world.a).confirm({ ...names, ...cancelled })).outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('killed at the source while memory flows: the guest is gone, and nothing waits for it', async () => {
    const unlucky = await world.boot(world.a);
    const { events } = await startMigration(world, unlucky);
    await killQemu(world, world.a, unlucky);
    expect(endOf(await events)).toMatchObject({
      outcome: Outcome.OUTCOME_GUEST_LOST,
      failure: { reason: 'guest-gone', side: Side.SIDE_SOURCE, retryable: false },
    });
    await eventually('both agents let go', async () => (await world.leases(unlucky)).length === 0);
    expect(await world.hostsOf(unlucky)).toEqual([]);
    expect(world.lab.qemus().filter((qemu) => qemu.domain === unlucky.uuid)).toEqual([]);
    expect(existsSync(join(world.b.stateDir, 'domains', unlucky.uuid))).toBe(false);
    // What is left of it on the source makes way when it is started again.
    await callsOf(world.a).start(unlucky.xml);
    await callsOf(world.a).destroy(unlucky.name);
    await expectNothingOf(world, unlucky);
  });

  it.each([
    ['Finish is called all the same: the guest runs at the destination', false],
    ['Finish is cancelled: the destination asks, and its copy, the only one, goes on', true],
  ])('killed at the source after Perform; %s', async (_what, givenUp) => {
    const unlucky = await world.boot(world.a);
    const names = newNames(unlucky);
    const { cookieOut } = await send(names);
    await killQemu(world, world.a, unlucky);
    const cookieIn = givenUp ? none : cookieOut;
    const finished = await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: givenUp });
    const confirming = callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: givenUp });
    expect((await confirming).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(unlucky, world.b);
    await callsOf(world.b).destroy(unlucky.name);
  });

  it.each([
    ['the caller asks for it back', true],
    ['nobody calls', false],
  ])(
    'killed at the source after Perform; %s: its agent hands the guest over, for there is no other copy',
    async (_what, asked) => {
      const unlucky = await world.boot(world.a);
      const names = newNames(unlucky);
      await send(names);
      await killQemu(world, world.a, unlucky);
      if (asked) {
        const confirming = callsOf(world.a).confirm({ ...names, ...cancelled });
        expect((await confirming).outcome).toBe(Outcome.OUTCOME_COMPLETED);
      } else await callsOf(world.a).abort(names);
      await world.expectSettled(unlucky, world.b);
      expect((await callsOf(world.a).get(names)).migration).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
      await callsOf(world.b).destroy(unlucky.name);
    },
  );

  it('destroyed at the source after Perform by its user: it is refused until the guest is back, and then nothing is left', async () => {
    const unlucky = await world.boot(world.a);
    const names = newNames(unlucky);
    await send(names);
    expect(await refusal(callsOf(world.a).destroy(unlucky.name))).toMatchObject({ reason: 'switching-over' });
    await callsOf(world.a).abort(names);
    await world.expectSettled(unlucky, world.a);
    await callsOf(world.a).destroy(unlucky.name);
    await callsOf(world.b).abortIncoming(names);
    await expectNothingOf(world, unlucky);
  });

  it('killed while nothing happens to it: its domain can be started again', async () => {
    const unlucky = await world.boot(world.a);
    await killQemu(world, world.a, unlucky);
    expect(await refusal(callsOf(world.a).getDomain(unlucky.name))).toMatchObject({ reason: 'domain-not-found' });
    expect(endOf(await world.migrate({ ...unlucky, name: unlucky.uuid })).failure).toMatchObject({
      reason: 'domain-not-found',
    });
    await callsOf(world.a).start(unlucky.xml);
    await callsOf(world.a).destroy(unlucky.name);
    await expectNothingOf(world, unlucky);
  });
});

describe('a QEMU that somebody else started', () => {
  let others: ChildProcess[];
  beforeAll(() => {
    others = [];
  });
  afterAll(() => {
    for (const other of others) other.kill('SIGKILL');
  });

  /** As another program would start it: running at once, with a monitor for that program and one for us. */
  async function startElsewhere(): Promise<TestGuest & { monitor: string }> {
    const described = world.describe();
    const socket = (use: string): string => join(world.lab.dir, `${described.name}.${use}`);
    const monitors = ['own', 'for-us'].flatMap((use) => [
      '-chardev',
      `socket,id=${use},path=${socket(use)},server=on,wait=off`,
      '-mon',
      `chardev=${use},mode=control`,
    ]);
    const args = ['-nodefaults', '-no-user-config', '-display', 'none', ...monitors];
    const domain = parseDomain(described.xml, { allowedRoots: ['/'], maxBytes: 1024 * 1024 });
    args.push(...qemuArguments(completeDomain(domain, { machineAliases: {} })));
    const qemu = spawn('qemu-system-x86_64', args, { detached: true, stdio: 'ignore' });
    others.push(qemu);
    const monitor = await Monitor.connect(socket('own'), patience());
    await monitor[Symbol.asyncDispose]();
    await world.ticksOn(described);
    return { ...described, monitor: socket('for-us') };
  }

  it('is adopted, and migrates like any other', async () => {
    const other = await startElsewhere();
    const { domain } = await callsOf(world.a).adopt({ monitorPath: other.monitor, domainXml: other.xml });
    expect(domain).toMatchObject({ uuid: other.uuid, state: DomainState.DOMAIN_STATE_RUNNING, job: '' });
    expect(domain?.qemuPid).toBe(others.at(-1)?.pid);
    await world.expectSettled(other, world.a);
    expect(await refusal(callsOf(world.a).start(other.xml))).toMatchObject({ reason: 'domain-exists' });

    // An agent that is restarted finds it again.
    await world.a.source.restart();
    expect(await world.domainOn(world.a, other)).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
    const { outcome, failure } = endOf(await world.migrate(other));
    expect(failure).toBeUndefined();
    expect(outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(other, world.b);
    await callsOf(world.b).destroy(other.name);
  });

  it.each([
    [
      'memory',
      (xml: string) => xml.replaceAll("emory unit='MiB'>64", "emory unit='MiB'>32"),
      /67108864 bytes of memory/,
    ],
    ['number of CPUs', (xml: string) => xml.replace('<vcpu>1', '<vcpu>2'), /1 CPUs instead of 2/],
    ['UUID', (xml: string) => xml.replace(/<uuid>........-/, '<uuid>01234567-'), /UUID .* instead of 01234567-/],
  ] as const)('is refused if the XML says another %s, and goes on', async (_what, change, difference) => {
    const other = await startElsewhere();
    const domainXml = change(other.xml);
    expect(domainXml).not.toBe(other.xml);
    const failure = await refusal(callsOf(world.a).adopt({ monitorPath: other.monitor, domainXml }));
    expect(failure.code).toBe(status.FAILED_PRECONDITION);
    expect(failure.message).toMatch(difference);
    expect(await world.hostsOf(other)).toEqual([]);
    await world.ticksOn(other);
    // Nobody has taken the monitor away: with the right document it is adopted.
    await callsOf(world.a).adopt({ monitorPath: other.monitor, domainXml: other.xml });
    await world.expectSettled(other, world.a);
    await callsOf(world.a).destroy(other.name);
  });

  it('is refused if nobody answers on its monitor', async () => {
    const { xml } = world.describe();
    const nobody = join(world.lab.dir, 'nobody.sock');
    const failure = await refusal(callsOf(world.a).adopt({ monitorPath: nobody, domainXml: xml }));
    expect(failure).toMatchObject({ reason: 'qemu-unreachable', code: status.UNAVAILABLE });
    expect(failure.message).toContain(nobody);
  });
});

describe('a caller that disappears', () => {
  beforeAll(async () => {
    const env = { FERRY_IDLE_MS: '2000' };
    await Promise.all([world.a.source.restart({ env }), world.b.dest.restart({ env })]);
  });

  it('after Begin: the agents let go, and say why', async () => {
    const names = newNames();
    await callsOf(world.a).begin({ ...names, options: undefined });
    await world.expectSettled(guest, world.a);
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({
      active: false,
      outcome: Outcome.OUTCOME_FAILED,
      failure: { reason: 'abandoned', retryable: true },
    });
  });

  it.each([
    ['v3', v3],
    ['v2', v2],
  ] as const)('%s after Prepare: the place is cleared', async (_name, protocol) => {
    const names = newNames();
    await prepare(names, protocol);
    await world.expectSettled(guest, world.a);
    expect((await callsOf(world.b).getIncoming(names)).migration).toMatchObject({
      active: false,
      outcome: Outcome.OUTCOME_FAILED,
      failure: { reason: 'abandoned', side: Side.SIDE_DEST },
    });
  });

  it('before anything was sent, with a Finish that waits: the place is cleared, and it is told why', async () => {
    const names = newNames();
    await prepare(names, v2);
    const finishing = callsOf(world.b).finish({ ...names, protocol: v2, cookieIn: none, cancelled: false });
    expect(await refusal(finishing)).toMatchObject({ reason: 'abandoned', side: Side.SIDE_DEST });
    await world.expectSettled(guest, world.a);
  });

  it.each([
    ['v3', v3],
    ['v2', v2],
  ] as const)('%s after Perform: the guest runs on at the source', async (_name, protocol) => {
    const names = newNames();
    await send(names, protocol);
    await world.expectSettled(guest, world.a);
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({
      active: false,
      outcome: Outcome.OUTCOME_FAILED,
    });
    // Who comes back is told.
    expect((await callsOf(world.b).finish({ ...names, ...cancelled, protocol })).domain).toBeUndefined();
  });

  it('v3 after Finish: the guest runs at the destination, and the source ends its copy', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    const finished = await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await world.expectSettled(guest, world.b);
    const confirm = { ...names, cookieIn: finished.cookieOut, cancelled: false };
    expect((await callsOf(world.a).confirm(confirm)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
  });
});
