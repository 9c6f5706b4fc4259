/** What can happen, as data: each fault strikes while an agent stands still at a point, lasts, and is healed. */
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Side } from '@ferry/lab';
import type { Caller, Mode } from './drive.ts';
import { opening, type Point } from './points.ts';
import type { LinkMode, Proxy } from './proxy.ts';
import { type HostName, leaseMs, type Stage, until } from './stage.ts';

/** Where a fault strikes. */
export interface Scene {
  readonly stage: Stage;
  readonly caller: Caller;
  readonly from: HostName;
  readonly to: HostName;
  /** Whose agent stands still. */
  readonly side: Side;
  readonly point: Point;
  /** The way that memory takes, once it has one. */
  readonly stream: Proxy | undefined;
  /** Bytes of Redis's file when the migration began. */
  readonly redisBytes: number;
  /** 0 to 1, the same for the same case. */
  readonly chance: number;
}

interface Struck {
  /** How long the fault stays, ms. */
  readonly lastsMs: number;
  readonly heal: () => Promise<void>;
  /** The agent that stands still is a victim: it does so until the fault is healed. */
  readonly holds?: boolean;
  /** The QEMU of that host was killed. */
  readonly killed?: HostName;
}

type Place = { readonly protocol: 2 | 3; readonly mode: Mode; readonly side: Side; readonly point: Point };

export interface Fault {
  readonly what: string;
  /** Whether it can happen there at all. */
  readonly applies: (at: Place) => boolean;
  /** Undefined if there is nothing to strike: no QEMU there yet, say. */
  readonly strike: (scene: Scene) => Promise<Struck | undefined>;
  /** One agent was restarted: settled sooner than after the others. */
  readonly restart?: true;
  /** Needs the way of the memory through a proxy, which begins like that. */
  readonly stream?: LinkMode;
}

export const faultNames = [
  'kill-source-agent',
  'kill-dest-agent',
  'kill-source-qemu',
  'kill-dest-qemu',
  'kill-redis',
  'kill-caller',
  'stop-source-agent',
  'stop-dest-agent',
  'stop-source-qemu',
  'stop-dest-qemu',
  'stop-redis',
  'cut-agents',
  'cut-stream',
  'lose-reply',
  'repeat-call',
  'redis-older',
  'disk-full',
  'commit-lost',
  'source-forgets',
  'dest-forgets',
  'commit-late',
  'late-failure',
] as const;
export type FaultName = (typeof faultNames)[number];

const always = (): boolean => true;
const nothing = async (): Promise<void> => undefined;
const stoppedMs = leaseMs * 1.3;
/** A commit that has not been carried out by then has been given up. */
const commitMsMax = 800;

const agentOf = ({ stage, from, to }: Scene, side: Side) => stage.agent(side === 'source' ? from : to, side);
const hostOf = ({ from, to }: Scene, side: Side): HostName => (side === 'source' ? from : to);

const killAgent = (side: Side): Fault => ({
  what: `kill -9 of the ${side} agent`,
  applies: always,
  restart: true,
  strike: async (scene) => {
    const agent = agentOf(scene, side);
    await agent.kill('SIGKILL');
    return { lastsMs: 0, heal: () => agent.start() };
  },
});

const killQemu = (side: Side): Fault => ({
  what: `kill -9 of the ${side}’s QEMU`,
  applies: always,
  strike: async (scene) => {
    const host = hostOf(scene, side);
    if (!(await scene.stage.killQemu(host))) return undefined;
    return { lastsMs: 0, heal: nothing, killed: host };
  },
});

const stopAgent = (side: Side): Fault => ({
  what: `SIGSTOP of the ${side} agent for longer than the lease`,
  applies: always,
  strike: async (scene) => {
    const agent = agentOf(scene, side);
    agent.signal('SIGSTOP');
    return { lastsMs: stoppedMs, heal: async () => agent.signal('SIGCONT'), holds: scene.side === side };
  },
});

const stopQemu = (side: Side): Fault => ({
  what: `SIGSTOP of the ${side}’s QEMU for longer than the lease`,
  applies: always,
  strike: async (scene) => {
    const qemu = scene.stage.qemuOf(hostOf(scene, side));
    if (qemu === undefined) return undefined;
    qemu.signal('SIGSTOP');
    return { lastsMs: stoppedMs, heal: async () => qemu.signal('SIGCONT') };
  },
});

/** Whose replies an act waits for: the proxy in front of who gives them. */
function replies({ stage, from, to, side, point }: Scene): Proxy {
  const me = side === 'source' ? (`${from}-source` as const) : (`${to}-dest` as const);
  if (point.act.startsWith('redis:')) return stage.links.redis[me];
  if (point.act.startsWith('serve:')) return stage.links.agent[me];
  const other = side === 'source' ? (`${to}-dest` as const) : (`${from}-source` as const);
  return stage.links.agent[other];
}

const isCall = /^(serve|call):/;

/** Redis's file goes back to a size that it had. What is left of a command that is cut in two is dropped by Redis as it starts (aof-load-truncated). */
function forget(stage: Stage, size: (now: number) => number): void {
  const path = stage.redisFile();
  const file = openSync(path, 'r+');
  ftruncateSync(file, Math.round(size(statSync(path).size)));
  closeSync(file);
}

