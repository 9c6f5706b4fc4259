import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { queueMax } from './event-queue.ts';
import { FakeQemu } from './fake.ts';
import { Monitor } from './monitor.ts';
import { eventsBurst, pendingMax } from './session.ts';

const soon = () => AbortSignal.timeout(30_000);

async function opened(): Promise<{ qemu: FakeQemu; monitor: Monitor }> {
  const qemu = new FakeQemu();
  return { qemu, monitor: await Monitor.open(qemu.connect(), soon()) };
}

const kind = (name: string) => expect.objectContaining({ kind: name });

describe('the greeting', () => {
  it.each([
    { what: 'no QMP', bytes: 'SSH-2.0-OpenSSH_9.2\r\n' },
    { what: 'no version', bytes: '{"QMP": {}}\r\n' },
    { what: 'a version of words', bytes: '{"QMP": {"version": {"qemu": {"major": "7"}, "package": ""}}}\r\n' },
    { what: 'a reply to nothing', bytes: '{"return": {}}\r\n' },
  ])('is refused when it has $what', async ({ bytes }) => {
    const stream = new PassThrough();
    stream.write(bytes);
    await expect(Monitor.open(stream, soon())).rejects.toEqual(kind('qemu-protocol'));
    expect(stream.destroyed).toBe(true);
  });

  it('may come twice before the capabilities are negotiated, and no more', async () => {
    const greeting = '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}}}\r\n';
    const qemu = new FakeQemu();
    const wire = qemu.connect();
    qemu.send(greeting);
    await using monitor = await Monitor.open(wire, soon());
    await expect(monitor.execute('query-kvm', {}, soon())).resolves.toBeDefined();
    const reply = monitor.execute('query-kvm', {}, soon());
    qemu.send(greeting);
    await Promise.allSettled([reply]);
    await expect(monitor.execute('query-kvm', {}, soon())).rejects.toEqual(kind('qemu-protocol'));
    const again = qemu.connect();
    qemu.send(greeting + greeting);
    await expect(Monitor.open(again, soon())).rejects.toEqual(kind('qemu-protocol'));
  });

  it('is waited for no longer than the signal says', async () => {
    const stream = new PassThrough();
    const signal = AbortSignal.abort(new Error('too late'));
    await expect(Monitor.open(stream, signal)).rejects.toThrow('too late');
    const later = new AbortController();
    const silent = new PassThrough();
    const waiting = Monitor.open(silent, later.signal);
    later.abort(new Error('far too late'));
    await expect(waiting).rejects.toThrow('far too late');
    expect(silent.destroyed).toBe(true);
  });

  it('that ends in the middle is a connection that ended', async () => {
    const stream = new PassThrough();
    stream.end('{"QMP": {');
    await expect(Monitor.open(stream, soon())).rejects.toEqual(kind('qemu-disconnected'));
  });
});

describe('what QEMU may not send', () => {
  it('events without end', async () => {
    const { qemu, monitor } = await opened();
    const reply = monitor.events('STOP', soon());
    qemu.send(event('RESUME', {}).repeat(3 * eventsBurst));
    await expect(reply.next()).rejects.toEqual(kind('qemu-disconnected'));
    await expect(monitor.execute('query-status', {}, soon())).rejects.toThrow(/more than 1000 events a second/);
  });

  it.each([
    { what: 'bytes that are no QMP', bytes: 'assertion failed\n' },
    { what: 'an answer that nobody asked for', bytes: '{"return": {}, "id": 77}\n' },
    { what: 'an error without an id', bytes: '{"error": {"class": "GenericError", "desc": "?"}}\n' },
    { what: 'an event without its time', bytes: '{"event": "STOP"}\n' },
    { what: 'an event of the wrong shape', bytes: event('MIGRATION', { status: 7 }) },
  ])('$what ends the conversation, and every waiter learns why', async ({ bytes }) => {
    const { qemu, monitor } = await opened();
    qemu.answer('query-status', () => undefined);
    using _stops = monitor.on('STOP', () => {});
    const changes = monitor.events('MIGRATION', soon()).next();
    const reply = monitor.execute('query-status', {}, soon());
    qemu.send(bytes);
    await expect(reply).rejects.toEqual(kind('qemu-protocol'));
    await expect(changes).rejects.toMatchObject({ kind: 'qemu-disconnected', cause: { kind: 'qemu-protocol' } });
    expect(monitor.closed.reason).toMatchObject({ kind: 'qemu-disconnected', cause: { kind: 'qemu-protocol' } });
    await expect(monitor.execute('stop', {}, soon())).rejects.toEqual(kind('qemu-protocol'));
  });

  it('a reply of the wrong shape is refused, and the conversation goes on', async () => {
    const { qemu, monitor } = await opened();
    qemu.answer('query-status', () => ({ status: 'running', running: 'yes' }));
    await expect(monitor.execute('query-status', {}, soon())).rejects.toMatchObject({
      kind: 'qemu-protocol',
      message: 'query-status.running from QEMU should be of type bool and is string',
    });
    await expect(monitor.execute('query-kvm', {}, soon())).resolves.toMatchObject({ enabled: false });
  });

  it('an error that is no error is refused', async () => {
    const { qemu, monitor } = await opened();
    qemu.answer('stop', () => undefined);
    const reply = monitor.execute('stop', {}, soon());
    qemu.send('{"error": "no", "id": 1}\n');
    await expect(reply).rejects.toEqual(kind('qemu-protocol'));
  });
});

