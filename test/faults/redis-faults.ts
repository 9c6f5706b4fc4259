/** What happens to Redis, and to what it keeps. */
import { closeSync, ftruncateSync, openSync, readFileSync, statSync } from 'node:fs';
import type { Side } from '@ferry/lab';
import { agentOf, always, type Fault, nothing, type Scene, stoppedMs } from './fault.ts';
import { opening } from './points.ts';
import { leaseMs, type Stage, until } from './stage.ts';

/** A commit that has not been carried out by then has been given up. */
const commitMsMax = 800;
const refusesMs = 600;

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
  acts: [`${side}-agent`, 'redis'],
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

/** Redis refuses every script meanwhile, and does what else it is told. */
const refuse = async ({ stage }: Scene, rule: '-' | '+'): Promise<void> => {
  await stage.lab.redis.client.call('ACL', 'SETUSER', 'default', `${rule}eval`, `${rule}evalsha`);
};

/** The keys that Redis has of the guest, always in the same order. */
const keysOf = async ({ stage, guest }: Scene): Promise<string[]> =>
  (await stage.lab.redis.client.keys(`*{${guest.uuid}}*`)).toSorted();

export const redisFaults = {
  'kill-redis': {
    what: 'kill -9 of Redis, which is back a moment later',
    acts: ['redis'],
    applies: always,
    strike: async ({ stage, chance }) => {
      await stage.lab.redis.kill();
      return { lastsMs: chance * 400, heal: () => stage.lab.redis.start() };
    },
  },
  'stop-redis': {
    what: 'SIGSTOP of Redis for longer than the lease',
    acts: ['redis'],
    applies: always,
    strike: async ({ stage }) => {
      stage.lab.redis.signal('SIGSTOP');
      return { lastsMs: stoppedMs, heal: async () => stage.lab.redis.signal('SIGCONT') };
    },
  },
  'stall-redis': {
    what: 'SIGSTOP of Redis for three leases',
    acts: ['redis'],
    applies: always,
    strike: async ({ stage }) => {
      stage.lab.redis.signal('SIGSTOP');
      return { lastsMs: leaseMs * 3, heal: async () => stage.lab.redis.signal('SIGCONT') };
    },
  },
  'redis-refuses': {
    what: 'Redis refuses every script (NOPERM), and takes them again',
    acts: ['redis'],
    applies: always,
    strike: async (scene) => {
      await refuse(scene, '-');
      return { lastsMs: refusesMs, heal: () => refuse(scene, '+') };
    },
  },
  'redis-wrong-type': {
    what: 'the register’s record is of another type (WRONGTYPE) for a while, and gone afterwards',
    acts: ['redis'],
    applies: ({ point }) => point.phase !== opening,
    strike: async ({ stage, guest, caller }) => {
      const key = stage.recordKey(guest, caller.migrationId);
      await stage.lab.redis.client.set(key, 'no hash');
      const heal = async (): Promise<void> => void (await stage.lab.redis.client.del(key));
      return { lastsMs: refusesMs, heal };
    },
  },
  'evict-record': {
    what: 'the register’s record evicted',
    acts: ['redis'],
    applies: ({ point }) => point.phase !== opening,
    strike: async ({ stage, guest, caller }) => {
      const gone = await stage.lab.redis.client.del(stage.recordKey(guest, caller.migrationId));
      return gone === 0 ? undefined : { lastsMs: 0, heal: nothing };
    },
  },
  'evict-key': {
    what: 'one of the guest’s keys evicted, any',
    acts: ['redis'],
    applies: always,
    strike: async (scene) => {
      const keys = await keysOf(scene);
      const key = keys[Math.floor(scene.chance * keys.length)];
      if (key === undefined) return undefined;
      await scene.stage.lab.redis.client.del(key);
      return { lastsMs: 0, heal: nothing };
    },
  },
  'flush-redis': {
    what: 'FLUSHALL',
    acts: ['redis'],
    applies: always,
    strike: async ({ stage }) => {
      await stage.lab.redis.client.flushall();
      return { lastsMs: 0, heal: nothing };
    },
  },
  'redis-older': {
    what: 'Redis back with older data',
    acts: ['redis'],
    applies: always,
    strike: async ({ stage, redisBytes, chance }) => {
      await stage.lab.redis.kill();
      forget(stage, (now) => redisBytes + (now - redisBytes) * chance);
      return { lastsMs: 0, heal: () => stage.lab.redis.start() };
    },
  },
  'commit-lost': {
    what: 'Redis back without the commit, and nobody calls any more',
    acts: ['redis', 'caller'],
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
    acts: ['redis', 'redis-links', 'caller'],
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
} as const satisfies Readonly<Record<string, Fault>>;
