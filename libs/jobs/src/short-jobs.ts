import { randomUUID } from 'node:crypto';
import { type Clock, pause } from './clock.ts';
import { JobError } from './errors.ts';
import type { InTheWay } from './holders.ts';
import type { JobScripts } from './job-scripts.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import type { ShortJobKind } from './masks.ts';

/** A domain's one short job, held until disposed of. */
export interface ShortJob extends AsyncDisposable {
  readonly domain: string;
  readonly kind: ShortJobKind;
  /** Aborts (JobError lease-lost) when the job is no longer certainly ours: Redis is away, or a destroy took it. */
  readonly signal: AbortSignal;
}

/** What short jobs need of the world. */
export interface ShortJobWorld {
  readonly scripts: JobScripts;
  readonly clock: Clock;
  readonly host: string;
  readonly leaseMs: number;
  readonly waitMs: number;
}

/** How often a waiter asks at first and later, ms. There is no queue: like libvirt's waiters, whoever asks first gets it. */
const [pollMsMin, pollMsMax] = [10, 250];

/**
 * Asks again and again until nothing is in the way any more. Throws JobError job-held, naming who is, after `waitMs`.
 * `attempt` tells what is in the way, or "ok".
 */
export async function untilFree(
  world: Pick<ShortJobWorld, 'clock' | 'waitMs' | 'host'>,
  what: { domain: string; wanted: string },
  attempt: () => Promise<'ok' | InTheWay>,
  signal: AbortSignal,
): Promise<void> {
  const { clock, waitMs } = world;
  const deadline = clock.monotonic() + waitMs;
  for (let pollMs = pollMsMin; ; pollMs = Math.min(pollMs * 2, pollMsMax)) {
    const found = await attempt();
    if (found === 'ok') return;
    const leftMs = deadline - clock.monotonic();
    if (leftMs <= 0) {
      const message = `${what.wanted} on domain ${what.domain} on ${world.host} waited ${waitMs} ms for the ${found.by}`;
      const options = found.holder === undefined ? {} : { holder: found.holder };
      throw new JobError('job-held', `${message}; try again when that has ended`, options);
    }
    await pause(clock, Math.min(pollMs, leftMs), signal);
  }
}

/** Takes a domain's short job. Throws JobError job-held | redis-unavailable, or the signal's reason. */
export async function beginShortJob(
  world: ShortJobWorld,
  request: { domain: string; kind: ShortJobKind; api: string },
  signal: AbortSignal,
): Promise<ShortJob> {
  const { scripts, clock, leaseMs } = world;
  const { domain, kind, api } = request;
  const job = { domain, kind, api, token: randomUUID() };
  let sentAt = clock.monotonic();
  const attempt = () => {
    sentAt = clock.monotonic();
    return scripts.beginShort(job, signal);
  };
  await untilFree(world, { domain, wanted: `${kind} job by ${api}` }, attempt, signal);

  const keeper = new LeaseKeeper({
    clock,
    leaseMs,
    sentAt,
    what: `the ${kind} job by ${api} on domain ${domain} on ${world.host}`,
    renew: (renewing) => scripts.renewShort(job, renewing),
  });
  return {
    domain,
    kind,
    signal: keeper.signal,
    async [Symbol.asyncDispose]() {
      keeper[Symbol.dispose]();
      // The call's own signal may be aborted by now; and a job that cannot be ended runs out by itself.
      await scripts.endShort(job, AbortSignal.timeout(leaseMs)).catch(() => {});
    },
  };
}