describe('bounds', () => {
  it('refuses a command when too many wait, also for callers that have gone', async () => {
    const { qemu, monitor } = await opened();
    qemu.answer('query-status', () => undefined);
    const gone = new AbortController();
    const left = Array.from({ length: pendingMax }, () => monitor.execute('query-status', {}, gone.signal));
    gone.abort(new Error('gone'));
    await Promise.allSettled(left);
    await expect(monitor.execute('stop', {}, soon())).rejects.toEqual(kind('qemu-unreachable'));
    await monitor[Symbol.asyncDispose]();
  });

  it('does not give the answer to a command whose caller has gone to another', async () => {
    const { qemu, monitor } = await opened();
    qemu.answer('query-status', () => undefined);
    const gone = new AbortController();
    const left = monitor.execute('query-status', {}, gone.signal);
    gone.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    qemu.answer('query-kvm', () => undefined);
    const asked = monitor.execute('query-kvm', {}, soon());
    qemu.send('{"return": {"status": "running", "running": true, "singlestep": false}, "id": 1}\n');
    qemu.send('{"return": {"enabled": true, "present": true}, "id": 2}\n');
    expect(await asked).toEqual({ enabled: true, present: true });
  });

  it('ends a subscription that nobody looks at, and nothing else', async () => {
    const { qemu, monitor } = await opened();
    const passes = monitor.events('MIGRATION_PASS', soon());
    const last = monitor.events('STOP', soon()).next();
    for (let pass = 0; pass <= queueMax; pass += 1) qemu.emit('MIGRATION_PASS', { pass });
    qemu.emit('STOP', {});
    await last;
    let seen = 0;
    const all = (async () => {
      for await (const _ of passes) seen += 1;
    })();
    await expect(all).rejects.toEqual(kind('qemu-protocol'));
    expect(seen).toBe(queueMax + 1);
    await expect(monitor.execute('query-kvm', {}, soon())).resolves.toBeDefined();
  });
});

describe('events', () => {
  it('are passed over when nobody listens or nobody knows them', async () => {
    const { qemu, monitor } = await opened();
    qemu.send('{"event": "FROM_THE_FUTURE"}\n{"event": "STOP"}\n');
    await expect(monitor.execute('query-kvm', {}, soon())).resolves.toBeDefined();
  });

  it('that came before the end are handed out before it is thrown', async () => {
    const { qemu, monitor } = await opened();
    const changes = monitor.events('MIGRATION', soon());
    qemu.emit('MIGRATION', { status: 'active' });
    qemu.emit('MIGRATION', { status: 'completed' });
    await monitor.execute('query-kvm', {}, soon());
    qemu.die();
    if (!monitor.closed.aborted) await once(monitor.closed, 'abort');
    const seen: string[] = [];
    const all = (async () => {
      for await (const { data } of changes) seen.push(data.status);
    })();
    await expect(all).rejects.toEqual(kind('qemu-disconnected'));
    expect(seen).toEqual(['active', 'completed']);
  });

  it('end with the signal, and without a trace when the loop is left', async () => {
    const { qemu, monitor } = await opened();
    const enough = new AbortController();
    const waiting = monitor.events('STOP', enough.signal).next();
    enough.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    const stops = monitor.events('STOP', soon());
    qemu.emit('STOP', {});
    for await (const { name } of stops) {
      expect(name).toBe('STOP');
      break;
    }
    expect(await stops.next()).toEqual({ done: true, value: undefined });
    await expect(monitor.events('STOP', AbortSignal.abort(new Error('never'))).next()).rejects.toThrow('never');
  });

  it('carry the time of QEMU, in µs', async () => {
    const { qemu, monitor } = await opened();
    const stops = monitor.events('STOP', soon());
    qemu.send('{"timestamp": {"seconds": 1700000000, "microseconds": 123456}, "event": "STOP"}\n');
    expect((await stops.next()).value).toEqual({ name: 'STOP', data: {}, atUs: 1_700_000_000_123_456 });
  });

  it('a listener that throws ends the conversation with its error as the cause', async () => {
    const { qemu, monitor } = await opened();
    using _listening = monitor.on('STOP', () => {
      throw new Error('a broken invariant');
    });
    qemu.answer('query-status', () => undefined);
    const reply = monitor.execute('query-status', {}, soon());
    qemu.emit('STOP', {});
    await expect(reply).rejects.toMatchObject({ kind: 'qemu-disconnected', cause: { message: 'a broken invariant' } });
  });

  it('end with whoever ends the conversation from inside a listener', async () => {
    const { qemu, monitor } = await opened();
    const seen: string[] = [];
    let ended: Promise<void> | undefined;
    using _listening = monitor.on('STOP', ({ name }) => {
      seen.push(name);
      ended = monitor[Symbol.asyncDispose]();
    });
    qemu.send(event('STOP', {}) + event('STOP', {}));
    if (!monitor.closed.aborted) await once(monitor.closed, 'abort');
    await ended;
    expect(seen).toEqual(['STOP']);
  });
});

/** An event as QEMU writes it. */
function event(name: string, data: object): string {
  return `${JSON.stringify({ timestamp: { seconds: 1, microseconds: 2 }, event: name, data })}\r\n`;
}
