/** The destination agent's process. The only place that builds its parts. */
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
import { Hypervisor, Ports } from '@ferry/hypervisor';
import { MigrationJobs, systemClock } from '@ferry/jobs';
import { phases } from '@ferry/migration';
import { type DestAgent, type DestState, endJournal } from './agent.ts';
import { endOrphans, recover, reviveState, takeUpJournaled } from './recover.ts';
import { rehearse } from './rehearse.ts';
import { destAgentService } from './service.ts';

await untilAsked(async (shutdown) => {
  const config = readConfig(process.env);
  const log = openLog(config.logLevel);
  const credentials = await openCredentials(config.tls);
  const redis = openRedis(config.redisUrl, log);
  using _redis = { [Symbol.dispose]: () => redis.disconnect() };
  await waitForRedis(redis, log, shutdown);

  const owner = `dest-agent@${config.host.name}`;
  await using hypervisor = await Hypervisor.open(
    {
      stateDir: config.stateDir,
      binary: config.qemu,
      side: 'dest',
      policy: { allowedRoots: config.domainPaths, maxBytes: 1024 * 1024 },
      memoryReserveBytes: config.memoryReserveBytes,
    },
    shutdown,
  );
  using jobs = new MigrationJobs({
    redis,
    host: config.host.name,
    owner,
    kind: 'MIGRATION_IN',
    leaseMs: config.leaseMs,
    phases,
    clock: systemClock,
  });
  const register = new HandoverRegister({ redis, host: config.host.name });
  const journals = new HandoverJournals(join(config.stateDir, 'handover', 'dest'));
  const ongoing = new OngoingMigrations();
  using peers = new Peers(credentials);
  await using migrations: HeldMigrations<DestState> = new HeldMigrations<DestState>({
    side: 'dest',
    jobs,
    ongoing,
    log,
    clock: systemClock,
    idleMs: config.idleMs,
    recover: (held, signal) => recover(agent, held, signal),
    // However long the source needs: memory is flowing.
    busy: ({ state }) => state.incoming?.status === 'active',
    revive: async (job, signal) => ({ start: startOf(job, 'dest'), state: await reviveState(agent, job, signal) }),
    ended: (held) => endJournal(agent, held),
  });
  const agent: DestAgent = {
    config,
    log,
    hypervisor,
    jobs,
    register,
    journals,
    ongoing,
    migrations,
    peers,
    ports: new Ports(config.migration.ports),
  };

  // Before serving: an old job may hold a QEMU that waits, or one that was about to run.
  for (const domain of await jobs.domains(shutdown)) {
    await migrations
      .takeOver(domain, shutdown)
      .catch((error: unknown) => log.error({ err: error, domain }, 'cannot take the job over'));
  }
  await takeUpJournaled(agent, shutdown);
  await endOrphans(agent, shutdown);
  await rehearse(agent, shutdown);
  migrations.startTicking();
  const edge = edgeOf({ side: 'dest', log, draining: shutdown });
  const server = await serve({ listen: config.listen, credentials }, [destAgentService(agent, edge)], shutdown);
  log.info({ address: server.address }, 'serving');
  await server.ended;
});
