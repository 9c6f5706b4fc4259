/** Everything that may go wrong in this world, each as a thing that strikes once. */
import { agentIn, type Draw, type Fault, hostIn, someSide } from './fault.ts';
import { partialKinds } from './partial-faults.ts';
import type { Side } from './qemu.ts';
import type { Random } from './random.ts';
import type { RedisWay } from './redis-client.ts';

const someSides: readonly [Side[], ...Side[][]] = [[], [], ['source'], ['dest'], ['source', 'dest']];

const crash: Draw = (random) => {
  const side = someSide(random);
  return { name: `crash of the ${side} agent`, strike: (world) => world.timeline.kill(agentIn(world, side).life) };
};

const crashOfBoth: Draw = (random) => {
  const apartMs = random.scale(0.1, 500);
  return {
    name: 'crash of both agents',
    strike: (world) => {
      const dest = world.party('dest');
      world.timeline.kill(world.party('source').life);
      world.timeline.after(undefined, apartMs, () => world.timeline.kill(dest.life));
    },
  };
};

const restart: Draw = (random) => {
  const side = someSide(random);
  return {
    name: `SIGTERM to the ${side} agent`,
    strike: (world) => {
      const agent = agentIn(world, side);
      world.timeline.after(agent.life, 0, () => {
        agent.endInOrder().catch((error: unknown) => world.rules.internal(agent.life, 'SIGTERM', error));
      });
    },
  };
};

const stall: Draw = (random) => {
  const side = someSide(random);
  const ms = random.scale(10, 30_000);
  return {
    name: `SIGSTOP to the ${side} agent for ${ms.toFixed(0)} ms`,
    strike: (world) => {
      const { life } = agentIn(world, side);
      world.timeline.stop(life);
      world.timeline.after(undefined, ms, () => world.timeline.goOn(life));
    },
  };
};

const qemuKilled: Draw = (random) => {
  const side = someSide(random);
  return {
    name: `the ${side} QEMU is killed`,
    strike: (world) => {
      const { name } = hostIn(world, side);
      for (const qemu of world.qemus) if (qemu.host === name && qemu.alive) qemu.die('fault');
    },
  };
};

const hostGone: Draw = (random) => {
  const side = someSide(random);
  return {
    name: `the host of the ${side} is gone for good`,
    strike: (world) => {
      // With two gone there is nothing left to look at.
      if (Object.values(world.hosts).some(({ gone }) => gone)) return;
      const host = hostIn(world, side);
      host.gone = true;
      for (const agent of world.agents) if (agent.host === host) world.timeline.kill(agent.life);
      for (const qemu of world.qemus) if (qemu.host === host.name) qemu.die('fault');
    },
  };
};

const contRefused: Draw = (random) => {
  const side = someSide(random);
  const times = random.pick([1, 2, 1000]);
  return {
    name: `cont is refused on the ${side} ${times} times`,
    strike: (world) => {
      hostIn(world, side).locked = times;
    },
  };
};

const startFails: Draw = () => ({
  name: 'QEMU cannot be started on the destination',
  strike: (world) => {
    hostIn(world, 'dest').startFails = true;
  },
});

const redisCrash: Draw = (random) => {
  const lost = random.chance(0.4) ? 0 : 1 + random.below(12);
  const ms = random.scale(1, 120_000);
  return {
    name: `Redis crashes for ${ms.toFixed(0)} ms and loses ${lost} writes`,
    strike: (world) => {
      world.redis.crash();
      world.timeline.after(undefined, ms, () => world.redis.start(lost));
    },
  };
};

const failOver: Draw = (random) => {
  const lost = random.below(12);
  const cutOff = random.pick(someSides);
  return {
    name: `Redis fails over, ${lost} writes lost, ${cutOff.join(' and ') || 'nobody'} stays with the old master`,
    strike: (world) =>
      world.redis.failOver(
        lost,
        cutOff.map((side) => hostIn(world, side).name),
      ),
  };
};

const failBack: Draw = (random) => {
  const lost = random.below(12);
  const ms = random.scale(0.5, 20_000);
  return {
    name: `Redis fails over, ${lost} writes lost, and back to the same process after ${ms.toFixed(0)} ms`,
    strike: (world) => world.redis.failBack(lost, (run) => world.timeline.after(undefined, ms, run)),
  };
};