/** Where Redis's file has the last commit; -1: nowhere. */
const commitIn = (stage: Stage): number => readFileSync(stage.redisFile(), 'latin1').lastIndexOf('committed');

/** Kills an agent, and Redis forgets everything since the migration began: what remains is the agent's journal, and QEMU. */
const forgets = (side: Side): Fault => ({
  what: `kill -9 of the ${side} agent, and Redis back with data from before the migration`,
  applies: ({ point }) => point.phase !== opening,
  strike: async (scene) => {
    const { stage, redisBytes } = scene;
    const agent = agentOf(scene, side);
    await Promise.all([agent.kill('SIGKILL'), stage.lab.redis.kill()]);
    forget(stage, () => redisBytes);
    const heal = async (): Promise<void> => {
      await stage.lab.redis.start();
      await agent.start();
    };
    return { lastsMs: 0, heal };
  },
});

/** By the names that cases have. */
export const faults: Readonly<Record<FaultName, Fault>> = {
  'kill-source-agent': killAgent('source'),
  'kill-dest-agent': killAgent('dest'),
  'kill-source-qemu': killQemu('source'),
  'kill-dest-qemu': killQemu('dest'),
  'kill-redis': {
    what: 'kill -9 of Redis, which is back a moment later',
    applies: always,
    strike: async ({ stage, chance }) => {
      await stage.lab.redis.kill();
      return { lastsMs: chance * 400, heal: () => stage.lab.redis.start() };
    },
  },
  'kill-caller': {
    what: 'kill -9 of the caller',
    applies: always,
    strike: async ({ caller }) => {
      caller.kill();
      return { lastsMs: 0, heal: nothing };
    },
  },
  'stop-source-agent': stopAgent('source'),
  'stop-dest-agent': stopAgent('dest'),
  'stop-source-qemu': stopQemu('source'),
  'stop-dest-qemu': stopQemu('dest'),
  'stop-redis': {
    what: 'SIGSTOP of Redis for longer than the lease',
    applies: always,
    strike: async ({ stage }) => {
      stage.lab.redis.signal('SIGSTOP');
      return { lastsMs: stoppedMs, heal: async () => stage.lab.redis.signal('SIGCONT') };
    },
  },
  'cut-agents': {
    what: 'the connections to both agents cut, and healed',
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
  'cut-stream': {
    what: 'the migration stream cut',
    applies: ({ mode }) => mode !== 'cancelled',
    stream: 'pass',
    strike: async ({ stream }) => {
      if (stream === undefined) return undefined;
      stream.mode = 'cut';
      return { lastsMs: 0, heal: nothing };
    },
  },
  'lose-reply': {
    what: 'the reply lost',
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
    applies: ({ point }) => isCall.test(point.act),
    strike: async ({ caller }) => {
      caller.repeat();
      return { lastsMs: 0, heal: nothing };
    },
  },
  'redis-older': {
    what: 'Redis back with older data',
    applies: always,
    strike: async ({ stage, redisBytes, chance }) => {
      await stage.lab.redis.kill();
      forget(stage, (now) => redisBytes + (now - redisBytes) * chance);
      return { lastsMs: 0, heal: () => stage.lab.redis.start() };
    },
  },
  'commit-lost': {
    what: 'Redis back without the commit, and nobody calls any more',
    applies: ({ side, mode }) => side === 'dest' && mode !== 'cancelled',
    strike: async ({ stage, caller, redisBytes }) => {
      const commit = commitIn(stage);
      if (commit < redisBytes) return undefined;
      caller.kill();
      await stage.lab.redis.kill();
      forget(stage, () => commit);
      return { lastsMs: 0, heal: () => stage.lab.redis.start() };
    },
  },
  'source-forgets': forgets('source'),
  'dest-forgets': forgets('dest'),
  'commit-late': {
    what: 'the commit’s answer late: Redis lives anew meanwhile, and Confirm(cancelled) is called',
    applies: ({ mode, side, point }) =>
      mode === 'direct' && side === 'dest' && point.act === 'redis:register-commit' && point.when === 'before',
    strike: async ({ stage, caller, to, redisBytes }) => {
      const link = stage.links.redis[`${to}-dest`];
      link.mode = 'deaf';
      const heal = async (): Promise<void> => {
        // The agent goes on, and its commit is carried out, however long that takes on a slow machine.
        await until(() => commitIn(stage) >= redisBytes, AbortSignal.timeout(commitMsMax));
        await stage.lab.redis.kill();
        await stage.lab.redis.start();
        await caller.confirmCancelled(AbortSignal.timeout(700));
        link.mode = 'pass';
      };
      return { lastsMs: 0, heal };
    },
  },
  'late-failure': {
    what: 'the source’s QEMU fails when all has arrived, and runs on; the caller calls Finish all the same',
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
  'disk-full': {
    what: 'the disk full under the journal',
    applies: always,
    strike: async (scene) => {
      const { stage, side } = scene;
      const journals = stage.journalDisk(hostOf(scene, side));
      if (journals === undefined) return undefined;
      const filler = join(journals, 'filler');
      fill(filler);
      return { lastsMs: 600, heal: async () => rmSync(filler, { force: true }) };
    },
  },
};

/** Writes until there is no byte left. */
function fill(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (let size = 65_536; size >= 1; ) {
      try {
        writeFileSync(file, Buffer.alloc(size));
      } catch {
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(file);
  }
}
