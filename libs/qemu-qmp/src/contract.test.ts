import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { FakeQemu } from './fake.ts';
import { Monitor } from './monitor.ts';

/** A QEMU without a guest, its CPUs not started, and a way to end it as the kernel would. */
interface Speaker extends AsyncDisposable {
  readonly socket: string;
  kill(): void;
}

async function fake(): Promise<Speaker> {
  const directory = mkdtempSync(join(tmpdir(), 'qmp-'));
  const qemu = new FakeQemu();
  const socket = join(directory, 'monitor');
  await qemu.listen(socket);
  return {
    socket,
    kill: () => qemu.die(),
    [Symbol.asyncDispose]: async () => {
      await qemu[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    },
  };
}

async function real(): Promise<Speaker> {
  const directory = mkdtempSync(join(tmpdir(), 'qmp-'));
  const socket = join(directory, 'monitor');
  const machine = ['-machine', 'q35,accel=tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none'];
  const monitor = ['-qmp', `unix:${socket},server=on,wait=off`];
  const child = spawn('qemu-system-x86_64', [...machine, ...monitor], { stdio: ['ignore', 'inherit', 'inherit'] });
  const exited = once(child, 'exit');
  return {
    socket,
    kill: () => child.kill('SIGKILL'),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await exited;
      rmSync(directory, { recursive: true });
    },
  };
}

/** For what must not take long; the test fails with its name if it does. */
const soon = () => AbortSignal.timeout(30_000);

