import {
  mkdir,
  mkdtemp,
  open,
  readFile,
  readdir,
  readlink,
  rm,
  symlink,
  type FileHandle,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { HandoverError } from './errors.ts';
import type { HandoverEntry } from './journal-entry.ts';
import { HandoverJournal, HandoverJournals } from './journal.ts';

const entry: HandoverEntry = {
  migrationId: '11111111-1111-4111-8111-111111111111',
  domain: '22222222-2222-4222-8222-222222222222',
  name: 'web-1',
  protocol: 3,
  wasRunning: true,
  incarnation: 'one',
  run: 'run-1',
  asking: false,
  peerAddress: 'b:7102',
  peerHost: 'b',
  owner: { epoch: 3, sinceMs: 1 },
  startedOn: '',
  voteSeen: false,
  promised: [],
  decision: undefined,
  ended: false,
};

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-journal-'));
  path = join(dir, 'guest', 'handover.json');
});
afterEach(async () => rm(dir, { recursive: true }));

describe('the journal', () => {
  it('reads what was written before there were nonces', async () => {
    const { run: _run, ...older } = entry;
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, JSON.stringify(older));
    expect(await new HandoverJournal(path).read()).toEqual({ ...entry, run: '' });
  });

  it('knows in its next life what it was told', async () => {
    await new HandoverJournal(path).write(entry);
    expect(await new HandoverJournal(path).read()).toEqual(entry);
    await new HandoverJournal(path).remove();
    expect(await new HandoverJournal(path).read()).toBeUndefined();
  });

  it('keeps the last of several entries that are written at once, and nothing beside it', async () => {
    const journal = new HandoverJournal(path);
    const writes = ['one', 'two', 'three'].map((life) => journal.write({ ...entry, promised: [life] }));
    await Promise.all(writes);
    expect((await journal.read())?.promised).toEqual(['three']);
    expect(await readdir(join(dir, 'guest'))).toEqual(['handover.json']);
  });

  it('that was damaged is refused, wherever it was cut', async () => {
    const journal = new HandoverJournal(path);
    await journal.write({ ...entry, decision: 'committed' });
    const whole = await readFile(path, 'utf8');
    for (let length = 0; length < whole.length; length += 1) {
      await writeFile(path, whole.slice(0, length));
      await expect(journal.read()).rejects.toMatchObject({ kind: 'journal-damaged' });
    }
  });

  it.each(['null', '[]', '{"protocol":4}', '{"decision":"maybe"}'])('with %s in it is refused', async (text) => {
    const journal = new HandoverJournal(path);
    await journal.write(entry);
    const changed = text.startsWith('{') ? JSON.stringify({ ...entry, ...JSON.parse(text) }) : text;
    await writeFile(path, changed);
    await expect(journal.read()).rejects.toMatchObject({ kind: 'journal-damaged' });
  });
});

/** The files and directories that are synced from now on, in order, by their names in `dir`. */
async function watchSyncs(): Promise<Disposable & { readonly synced: string[] }> {
  await using any = await open(dir, 'r');
  const handle: Pick<FileHandle, 'sync'> = Object.getPrototypeOf(any);
  const { sync } = handle;
  const synced: string[] = [];
  handle.sync = async function (this: FileHandle) {
    synced.push((await readlink(`/proc/self/fd/${this.fd}`)).slice(dir.length));
    return sync.call(this);
  };
  return { synced, [Symbol.dispose]: () => void (handle.sync = sync) };
}

describe('durability', () => {
  const file = ['/state/handover/source/x.json.new', '/state/handover/source'];
  const path3 = () => join(dir, 'state', 'handover', 'source', 'x.json');

  it('is the file’s, its directory’s and that of the directories made for it', async () => {
    using watched = await watchSyncs();
    await new HandoverJournal(path3()).write(entry);
    expect(watched.synced.slice(-2)).toEqual(file);
    expect(watched.synced.slice(0, -2)).toEqual(['/state/handover', '/state', '']);
  });

  it('is the ended entry’s as any other’s: it takes the place of one that was durable', async () => {
    const journal = new HandoverJournal(path3());
    await journal.write(entry);
    using watched = await watchSyncs();
    await journal.write({ ...entry, decision: 'committed', ended: true });
    expect(watched.synced).toEqual(file);
  });
});

it('a journal that cannot be written says so, and where, and the next try may succeed', async () => {
  await writeFile(join(dir, 'guest'), '');
  const journal = new HandoverJournal(path);
  const unwritable = { kind: 'journal-unwritable', message: expect.stringContaining(path) };
  await expect(journal.write(entry)).rejects.toMatchObject(unwritable);
  await rm(join(dir, 'guest'));
  await journal.write(entry);
  expect(await journal.read()).toEqual(entry);
});

