/** The guards of the handover decision, and how each is taken away in an agent that runs: for the test of the matrix itself. */
// oxlint-disable typescript/unbound-method -- methods are taken from prototypes to be wrapped, and called with the object they belong to
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { FencedIncarnations, HandoverJournals, HandoverRegister } from '@ferry/handover';
import type { Guard } from './accidents.ts';

const isSource = (): boolean => /source-agent/.test(process.argv[1] ?? '');

/** What a script takes for the incarnation that answers: the one that it expects. */
function believed(script: string): string {
  if (script.startsWith('owner-')) return "redis.call('HGET', KEYS[1], 'incarnation') or ''";
  return script === 'register-look' ? "redis.call('HGET', KEYS[1], 'vote')" : 'ARGV[1]';
}

const removals: Readonly<Record<Guard, () => void>> = {
  /** The destination commits as if the source's vote had come with Finish. */
  NO_VOTE: () => {
    const { commit } = HandoverRegister.prototype;
    HandoverRegister.prototype.commit = function (handover, signal) {
      return commit.call(this, { ...handover, carried: handover.carried ?? { ran: true } }, signal);
    };
  },
  /** The source takes its guest back without asking. */
  NO_DECISION: () => {
    if (isSource())
      HandoverRegister.prototype.abort = () => Promise.resolve({ decision: 'aborted', grant: '', ran: undefined });
  },
  /**
   * The scripts believe every incarnation of Redis. Those of the ownership too: a host that sees its guest run corrects a record of an older
   * incarnation as soon as Redis is back, and the source's claim then comes too late to do harm.
   */
  NO_INCARNATION: () => {
    const { readFileSync } = fs;
    const believing = (path: unknown, text: unknown): unknown => {
      const script = /handover\/src\/scripts\/((?:register|owner)-\w+)\.lua/.exec(String(path))?.[1];
      if (script === undefined || script === 'register-incarnation' || typeof text !== 'string') return text;
      // After the head that all scripts share, which is a file of its own.
      return `local incarnation = ${believed(script)}\n${text}`;
    };
    const read = readFileSync as (path: unknown, options: unknown) => unknown;
    fs.readFileSync = ((path: unknown, options: unknown) =>
      believing(path, read(path, options))) as typeof readFileSync;
    syncBuiltinESMExports();
  },
  /** The destination forgets at once what it has pledged. */
  NO_PROMISE: () => {
    FencedIncarnations.prototype.has = () => false;
  },
  /** Nothing is written down. */
  NO_JOURNAL: () => {
    const journal = new HandoverJournals('/nowhere', () => undefined).of('none');
    Object.getPrototypeOf(journal).write = () => Promise.resolve();
  },
};

/** Called in the agent's process, before its own code is loaded. */
export function removeGuard(name: string | undefined): void {
  if (name !== undefined && Object.hasOwn(removals, name)) removals[name as Guard]();
}