describe.each([
  { who: 'the fake', start: fake },
  { who: 'a real QEMU', start: real },
])('$who', ({ start }) => {
  it('greets with its version', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    expect(monitor.version).toEqual({
      major: expect.any(Number),
      minor: expect.any(Number),
      micro: expect.any(Number),
      package: expect.any(String),
    });
    expect(monitor.closed.aborted).toBe(false);
  });

  it('says that nothing was started and nothing migrated', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    expect(await monitor.execute('query-status', {}, soon())).toMatchObject({ status: 'prelaunch', running: false });
    expect(await monitor.execute('query-migrate', {}, soon())).toEqual({});
  });

  it('matches replies to commands that wait together', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const [status, uuid, kvm, version] = await Promise.all([
      monitor.execute('query-status', {}, soon()),
      monitor.execute('query-uuid', {}, soon()),
      monitor.execute('query-kvm', {}, soon()),
      monitor.execute('query-version', {}, soon()),
    ]);
    expect([status.running, uuid.UUID.length, kvm.enabled]).toEqual([false, 36, false]);
    expect(version.qemu.major).toBe(monitor.version.major);
  });

  it('refuses with its own words', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const refused = monitor.execute('qom-get', { path: '/machine', property: 'no-such-thing' }, soon());
    await expect(refused).rejects.toMatchObject({
      kind: 'qemu-refused',
      message: expect.stringContaining('no-such-thing'),
      refusal: { class: 'GenericError', desc: expect.stringContaining('not found') },
    });
  });

  it('tells listeners of RESUME and STOP before the commands that cause them are answered', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const seen: { name: string; atUs: number }[] = [];
    using _resumes = monitor.on('RESUME', (event) => seen.push(event));
    const stops = monitor.on('STOP', (event) => seen.push(event));
    await monitor.execute('cont', {}, soon());
    expect(seen.map(({ name }) => name)).toEqual(['RESUME']);
    await monitor.execute('stop', {}, soon());
    expect(seen.map(({ name }) => name)).toEqual(['RESUME', 'STOP']);
    expect(seen[1]?.atUs).toBeGreaterThanOrEqual(seen[0]?.atUs ?? Infinity);
    stops[Symbol.dispose]();
    await monitor.execute('cont', {}, soon());
    await monitor.execute('stop', {}, soon());
    expect(seen.map(({ name }) => name)).toEqual(['RESUME', 'STOP', 'RESUME']);
  });

  it('keeps events from when they were asked for until they are looked at', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const early = monitor.events('RESUME', soon());
    await monitor.execute('cont', {}, soon());
    const late = monitor.events('RESUME', soon());
    await monitor.execute('stop', {}, soon());
    await monitor.execute('cont', {}, soon());
    const first = await early.next();
    const second = await early.next();
    expect(await late.next()).toEqual(second);
    expect(first.value?.atUs).toBeLessThanOrEqual(second.value?.atUs ?? 0);
  });

  it('goes on after a command that nobody waits for any more', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const gone = new AbortController();
    const abandoned = monitor.execute('query-uuid', {}, gone.signal);
    gone.abort(new Error('the caller went'));
    await expect(abandoned).rejects.toThrow('the caller went');
    expect(await monitor.execute('query-kvm', {}, soon())).toMatchObject({ enabled: false });
  });

  it('keeps capabilities and parameters, those beyond 2^53 too', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const capabilities = [{ capability: 'return-path', state: true }] as const;
    await monitor.execute('migrate-set-capabilities', { capabilities }, soon());
    const set = await monitor.execute('query-migrate-capabilities', {}, soon());
    expect(set.filter(({ state }) => state)).toEqual(capabilities);
    await monitor.execute('migrate-set-parameters', { 'downtime-limit': 7, 'max-bandwidth': 2 ** 60 }, soon());
    const parameters = await monitor.execute('query-migrate-parameters', {}, soon());
    expect(parameters).toMatchObject({ 'downtime-limit': 7, 'max-bandwidth': 2 ** 60 });
  });

  it('reports a migration that finds nobody', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const capabilities = [{ capability: 'events', state: true }] as const;
    await monitor.execute('migrate-set-capabilities', { capabilities }, soon());
    const changes = monitor.events('MIGRATION', soon());
    await monitor.execute('migrate', { uri: `unix:${qemu.socket}.nobody` }, soon()).catch(() => {
      // QEMU 7.2 refuses at once what later ones report as failed; the events are the same.
    });
    const seen: string[] = [];
    for await (const { data } of changes) {
      seen.push(data.status);
      if (data.status === 'failed') break;
    }
    expect(seen).toEqual(['setup', 'failed']);
    const info = await monitor.execute('query-migrate', {}, soon());
    expect(info).toMatchObject({ status: 'failed', 'error-desc': expect.any(String) });
  });

  it('knows what it supports', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const asked = ['migrate', 'no-such-command'].map((command) => monitor.supports({ command }, soon()));
    expect(await Promise.all(asked)).toEqual([true, false]);
    expect(await monitor.supports({ command: 'migrate', argument: 'uri' }, soon())).toBe(true);
    expect(await monitor.supports({ command: 'migrate', argument: 'no-such' }, soon())).toBe(false);
  });

  it('carries out a prepared command when it is sent, and not before', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const resumes: number[] = [];
    using _listening = monitor.on('RESUME', ({ atUs }) => resumes.push(atUs));
    using ready = monitor.prepare('cont', {});
    expect(await monitor.execute('query-status', {}, soon())).toMatchObject({ running: false });
    expect(await monitor.execute('query-status', {}, soon())).toMatchObject({ running: false });
    expect(resumes).toHaveLength(0);
    await ready.send(soon());
    expect(resumes).toHaveLength(1);
    await monitor.execute('stop', {}, soon());
    using early = monitor.prepare('cont', {});
    await early.send(soon());
    expect(resumes).toHaveLength(2);
  });

  it('forgets a prepared command that is disposed, or whose connection ends', async () => {
    await using qemu = await start();
    const monitor = await Monitor.connect(qemu.socket, soon());
    monitor.prepare('migrate-continue', { state: 'pre-switchover' })[Symbol.dispose]();
    monitor.prepare('cont', {})[Symbol.dispose]();
    expect(await monitor.execute('query-status', {}, soon())).toMatchObject({ running: false });
    monitor.prepare('cont', {});
    await monitor[Symbol.asyncDispose]();
    await using again = await Monitor.connect(qemu.socket, soon());
    expect(await again.execute('query-status', {}, soon())).toMatchObject({ status: 'prelaunch' });
  });

  it('refuses a prepared command like any other', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    using ready = monitor.prepare('migrate-continue', { state: 'pre-switchover' });
    await expect(ready.send(soon())).rejects.toMatchObject({
      kind: 'qemu-refused',
      message: expect.stringContaining('Migration not in expected state'),
    });
    expect(await monitor.execute('query-status', {}, soon())).toMatchObject({ status: 'prelaunch' });
  });

  it('says that it quits, then the connection is gone', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const shutdowns = monitor.events('SHUTDOWN', soon());
    await monitor.execute('quit', {}, soon());
    expect((await shutdowns.next()).value?.data).toMatchObject({ guest: false, reason: 'host-qmp-quit' });
    await expect(shutdowns.next()).rejects.toMatchObject({ kind: 'qemu-disconnected' });
    expect(monitor.closed.reason).toMatchObject({ kind: 'qemu-disconnected' });
    await expect(monitor.execute('query-status', {}, soon())).rejects.toMatchObject({ kind: 'qemu-disconnected' });
  });

  it('rejects every waiter with the cause when it is killed', async () => {
    await using qemu = await start();
    await using monitor = await Monitor.connect(qemu.socket, soon());
    const event = monitor.events('STOP', soon()).next();
    const reply = monitor.execute('query-status', {}, soon());
    qemu.kill();
    const ends = await Promise.allSettled([event, reply.then(() => monitor.execute('query-status', {}, soon()))]);
    for (const end of ends) expect(end).toMatchObject({ status: 'rejected', reason: { kind: 'qemu-disconnected' } });
    expect(monitor.closed.aborted).toBe(true);
  });

  it('can be connected to again', async () => {
    await using qemu = await start();
    const before = await Monitor.connect(qemu.socket, soon());
    await before.execute('cont', {}, soon());
    await before[Symbol.asyncDispose]();
    expect(before.closed.reason).toMatchObject({ kind: 'qemu-disconnected' });
    await using after = await Monitor.connect(qemu.socket, soon());
    expect(await after.execute('query-status', {}, soon())).toMatchObject({ running: true });
  });
});
