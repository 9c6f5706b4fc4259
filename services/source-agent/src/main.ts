/** The source agent's process. The only place that builds its parts. */
import {
  edgeOf,
  HeldMigrations,
  OngoingMigrations,
  openCredentials,
  openLog,
  openRedis,
  Peers,
  readConfig,
  serve,
  startOf,
  untilAsked,
  waitForRedis,
} from '@ferry/agent';
import { join } from 'node:path';
import { HandoverJournals, HandoverRegister } from '@ferry/handover';
import { Hypervisor } from '@ferry/hypervisor';
import { MigrationJobs, systemClock } from '@ferry/jobs';
import { phases } from '@ferry/migration';
import { endJournal, type SourceAgent, type SourceState } from './agent.ts';
import { recover, reviveState, takeUpJournaled } from './recover.ts';
import { domainsService, sourceAgentService } from './service.ts';

await untilAsked(async (shutdown) => {
  const config = readConfig(process.env);
  const log = openLog(config.logLevel);
  const credentials = await openCredentials(config.tls);
  const redis = openRedis(config.redisUrl, log);
  using _redis = { [Symbol.dispose]: () => redis.disconnect() };
  await waitForRedis(redis, log, shutdown);

  const owner = `source-agent@${config.host.name}`;
  await using hypervisor = await Hypervisor.open(
    {
      stateDir: config.stateDir,
      binary: config.qemu,
      side: 'source',
      policy: { allowedRoots: config.domainPaths, maxBytes: 1024 * 1024 },
      memoryReserveBytes: config.memoryReserveBytes,
    },
    shutdown,
  );
  using jobs = new MigrationJobs({
    redis,
    host: config.host.name,
    owner,
    kind: 'MIGRATION_OUT',
    leaseMs: config.leaseMs,
    phases,
    clock: systemClock,
  });
  const register = new HandoverRegister({ redis, host: config.host.name });
  const journals = new HandoverJournals(join(config.stateDir, 'handover', 'source'));
  const ongoing = new OngoingMigrations();
  using peers = new Peers(credentials);
  await using migrations: HeldMigrations<SourceState> = new HeldMigrations<SourceState>({
    side: 'source',
    jobs,
    ongoing,
    log,
    clock: systemClock,
    idleMs: config.idleMs,
    recover: (held, signal) => recover(agent, held, signal),
    busy: () => false,
    revive: async (job) => ({ start: startOf(job, 'source'), state: await reviveState(agent, job) }),
    ended: (held) => endJournal(agent, held),
  });
  const agent: SourceAgent = {
    config,
    log,
    hypervisor,
    jobs,
    register,
    journals,
    ongoing,
    migrations,
    peers,
  };

  // Before serving: an old job may hold a paused guest.
  for (const domain of await jobs.domains(shutdown)) {
    await migrations
      .takeOver(domain, shutdown)
      .catch((error: unknown) => log.error({ err: error, domain }, 'cannot take the job over'));
  }
  await takeUpJournaled(agent, shutdown);
  migrations.startTicking();
  const edge = edgeOf({ side: 'source', log, draining: shutdown });
  const server = await serve(
    { listen: config.listen, credentials },
    [sourceAgentService(agent, edge), domainsService(agent, edge)],
    shutdown,
  );
  log.info({ address: server.address }, 'serving');
  await server.ended;
});
