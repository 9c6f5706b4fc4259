import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { HandoverRegister, OwnerRecords } from './index.ts';

const never = new AbortController().signal;
const domain = randomUUID();
const migrationId = randomUUID();

let server: PrivateRedis;
let source: HandoverRegister;
let dest: HandoverRegister;
let owners: OwnerRecords;
let incarnation: string;

beforeEach(async () => {
  server = await startRedis();
  source = new HandoverRegister({ redis: server.client(), host: 'a', side: 'source', address: 'a:1' });
  dest = new HandoverRegister({ redis: server.client(), host: 'b', side: 'dest', address: 'b:1' });
  owners = new OwnerRecords({ redis: server.client(), host: 'a' });
  incarnation = await source.incarnation(never);
  await owners.claim({ uuid: domain, name: 'web-1' }, 'start', 'started', never);
  await source.begin(here(), never);
  await dest.begin(here(), never);
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const here = () => ({ domain, migrationId, incarnation, run: 'run-1' });
const idsIn = (info: string) => ({
  runId: /^run_id:(\w+)/m.exec(info)?.[1],
  replId: /^master_replid:(\w+)/m.exec(info)?.[1],
});
const ran = <R>(of: R) => ({ ...of, ran: true });

describe('the register', () => {
  it('says with every commit whether the guest ran until it was stopped, as the vote did', async () => {
    await source.vote({ ...here(), ran: false }, never);
    expect(await dest.commit({ ...here(), carried: undefined }, never)).toMatchObject({ ran: false });
    expect(await dest.abort(here(), never)).toMatchObject({ decision: 'committed', ran: false });

    const another = { ...here(), migrationId: randomUUID() };
    await source.begin(another, never);
    await dest.begin(another, never);
    expect(await dest.commit({ ...another, carried: { ran: true } }, never)).toMatchObject({ ran: true });
    expect(await dest.abort(another, never)).toMatchObject({ decision: 'committed', ran: true });
  });

  it('commits after the vote, and gives the guest to the destination', async () => {
    expect(await source.look(here(), never)).toMatchObject({ decision: 'none', incarnation: '' });
    expect(await source.vote(ran(here()), never)).toBe('undecided');
    expect(await source.look(here(), never)).toMatchObject({ decision: 'undecided', incarnation });
    expect(await owners.of(domain, never)).toMatchObject({ host: 'a', epoch: 1, evidence: 'started' });

    expect(await dest.commit({ ...here(), carried: undefined }, never)).toMatchObject({ decision: 'committed' });
    const owner = await owners.of(domain, never);
    expect(owner).toMatchObject({
      host: 'b',
      epoch: 2,
      evidence: `migration ${migrationId} committed under ${incarnation}`,
    });

    expect(await source.abort(here(), never)).toMatchObject({ decision: 'committed' });
    expect(await source.vote(ran(here()), never)).toBe('committed');
    expect(await dest.commit({ ...here(), carried: { ran: true } }, never)).toMatchObject({ decision: 'committed' });
    expect(await owners.of(domain, never)).toEqual(owner);
  });

  it('tells each side where the other is reached', async () => {
    const addresses = { source: 'a:1', dest: 'b:1' };
    expect(await source.begin(here(), never)).toEqual(addresses);
    expect(await dest.renew(here(), never)).toEqual(addresses);
    const another = { ...here(), migrationId: randomUUID() };
    expect(await source.begin(another, never)).toEqual({ source: 'a:1', dest: '' });
  });

  it('makes no record when one is renewed that is gone', async () => {
    await server.client().flushall();
    const forgotten = { kind: 'register-changed', message: expect.stringContaining('has lost the migration’s record') };
    await expect(source.renew(here(), never)).rejects.toMatchObject(forgotten);
    await expect(source.renew({ ...here(), incarnation: 'another' }, never)).rejects.toMatchObject({
      kind: 'register-changed',
    });
    expect(await server.client().keys('*')).toEqual([]);
  });

  it('refuses to commit without a vote, and takes a carried one', async () => {
    await expect(dest.commit({ ...here(), carried: undefined }, never)).rejects.toMatchObject({ kind: 'vote-missing' });
    expect(await source.look(here(), never)).toMatchObject({ decision: 'none', incarnation: '' });
    expect(await dest.commit({ ...here(), carried: { ran: true } }, never)).toMatchObject({ decision: 'committed' });
    expect(await source.vote(ran(here()), never)).toBe('committed');
  });

  it('has one destination: another host cannot join, commit, drop or withdraw', async () => {
    const other = new HandoverRegister({ redis: server.client(), host: 'c', side: 'dest', address: 'c:1' });
    const refused = { kind: 'prepared-elsewhere', message: expect.stringContaining('host b') };
    await expect(other.begin(here(), never)).rejects.toMatchObject(refused);
    await expect(other.join(here(), never)).rejects.toMatchObject(refused);
    expect(await source.renew(here(), never)).toEqual({ source: 'a:1', dest: 'b:1' });

    await source.vote(ran(here()), never);
    const changed = { kind: 'register-changed' };
    await expect(other.commit({ ...here(), carried: { ran: true } }, never)).rejects.toMatchObject(changed);
    await expect(other.abort(here(), never)).rejects.toMatchObject(changed);
    const { grant } = await dest.commit({ ...here(), carried: undefined }, never);
    await expect(other.withdraw({ ...here(), grant }, never)).rejects.toMatchObject(changed);
    await expect(other.giveBack(here(), never)).rejects.toMatchObject(changed);
    expect(await owners.of(domain, never)).toMatchObject({ host: 'b' });
  });

  it('lets nobody begin or join after a vote or a decision: the id is of an earlier migration', async () => {
    const used = { kind: 'migration-id-used', message: expect.stringContaining('choose a fresh migration id') };
    await source.vote(ran(here()), never);
    await expect(source.begin(here(), never)).rejects.toMatchObject(used);
    await dest.commit({ ...here(), carried: undefined }, never);
    await expect(source.begin(here(), never)).rejects.toMatchObject(used);
    await expect(dest.begin(here(), never)).rejects.toMatchObject(used);
    await expect(dest.join(here(), never)).rejects.toMatchObject(used);

    const another = { ...here(), migrationId: randomUUID() };
    await dest.begin(another, never);
    await dest.abort(another, never);
    await expect(source.begin(another, never)).rejects.toMatchObject(used);
  });

  describe('with a record of an earlier run of the id', () => {
    const later = () => ({ ...here(), run: 'run-2' });
    const forgotten = { kind: 'register-changed', message: expect.stringContaining('another run of the id') };
    const key = `ferry:{${domain}}:handover:${migrationId}`;

    it('that is undecided: nobody begins another run of it, and nobody joins', async () => {
      const used = { kind: 'migration-id-used', message: expect.stringContaining('was begun before') };
      await expect(source.begin(later(), never)).rejects.toMatchObject(used);
      await expect(dest.begin(later(), never)).rejects.toMatchObject(used);
      await expect(dest.join(later(), never)).rejects.toMatchObject(forgotten);
      await expect(source.renew(later(), never)).rejects.toMatchObject(forgotten);
      expect(await source.begin(here(), never)).toEqual({ source: 'a:1', dest: 'b:1' });
    });

    it('that is decided: it decides nothing for this run, nor does it change', async () => {
      const { grant } = await dest.commit({ ...here(), carried: { ran: true } }, never);
      const recorded = await server.client().hgetall(key);
      for (const asked of [
        source.vote(ran(later()), never),
        source.abort(later(), never),
        dest.abort(later(), never),
        dest.commit({ ...later(), carried: { ran: true } }, never),
        source.bind(ran(later()), never),
        dest.withdraw({ ...later(), grant }, never),
        dest.giveBack(later(), never),
      ])
        await expect(asked).rejects.toMatchObject(forgotten);
      expect(await source.look(later(), never)).toMatchObject({ decision: 'none', run: 'run-1' });
      expect(await server.client().hgetall(key)).toEqual(recorded);
      expect(await owners.of(domain, never)).toMatchObject({ host: 'b' });
    });

    it('of an agent that knew no runs: it is of the run without a name', async () => {
      await server.client().hdel(key, 'run');
      expect(await source.look(here(), never)).toMatchObject({ run: '' });
      await expect(source.vote(ran(here()), never)).rejects.toMatchObject(forgotten);
      expect(await source.vote({ ...ran(here()), run: '' }, never)).toBe('undecided');
    });
  });

  it('keeps an abort, and the owner with it', async () => {
    expect(await source.abort(here(), never)).toMatchObject({ decision: 'aborted' });
    expect(await source.vote(ran(here()), never)).toBe('aborted');
    expect(await dest.commit({ ...here(), carried: { ran: true } }, never)).toMatchObject({ decision: 'aborted' });
    expect(await owners.of(domain, never)).toMatchObject({ host: 'a', epoch: 1 });
  });

  it('does nothing in another life of Redis', async () => {
    await source.vote(ran(here()), never);
    await server.restart();
    const changed = { kind: 'register-changed' };
    await expect(source.vote(ran(here()), never)).rejects.toMatchObject(changed);
    await expect(source.abort(here(), never)).rejects.toMatchObject(changed);
    await expect(dest.commit({ ...here(), carried: { ran: true } }, never)).rejects.toMatchObject(changed);
    await expect(dest.begin(here(), never)).rejects.toMatchObject(changed);
    expect(await dest.incarnation(never)).not.toBe(incarnation);
  });

  it('does nothing in the same process once that has been a replica: its data is another’s', async () => {
    await source.vote(ran(here()), never);
    const { runId, replId } = idsIn(await server.client().info());
    // No master is reached: it keeps its data, and yet what it has missed nobody knows.
    await server.client().multi().replicaof('127.0.0.1', '1').replicaof('NO', 'ONE').exec();
    const now = idsIn(await server.client().info());
    expect(now.runId).toBe(runId);
    expect(now.replId).not.toBe(replId);

    expect(await source.incarnation(never)).toBe(`${now.runId}:${now.replId}`);
    const changed = { kind: 'register-changed', message: expect.stringContaining(incarnation) };
    await expect(source.abort(here(), never)).rejects.toMatchObject(changed);
    await expect(source.renew(here(), never)).rejects.toMatchObject(changed);
    await expect(dest.commit({ ...here(), carried: { ran: true } }, never)).rejects.toMatchObject(changed);
    expect(await source.look(here(), never)).toMatchObject({ decision: 'none' });
    expect(await owners.claim({ uuid: domain, name: 'web-1' }, 'seen', 'runs here', never)).toMatchObject({
      incarnation: `${now.runId}:${now.replId}`,
    });
  });

  it('holds void what an older life of Redis was told, where its data survived', async () => {
    await source.vote(ran(here()), never);
    await dest.commit({ ...here(), carried: undefined }, never);
    const key = `ferry:{${domain}}:handover:${migrationId}`;
    const saved = await server.client().dumpBuffer(key);
    await server.restart();
    if (saved !== null) await server.client().restore(key, 0, saved);

    const incarnationNow = await source.incarnation(never);
    const now = { ...here(), incarnation: incarnationNow };
    expect(await source.look(now, never)).toMatchObject({ decision: 'none', incarnation });
    await expect(dest.commit({ ...now, carried: undefined }, never)).rejects.toMatchObject({ kind: 'vote-missing' });
    expect(await source.vote(ran(now), never)).toBe('undecided');
    expect(await source.look(now, never)).toMatchObject({ decision: 'undecided', incarnation: incarnationNow });
  });

  it('is joined by the destination only where its record is', async () => {
    expect(await dest.join(here(), never)).toEqual({ source: 'a:1', dest: 'b:1' });
    await server.client().flushall();
    const forgotten = { kind: 'register-changed', message: expect.stringContaining('has lost the migration’s record') };
    await expect(dest.join(here(), never)).rejects.toMatchObject(forgotten);
    expect(await source.look(here(), never)).toMatchObject({ decision: 'none', incarnation: '' });
    await expect(source.renew(here(), never)).rejects.toMatchObject(forgotten);
  });

  it('treats a record that has gone as a register that may have forgotten', async () => {
    await server.client().flushall();
    const changed = { kind: 'register-changed', message: expect.stringContaining('lost the migration') };
    await expect(source.vote(ran(here()), never)).rejects.toMatchObject(changed);
    await expect(source.abort(here(), never)).rejects.toMatchObject(changed);
    await expect(dest.commit({ ...here(), carried: { ran: true } }, never)).rejects.toMatchObject(changed);
    expect(await source.look(here(), never)).toMatchObject({ decision: 'none', incarnation: '' });
  });

  it('takes a commit back unless the source goes by it', async () => {
    await source.vote(ran(here()), never);
    const { grant } = await dest.commit({ ...here(), carried: undefined }, never);
    expect(await dest.withdraw({ ...here(), grant }, never)).toEqual({ decision: 'aborted', grant: '' });
    expect(await source.abort(here(), never)).toEqual({ decision: 'aborted', grant: '' });
    expect(await dest.commit({ ...here(), carried: { ran: true } }, never)).toMatchObject({ decision: 'aborted' });

    const another = { ...here(), migrationId: randomUUID() };
    await dest.begin(another, never);
    const granted = await dest.commit({ ...another, carried: { ran: true } }, never);
    expect(await source.abort(another, never)).toEqual({ decision: 'committed', grant: '', ran: true });
    expect(await dest.withdraw({ ...another, grant: granted.grant }, never)).toEqual(granted);

    const bound = { ...here(), migrationId: randomUUID() };
    await dest.begin(bound, never);
    await source.bind(ran(bound), never);
    const only = await dest.commit({ ...bound, carried: { ran: true } }, never);
    expect(await dest.withdraw({ ...bound, grant: only.grant }, never)).toEqual(only);
  });

  it('commits a record that is bound and undecided, whoever asks for an abort: the source has no copy to go back to', async () => {
    await source.begin(here(), never);
    await dest.begin(here(), never);
    await source.bind(ran(here()), never);
    const { grant, ...verdict } = await dest.abort(here(), never);
    expect(verdict).toEqual({ decision: 'committed', ran: true });
    expect(await owners.of(domain, never)).toMatchObject({ host: 'b' });
    expect(await dest.withdraw({ ...here(), grant }, never)).toMatchObject({ decision: 'committed' });
    expect(await source.abort(here(), never)).toMatchObject({ decision: 'committed' });

    const given = { ...here(), migrationId: randomUUID() };
    await source.begin(given, never);
    await dest.begin(given, never);
    expect(await dest.abort(given, never)).toMatchObject({ decision: 'aborted' });
    await source.bind(ran(given), never);
    expect(await dest.commit({ ...given, carried: { ran: true } }, never)).toMatchObject({ decision: 'aborted' });
  });

  it('does not take back what was granted anew: a withdrawal that comes late is void', async () => {
    await source.vote(ran(here()), never);
    const { grant: first } = await dest.commit({ ...here(), carried: undefined }, never);
    const { grant: second } = await dest.abort(here(), never);
    expect(second).not.toBe(first);
    expect(await dest.withdraw({ ...here(), grant: first }, never)).toMatchObject({
      decision: 'committed',
      grant: second,
    });
    expect(await dest.withdraw({ ...here(), grant: second }, never)).toMatchObject({ decision: 'aborted' });
  });

  it('withdraws nothing in another life of Redis, or from a record that is gone', async () => {
    await source.vote(ran(here()), never);
    const { grant } = await dest.commit({ ...here(), carried: undefined }, never);
    const changed = { kind: 'register-changed' };
    await expect(dest.withdraw({ ...here(), incarnation: 'another', grant }, never)).rejects.toMatchObject(changed);
    await server.client().flushall();
    await expect(dest.withdraw({ ...here(), grant }, never)).rejects.toMatchObject(changed);
  });

  it('lets records go: a month after they were last heard of, a week after the decision', async () => {
    const redis = server.client();
    const key = `ferry:{${domain}}:handover:${migrationId}`;
    const day = 24 * 60 * 60;
    expect(await redis.ttl(key)).toBeGreaterThan(29 * day);
    await source.abort(here(), never);
    expect(await redis.ttl(key)).toBeGreaterThan(6 * day);
    expect(await redis.ttl(key)).toBeLessThanOrEqual(7 * day);
    expect(await redis.ttl(`ferry:{${domain}}:owner`)).toBe(-1);
  });

  it('says that it cannot be asked: stopped, gone, or talking nonsense', async () => {
    await server.client().set(`ferry:{${domain}}:owner`, 'not a hash');
    await expect(owners.of(domain, never)).rejects.toMatchObject({ kind: 'register-reply' });
    server.freeze();
    await expect(source.vote(ran(here()), never)).rejects.toMatchObject({ kind: 'register-unavailable' });
    const caller = new AbortController();
    const asked = source.vote(ran(here()), caller.signal);
    caller.abort(new Error('hung up'));
    await expect(asked).rejects.toThrow('hung up');
    server.thaw();
    expect(await source.vote(ran(here()), never)).toBe('undecided');
    await server.kill();
    await expect(source.vote(ran(here()), never)).rejects.toMatchObject({ kind: 'register-unavailable' });
  });
});
