/** This host's name is its own: registered before anything is recovered, and again as long as the agent runs. */
import { setTimeout as delay } from 'node:timers/promises';
import { HandoverError, type HostNames, type OwnerRecords, type Registration } from '@ferry/handover';
import { JobError, type MigrationJobs } from '@ferry/jobs';
import type { Redis } from 'ioredis';
import type { Config } from './config.ts';
import { AgentError } from './errors.ts';
import type { Log } from './log.ts';
import { exitStatus } from './until-asked.ts';

const renewMs = 5_000;
const replyMs = 2_000;
const retryMs = 200;

interface Registered {
  readonly redis: Redis;
  readonly config: Pick<Config, 'host'>;
  readonly hostNames: HostNames;
  readonly owners: OwnerRecords;
  readonly jobs: Pick<MigrationJobs, 'domains'>;
  readonly log: Log;
}

const whoIs = ({ config: { host } }: Registered): string => `this host is ${host.name}, UUID ${host.uuid}`;

/** Why this host must not serve under its name. */
function refusal(one: Registered, { answer, by }: Registration): string | undefined {
  const { name } = one.config.host;
  if (answer === 'taken')
    return `${whoIs(one)}, and another host, UUID ${by}, is alive as ${name}: give one of them another FERRY_HOST`;
  if (answer === 'cloned')
    return `${whoIs(one)}, and a host of this UUID is alive as ${by}: give one of them a FERRY_HOST_UUID of its own (a cloned /etc/machine-id?), or, if this host was renamed, end its agents of before and wait for 15 s`;
  return undefined;
}

/** Guests and jobs that are kept under this host's name. */
async function leftUnder(one: Registered, signal: AbortSignal): Promise<number> {
  const { name } = one.config.host;
  let count = (await one.jobs.domains(signal)).length;
  for await (const { host } of one.owners.all(signal, () => undefined)) if (host === name) count += 1;
  return count;
}

/** Throws AgentError config-invalid: another host has the name or the UUID, or has left guests under it. Waits while Redis does not answer. */
export async function registerHost(one: Registered, signal: AbortSignal): Promise<Disposable> {
  for (;;) {
    try {
      await registerOnce(one, signal);
      return renewed(one);
    } catch (error) {
      if (!isAway(error)) throw error;
      await delay(retryMs, undefined, { signal });
    }
  }
}

const isAway = (error: unknown): boolean =>
  (error instanceof HandoverError && error.kind === 'register-unavailable') ||
  (error instanceof JobError && error.kind === 'redis-unavailable');

async function registerOnce(one: Registered, signal: AbortSignal): Promise<void> {
  const { hostNames: names } = one;
  const { host } = one.config;
  let answered = await names.register(host, 'ask', signal);
  if (answered.answer === 'left') {
    const { by } = answered;
    const count = await leftUnder(one, signal);
    const why = `${whoIs(one)}, and ${count} guests or jobs are recorded under the name ${host.name} of host UUID ${by}: choose another FERRY_HOST. If that host is gone for good, or its UUID has changed: ferry forget-host ${host.name}`;
    if (count > 0) throw new AgentError('config-invalid', why);
    answered = await names.register(host, 'take', signal);
  }
  if (answered.answer === 'renamed') {
    const { by: before } = answered;
    // Under a name that another host has taken meanwhile nothing is this one's.
    if ((await names.uuidOf(before, signal)) === host.uuid) {
      one.log.warn(
        { before, now: host.name },
        'this host was renamed: its guests and jobs are kept under its new name',
      );
      await names.rename(before, host.name, signal);
    }
    answered = await names.register(host, 'take', signal);
  }
  const why = refusal(one, answered);
  if (why !== undefined) throw new AgentError('config-invalid', why, { isTemporary: true });
}

/** Ends the agent when Redis has come back and another host was quicker. */
function renewed(one: Registered): Disposable {
  const renew = async (): Promise<void> => {
    const why = refusal(one, await one.hostNames.register(one.config.host, 'take', AbortSignal.timeout(replyMs)));
    if (why === undefined) return;
    one.log.fatal({ reason: 'config-invalid' }, why);
    process.exitCode = exitStatus.temporary;
    process.kill(process.pid, 'SIGTERM');
  };
  const tried = (): void =>
    void renew().catch((error: unknown) => {
      if (!isAway(error)) one.log.warn({ err: error }, 'the host’s name could not be registered again');
    });
  one.redis.on('ready', tried);
  const timer = setInterval(tried, renewMs).unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      one.redis.off('ready', tried);
    },
  };
}
