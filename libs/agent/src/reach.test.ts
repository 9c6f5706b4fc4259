import { expect, it } from '@jest/globals';
import { reachProblem } from './reach.ts';

const signal = new AbortController().signal;
const known: Readonly<Record<string, readonly string[]>> = { here: ['127.0.1.1'], there: ['192.0.2.7'] };
const lookUp = (host: string) => {
  const found = known[host] ?? (/^[\d.:]+$/.test(host) ? [host] : undefined);
  return found === undefined ? Promise.reject(new Error(`ENOTFOUND ${host}`)) : Promise.resolve(found);
};
const problem = (host: string, own: string) => reachProblem(lookUp, host, own, signal);

it('a name that nobody knows is a problem, with the resolver’s words', async () => {
  expect(await problem('nowhere', 'there:7101')).toContain('cannot resolve the name nowhere (ENOTFOUND nowhere)');
});

it('loopback is one for a host that is not on loopback itself', async () => {
  expect(await problem('127.0.0.1', '192.0.2.1:7101')).toContain('loopback');
  expect(await problem('here', 'there:7101')).toContain('loopback');
  expect(await problem('127.0.0.1', '127.0.0.1:7101')).toBeUndefined();
  expect(await problem('there', '192.0.2.1:7101')).toBeUndefined();
});

it('a host that knows its own name by loopback only, as Debian does, is no stranger to itself', async () => {
  expect(await problem('here', 'here:7101')).toBeUndefined();
});
