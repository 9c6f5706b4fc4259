/** Faults of a part: Redis answers and refuses, one of its keys is gone, one file cannot be read. */
import { type Draw, hostIn, someSide } from './fault.ts';

/** What Redis says when it does not carry out a command. */
const refusals: readonly [string, ...string[]] = [
  "OOM command not allowed when used memory > 'maxmemory'.",
  'NOPERM this user has no permissions to run this command',
  'NOREPLICAS Not enough good replicas to write.',
  'MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.',
  'WRONGTYPE Operation against a key holding the wrong kind of value',
  'ERR unknown command',
];

const redisRefuses: Draw = (random) => {
  const side = someSide(random);
  const text = random.pick(refusals);
  const ms = random.scale(1, 60_000);
  return {
    name: `Redis refuses what the ${side} asks for ${ms.toFixed(0)} ms (${text.split(' ')[0] ?? ''})`,
    strike: (world) => {
      const { name } = hostIn(world, side);
      world.redis.refuse(name, text);
      world.timeline.after(undefined, ms, () => world.redis.refuse(name, undefined));
    },
  };
};

/** By a part of their names. */
const evictable: readonly [string, ...string[]] = [':handover:', ':owner', ':migration:', ':job:', ':lease:'];

const evicted: Draw = (random) => {
  const keys = random.pick(evictable);
  return { name: `the keys *${keys}* are evicted`, strike: (world) => world.redis.evict(keys) };
};

const journalsUnreadable: Draw = (random) => {
  const side = someSide(random);
  const ms = random.scale(10, 60_000);
  return {
    name: `the ${side}'s journals cannot be read for ${ms.toFixed(0)} ms`,
    strike: (world) => {
      const disk = hostIn(world, side).disks[side];
      disk.readable = false;
      world.timeline.after(undefined, ms, () => {
        disk.readable = true;
      });
    },
  };
};

/** By its name, and how often each is drawn. */
export const partialKinds = {
  'redis-refuses': [redisRefuses, 1],
  evict: [evicted, 1],
  unreadable: [journalsUnreadable, 1],
} as const satisfies Readonly<Record<string, readonly [Draw, number]>>;