describe('a journal that cannot be read', () => {
  it('is not one that is not there', async () => {
    await mkdir(path, { recursive: true });
    await expect(new HandoverJournal(path).read()).rejects.toMatchObject({ kind: 'journal-unreadable' });
    await rm(path, { recursive: true });
    await symlink('handover.json', path);
    await expect(new HandoverJournal(path).read()).rejects.toMatchObject({ kind: 'journal-unreadable' });
    await writeFile(join(dir, 'file'), '');
    const under = new HandoverJournal(join(dir, 'file', 'handover.json'));
    await expect(under.read()).rejects.toMatchObject({ kind: 'journal-unreadable' });
  });

  it('hides none of the others', async () => {
    const journals = new HandoverJournals(join(dir, 'source'), () => undefined);
    await journals.of(entry.migrationId).write(entry);
    await mkdir(join(dir, 'source', `${otherId}.json`));
    const { entries, unknown } = await journals.unfinished();
    expect(entries).toEqual([entry]);
    expect(unknown).toMatchObject([{ migrationId: otherId, error: { kind: 'journal-unreadable' } }]);
  });

  it('may be any of them if the directory cannot be read', async () => {
    await writeFile(join(dir, 'source'), '');
    const journals = new HandoverJournals(join(dir, 'source'), () => undefined);
    await expect(journals.unfinished()).rejects.toMatchObject({ kind: 'journal-unreadable' });
  });
});

describe('a journal that is damaged', () => {
  it('is set aside, reported once, and hides none of the others', async () => {
    const reported: HandoverError[] = [];
    const journals = () => new HandoverJournals(join(dir, 'source'), (error) => reported.push(error));
    await journals().of(entry.migrationId).write(entry);
    await writeFile(join(dir, 'source', `${otherId}.json`), '');
    for (let life = 0; life < 2; life += 1) {
      const { entries, unknown } = await journals().unfinished();
      expect(entries).toEqual([entry]);
      expect(unknown).toMatchObject([{ migrationId: otherId, error: { kind: 'journal-damaged' } }]);
    }
    expect(reported).toMatchObject([{ kind: 'journal-damaged' }]);
    expect(await readdir(join(dir, 'source'))).toContain(`${otherId}.json.damaged`);
  });

  it('is not one that is not there, until another entry is written', async () => {
    await mkdir(join(dir, 'guest'));
    await writeFile(path, '{');
    const journal = new HandoverJournal(path);
    for (let read = 0; read < 2; read += 1) {
      await expect(journal.read()).rejects.toMatchObject({ kind: 'journal-damaged' });
    }
    await journal.write({ ...entry, decision: 'aborted' });
    expect(await new HandoverJournal(path).read()).toMatchObject({ decision: 'aborted' });
  });
});

const otherId = '33333333-3333-4333-8333-333333333333';

describe('the journals of a host', () => {
  it('tell which migrations had not ended', async () => {
    const inThisLife = () => new HandoverJournals(join(dir, 'source'), () => undefined);
    const journals = inThisLife();
    expect(await journals.unfinished()).toEqual({ entries: [], unknown: [] });
    const other = { ...entry, migrationId: otherId };
    await journals.of(entry.migrationId).write(entry);
    await journals.of(other.migrationId).write({ ...other, decision: 'committed', ended: true });
    expect(await inThisLife().unfinished()).toEqual({ entries: [entry], unknown: [] });
    expect((await journals.of(other.migrationId).read())?.decision).toBe('committed');
  });

  it('keep what has ended until it is old, and no longer known', async () => {
    const journals = () => new HandoverJournals(join(dir, 'source'), () => undefined);
    await journals()
      .of(entry.migrationId)
      .write({ ...entry, decision: 'aborted', ended: true });
    const kept = async () => (await journals().of(entry.migrationId).read()) !== undefined;
    const known = (is: boolean) => () => Promise.resolve(is);
    await journals().unfinished(known(false));
    expect(await kept()).toBe(true);
    // As it looks to a clock that has jumped.
    const days = (n: number) => new Date(Date.now() - n * 24 * 60 * 60 * 1000);
    const file = join(dir, 'source', `${entry.migrationId}.json`);
    await utimes(file, days(6), days(6));
    await journals().unfinished(known(false));
    expect(await kept()).toBe(true);
    await utimes(file, days(8), days(8));
    await journals().unfinished(known(true));
    await journals().unfinished();
    expect(await kept()).toBe(true);
    await journals().unfinished(known(false));
    expect(await kept()).toBe(false);
  });
});