const redisForgets: Draw = (random) => {
  const anew = random.chance(0.5);
  return {
    name: anew ? 'Redis starts anew, empty' : 'Redis is flushed',
    strike: (world) => world.redis.forget(anew),
  };
};

const redisWay: Draw = (random) => {
  const way = random.pick<RedisWay>(['refused', 'silent', 'deaf', 'late']);
  const sides = random.pick<readonly Side[]>([['source'], ['dest'], ['source', 'dest']]);
  const ms = random.scale(1, 300_000);
  return {
    name: `Redis is ${way} for ${sides.join(' and ')} for ${ms.toFixed(0)} ms`,
    strike: (world) => {
      for (const side of sides) {
        const host = hostIn(world, side).name;
        world.redis.setWay(host, way);
        world.timeline.after(undefined, ms, () => world.redis.setWay(host, 'open'));
      }
    },
  };
};

const redisReplyLost: Draw = (random) => {
  const side = someSide(random);
  const count = 1 + random.below(3);
  return {
    name: `${count} of Redis's replies to the ${side} are lost`,
    strike: (world) => world.redis.loseReplies(hostIn(world, side).name, count),
  };
};

const networkCut: Draw = (random) => {
  const [one, other] = random.pick<readonly [Side, Side | 'client']>([
    ['source', 'dest'],
    ['source', 'dest'],
    ['source', 'client'],
    ['dest', 'client'],
  ]);
  return {
    name: `no calls between ${one} and ${other}`,
    strike: (world) =>
      world.network.cut(hostIn(world, one).name, other === 'client' ? other : hostIn(world, other).name),
  };
};

const callLost: Draw = (random) => {
  const what = random.pick<'request' | 'reply' | 'repeat'>(['request', 'reply', 'reply', 'repeat']);
  return { name: `one call: ${what}`, strike: (world) => world.network.lose(what) };
};

const streamCut: Draw = (random) => {
  const reset = random.chance(0.6);
  const ms = random.scale(5, 30_000);
  return {
    name: `memory ${reset ? 'breaks off' : 'stalls'} for ${ms.toFixed(0)} ms`,
    strike: (world) => {
      Object.assign(world.streams, { open: false, reset });
      world.timeline.after(undefined, ms, () => Object.assign(world.streams, { open: true, reset: false }));
    },
  };
};

/** The host reboots: its agents and QEMUs end at once, and the agents are started again. */
const reboot: Draw = (random) => {
  const side = someSide(random);
  return {
    name: `the host of the ${side} reboots`,
    strike: (world) => {
      const host = hostIn(world, side);
      for (const qemu of world.qemus) if (qemu.host === host.name && qemu.alive) qemu.die('fault');
      for (const agent of world.agents) if (agent.host === host) world.timeline.kill(agent.life);
    },
  };
};

/** By its name, and how often each is drawn. */
const wholeKinds = {
  crash: [crash, 3],
  'crash-both': [crashOfBoth, 1],
  restart: [restart, 1],
  stall: [stall, 1],
  qemu: [qemuKilled, 1],
  'host-gone': [hostGone, 1],
  reboot: [reboot, 1],
  'cont-refused': [contRefused, 1],
  'start-fails': [startFails, 1],
  'redis-crash': [redisCrash, 2],
  'fail-over': [failOver, 2],
  'fail-back': [failBack, 1],
  forget: [redisForgets, 1],
  'redis-way': [redisWay, 2],
  'reply-lost': [redisReplyLost, 1],
  network: [networkCut, 1],
  'call-lost': [callLost, 2],
  stream: [streamCut, 1],
} as const satisfies Readonly<Record<string, readonly [Draw, number]>>;

const kinds: Readonly<Record<FaultKind, readonly [Draw, number]>> = { ...wholeKinds, ...partialKinds };

export type FaultKind = keyof typeof wholeKinds | keyof typeof partialKinds;
export const faultKinds = Object.keys(kinds) as FaultKind[];

/** One of these kinds. */
export const drawFault = (random: Random, of = Object.keys(wholeKinds) as readonly FaultKind[]): Fault =>
  drawOf(
    random,
    of.map((kind) => kinds[kind]),
  );

export const drawPartialFault = (random: Random): Fault => drawOf(random, Object.values(partialKinds));

function drawOf(random: Random, of: readonly (readonly [Draw, number])[]): Fault {
  const all = of.flatMap(([draw, times]) => Array.from({ length: times }, () => draw));
  const draw = all[random.below(all.length)] ?? crash;
  return draw(random);
}
