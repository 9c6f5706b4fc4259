import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type HandoverEntry, HandoverJournal, HandoverJournals } from './journal.ts';

const entry: HandoverEntry = {
  migrationId: '11111111-1111-4111-8111-111111111111',
  domain: '22222222-2222-4222-8222-222222222222',
  name: 'web-1',
  protocol: 3,
  wasRunning: true,
  incarnation: 'one',
  asking: false,
  peerAddress: 'b:7102',
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

describe('the journals of a host', () => {
  it('tell which migrations had not ended', async () => {
    const journals = new HandoverJournals(join(dir, 'source'));
    expect(await journals.unfinished()).toEqual([]);
    const other = { ...entry, migrationId: '33333333-3333-4333-8333-333333333333' };
    await journals.of(entry.migrationId).write(entry);
    await journals.of(other.migrationId).write({ ...other, decision: 'committed', ended: true });
    expect(await new HandoverJournals(join(dir, 'source')).unfinished()).toEqual([entry]);
    expect((await journals.of(other.migrationId).read())?.decision).toBe('committed');
  });
});
