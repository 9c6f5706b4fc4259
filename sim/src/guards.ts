/** The model's five guards (spec/handover.pml), each of which can be taken away where the agents meet the world: the test of the test. */
import type { DestAgent } from '@ferry/dest-agent';
import type { HandoverRegister, Journals } from '@ferry/handover';
import type { AskRequest } from '@ferry/proto/ferry/v1/migration';
import type { Handler } from './network.ts';

export const guardNames = ['NO_VOTE', 'NO_DECISION', 'NO_INCARNATION', 'NO_PROMISE', 'NO_JOURNAL'] as const;
export type GuardName = (typeof guardNames)[number];

export interface Guards {
  /** A script's text, as Redis gets it. */
  script(lua: string): string;
  register(side: 'source' | 'dest', register: HandoverRegister): HandoverRegister;
  journals(journals: Journals): Journals;
  /** Handlers of the destination agent that answer otherwise. */
  incoming(agent: DestAgent, handlers: Readonly<Record<string, Handler>>): Readonly<Record<string, Handler>>;
}

const allThere: Guards = {
  script: (lua) => lua,
  register: (_side, register) => register,
  journals: (journals) => journals,
  incoming: () => ({}),
};

/** Takes a line out of those scripts that have it. */
const without = (lua: string, line: RegExp): string => lua.replaceAll(line, '');

const removed: Readonly<Record<GuardName, Partial<Guards>>> = {
  /** The destination commits without the source's vote. */
  NO_VOTE: { script: (lua) => without(lua, /^if not voted and .*'vote-missing'.*$/gm) },
  /** The source resumes because Finish failed, without asking the register. */
  NO_DECISION: {
    register: (side, register) => {
      if (side === 'source') register.abort = () => Promise.resolve({ decision: 'aborted', grant: '', ran: undefined });
      return register;
    },
  },
  /** Decisions ignore that Redis came back with older data. */
  NO_INCARNATION: {
    script: (lua) =>
      without(lua, /^if incarnation ~= ARGV\[1\] .*$/gm)
        .replaceAll('recorded[2] == incarnation', 'recorded[2]')
        .replaceAll('if recorded[2] ~= incarnation', 'if not recorded[2]')
        .replaceAll("'vote', incarnation", "'vote', ARGV[1]"),
  },
  /** The destination answers the source's question but does not bind itself by it. */
  NO_PROMISE: {
    incoming: (agent, { ask }) => ({
      ask: async (request, signal) => {
        const answer = await ask?.(request, signal);
        agent.migrations.find((request as AskRequest).migrationId)?.state.promised.clear();
        return answer;
      },
    }),
    journals: (journals) => ({
      of: (id) => {
        const journal = journals.of(id);
        return { read: () => journal.read(), write: (entry) => journal.write({ ...entry, promised: [] }) };
      },
      release: (id) => journals.release(id),
      unfinished: () => journals.unfinished(),
    }),
  },
  /** Nothing is written down before it is done. */
  NO_JOURNAL: {
    journals: () => ({
      of: () => ({ write: () => Promise.resolve(), read: () => Promise.resolve(undefined) }),
      release: () => undefined,
      unfinished: () => Promise.resolve({ entries: [], unknown: [] }),
    }),
  },
};

/** All guards but that one. */
export const guardsWithout = (name: GuardName | undefined): Guards =>
  name === undefined ? allThere : { ...allThere, ...removed[name] };
