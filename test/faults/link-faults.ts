/** What happens to connections, and what callers do. */
import type { Side } from '@ferry/lab';
import { always, type Fault, nothing, type Scene, stoppedMs } from './fault.ts';
import type { Proxy } from './proxy.ts';

/** Whose replies an act waits for: the proxy in front of who gives them. */
function replies({ stage, from, to, side, point }: Scene): Proxy {
  const me = side === 'source' ? (`${from}-source` as const) : (`${to}-dest` as const);
  if (point.act.startsWith('redis:')) return stage.links.redis[me];
  if (point.act.startsWith('serve:')) return stage.links.agent[me];
  const other = side === 'source' ? (`${to}-dest` as const) : (`${from}-source` as const);
  return stage.links.agent[other];
}

/** Longer than a guest that is stopped waits for its stream with the limits as they are delivered. */
const hungMs = 6_000;

const isCall = /^(serve|call):/;

/** The host of that side goes on, and nobody hears it, nor it anybody's calls: no connection closes. */
const hang = (side: Side): Fault => ({
  what: `the ${side} agent hangs: its callers’ connections stay open, and nothing comes through`,
  acts: ['agent-links'],
  applies: always,
  strike: async ({ stage, from, to }) => {
    const link = stage.links.agent[side === 'source' ? (`${from}-source` as const) : (`${to}-dest` as const)];
    link.mode = 'mute';
    const heal = async (): Promise<void> => {
      link.mode = 'cut';
      link.mode = 'pass';
    };
    return { lastsMs: stoppedMs * 2, heal };
  },
});

export const linkFaults = {
  'kill-caller': {
    what: 'kill -9 of the caller',
    acts: ['caller'],
    applies: always,
    strike: async ({ caller }) => {
      caller.kill();
      return { lastsMs: 0, heal: nothing };
    },
  },
  'cut-agents': {
    what: 'the connections to both agents cut, and healed',
    acts: ['agent-links'],
    applies: always,
    strike: async ({ stage, from, to }) => {
      const cut = [stage.links.agent[`${from}-source`], stage.links.agent[`${to}-dest`]];
      for (const link of cut) link.mode = 'cut';
      return {
        lastsMs: 700,
        heal: async () => {
          for (const link of cut) link.mode = 'pass';
        },
      };
    },
  },
  'hang-source-agent': hang('source'),
  'hang-dest-agent': hang('dest'),
  'cut-stream': {
    what: 'the migration stream cut',
    acts: ['stream'],
    applies: ({ mode }) => mode !== 'cancelled',
    stream: 'pass',
    strike: async ({ stream }) => {
      if (stream === undefined) return undefined;
      stream.mode = 'cut';
      return { lastsMs: 0, heal: nothing };
    },
  },
  'hang-stream': {
    what: 'the migration stream hangs: nothing comes through, and it is cut later',
    acts: ['stream'],
    applies: ({ mode }) => mode !== 'cancelled',
    stream: 'pass',
    strike: async ({ stream }) => {
      if (stream === undefined) return undefined;
      stream.mode = 'mute';
      const heal = async (): Promise<void> => {
        stream.mode = 'cut';
      };
      return { lastsMs: hungMs, heal };
    },
  },
  'lose-reply': {
    what: 'the reply lost',
    acts: ['agent-links', 'redis-links'],
    applies: ({ point }) => isCall.test(point.act) || point.act.startsWith('redis:'),
    strike: async (scene) => {
      const link = replies(scene);
      link.mode = 'deaf';
      return {
        lastsMs: 250,
        heal: async () => {
          link.mode = 'cut';
          link.mode = 'pass';
        },
      };
    },
  },
  'repeat-call': {
    what: 'the call repeated',
    acts: ['caller'],
    applies: ({ point }) => isCall.test(point.act),
    strike: async ({ caller }) => {
      caller.repeat();
      return { lastsMs: 0, heal: nothing };
    },
  },
  'reuse-id': {
    what: 'the same id used for a migration back, at once',
    acts: ['caller'],
    applies: always,
    strike: async ({ caller }) => {
      caller.beginBack();
      return { lastsMs: 0, heal: nothing };
    },
  },
  'late-failure': {
    what: 'the source’s QEMU fails when all has arrived, and runs on; the caller calls Finish all the same',
    acts: ['stream', 'caller'],
    applies: ({ protocol, mode, side, point }) =>
      protocol === 2 && mode === 'direct' && side === 'dest' && point.act === 'event:MIGRATION.completed',
    stream: 'deaf',
    strike: async ({ stream, caller }) => {
      if (stream === undefined) return undefined;
      caller.finishEarly();
      return {
        lastsMs: 400,
        heal: async () => {
          stream.mode = 'cut';
        },
      };
    },
  },
} as const satisfies Readonly<Record<string, Fault>>;
