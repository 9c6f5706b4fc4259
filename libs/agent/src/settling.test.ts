import { expect, it } from '@jest/globals';
import type { Held } from './held.ts';
import { OngoingMigrations } from './ongoing.ts';
import { Settling, type SettlingOptions } from './settling.ts';

const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'source', protocol: 3 } as const;

it('says why a migration cannot be settled when that is new, and again only after a while', async () => {
  let nowMs = 0;
  const said: string[] = [];
  let why = 'nobody answers';
  const options = {
    side: 'source',
    clock: { monotonic: () => nowMs },
    log: { warn: () => undefined, error: ({ err }: { err: Error }) => void said.push(err.message) },
    recover: () => Promise.reject(new Error(why)),
    settledBy: () => 'an answer',
  } as unknown as SettlingOptions<undefined>;
  const holder = { stopping: new AbortController().signal, over: () => undefined, jobLeft: () => undefined };
  const settling = new Settling(options, holder);
  const held = { ongoing: new OngoingMigrations().open(start), phase: 'perform3-done' } as unknown as Held<undefined>;
  await settling.settle(held, 'perform3-done', new Error('the call broke off'));
  await settling.goOn(held);
  expect(said).toEqual(['nobody answers']);
  expect(held.ongoing.describe().doubt).toMatchObject({ settledBy: 'an answer' });

  why = 'somebody answers';
  await settling.goOn(held);
  nowMs = 9_000;
  await settling.goOn(held);
  expect(said).toEqual(['nobody answers', 'somebody answers']);
  nowMs = 11_000;
  await settling.goOn(held);
  expect(said).toEqual(['nobody answers', 'somebody answers', 'somebody answers']);
});

it('does not give up a migration that has ended meanwhile: what is here of its domain by now may be the guest', async () => {
  const recovered: string[] = [];
  const options = {
    side: 'source',
    clock: { monotonic: () => 0 },
    log: { warn: () => undefined, error: () => undefined },
    recover: async (held: Held<undefined>) => void recovered.push(String(held.phase)),
    settledBy: () => undefined,
  } as unknown as SettlingOptions<undefined>;
  const holder = { stopping: new AbortController().signal, over: () => undefined, jobLeft: () => undefined };
  const settling = new Settling(options, holder);
  const ongoing = new OngoingMigrations().open(start);
  const held = { ongoing, phase: 'confirm3' } as unknown as Held<undefined>;
  ongoing.end('completed', undefined);
  await settling.giveUp(held, new Error('the destination has given up'));
  expect(recovered).toEqual([]);
});
