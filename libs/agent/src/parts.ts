/** What both agents are made of, and the one place that opens it. */
import { join } from 'node:path';
import { HandoverJournals, HandoverRegister, HostNames, type Journals, OwnerRecords } from '@ferry/handover';
import { Hypervisor } from '@ferry/hypervisor';
import { type Clock, MigrationJobs, systemClock } from '@ferry/jobs';
import { phases, type Side } from '@ferry/migration';
import { openRedis, waitForRedis } from '@ferry/redis/connect';
import { BlackoutGate } from './blackout-gate.ts';
import { type Config, readConfig } from './config.ts';
import { openLog, type Log } from './log.ts';
import { migrationObserver } from './migration-observer.ts';
import { observeAgent } from './agent-metrics.ts';
import { recordWhen } from './metrics.ts';
import { OngoingMigrations } from './ongoing.ts';
import { registerHost } from './host-name.ts';
import { holdStateDirectory } from './one-daemon.ts';
import { type LookUp, systemLookUp } from './reach.ts';
import { openRunKeys, type RunKeys } from './run-keys.ts';
import { tryStateDir } from './state-dir.ts';
import { type Credentials, openCredentials } from './tls.ts';

/** By what they do, not by their classes: a simulation plays the host and the disk. */
export interface Parts {
  readonly config: Config;
  readonly log: Log;
  readonly clock: Clock;
  readonly hypervisor: Pick<Hypervisor, keyof Hypervisor>;
  readonly jobs: MigrationJobs;
  readonly register: HandoverRegister;
  readonly owners: OwnerRecords;
  readonly hostNames: HostNames;
  readonly journals: Journals;
  readonly ongoing: OngoingMigrations;
  /** Closed while a guest of this agent stands still for its switchover. */
  readonly gate: BlackoutGate;
  readonly lookUp: LookUp;
  readonly runKeys: RunKeys;
}

const jobKind = { source: 'MIGRATION_OUT', dest: 'MIGRATION_IN' } as const;

/**
 * Opens them for this process, from its environment; waits until Redis answers, and has `first` done before. Throws AgentError config-invalid, or
 * what `first` throws.
 */
export async function openParts(
  side: Side,
  shutdown: AbortSignal,
  first: (config: Config, log: Log, shutdown: AbortSignal) => Promise<void> = () => Promise.resolve(),
): Promise<Parts & { readonly credentials: Credentials } & AsyncDisposable> {
  const config = readConfig(process.env);
  const log = openLog(config.logLevel);
  const credentials = await openCredentials(config.tls);
  await tryStateDir(config.stateDir);
  await using opened = new AsyncDisposableStack();
  opened.use(await holdStateDirectory(side, config.stateDir));
  await first(config, log, shutdown);
  const redis = openRedis(config.redis, log);
  opened.defer(() => redis.disconnect());
  await waitForRedis(redis, log, shutdown);
  const hypervisor = opened.use(
    await Hypervisor.open(
      {
        stateDir: config.stateDir,
        binary: config.qemu,
        side,
        policy: {
          allowedRoots: config.domainPaths,
          maxBytes: 1024 * 1024,
          addedArguments: config.addedArguments,
        },
        protectedPaths: config.protectedPaths,
        sharedPaths: config.sharedPaths,
        networks: config.networks,
        allowed: config.allowed,
        memoryReserveBytes: config.memoryReserveBytes,
        guestLogBytesMax: config.guestLogBytesMax,
        user: config.qemuUser,
        warn: (weakness) => log.warn(weakness),
      },
      shutdown,
    ),
  );
  const clock = systemClock;
  const { name: host } = config.host;
  const owner = `${side}-agent@${host}`;
  const jobs = opened.use(
    new MigrationJobs({ redis, host, owner, kind: jobKind[side], leaseMs: config.leaseMs, phases, clock }),
  );
  const register = new HandoverRegister({ redis, host, side, address: config.address });
  const owners = new OwnerRecords({ redis, host });
  const hostNames = new HostNames(redis);
  opened.use(await registerHost({ redis, config, hostNames, owners, jobs, log }, shutdown));
  const journals = new HandoverJournals(join(config.stateDir, 'handover', side), (err) =>
    log.error(
      { err },
      'a journal is damaged and was set aside: its migration’s domain stays as it is until the other host has said how it was decided',
    ),
  );
  const runKeys = await openRunKeys(config.stateDir, side);
  const gate = new BlackoutGate({
    onHeld: (held) => log.info({ held }, 'calls and looks have waited for a switchover'),
  });
  const ongoing = new OngoingMigrations({ gate, observer: migrationObserver(host, log) });
  opened.use(observeAgent({ side, host, ongoing, redis, hypervisor, tls: config.tls }));
  recordWhen((run) => void gate.whenOpen(run));
  const ours = opened.move();
  return {
    config,
    log,
    clock,
    hypervisor,
    jobs,
    register,
    owners,
    hostNames,
    journals,
    ongoing,
    gate,
    lookUp: systemLookUp,
    runKeys,
    credentials,
    [Symbol.asyncDispose]: () => ours.disposeAsync(),
  };
}
