import { expect, it } from '@jest/globals';
import { Ongoing } from './ongoing.ts';

const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'source', protocol: 2 } as const;

it('the end is the last event, whatever comes after it', async () => {
  const ongoing = new Ongoing(start);
  ongoing.phaseStarted('dest', 'finish2');
  ongoing.end('completed', undefined);
  ongoing.phaseDone('dest', 'finish2');
  ongoing.end('failed', undefined);
  const told: (string | undefined)[] = [];
  for await (const { event } of ongoing.follow(new AbortController().signal)) told.push(event?.$case);
  expect(told).toEqual(['phaseChanged', 'ended']);
});
