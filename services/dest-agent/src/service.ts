/** The gRPC service of the destination agent: each method is one function of this package. */
import {
  currentCaller,
  type Edge,
  knownMigration,
  refuseForeignAgent,
  type Resolvable,
  resolveByWord,
} from '@ferry/agent';
import { MigrationError } from '@ferry/migration';
import {
  type DestAgentServer,
  DestAgentService,
  type DestPeerServer,
  DestPeerService,
  type FinishRequest,
  type StandByRequest,
  type StandByResponse,
} from '@ferry/proto/ferry/v1/dest_agent';
import { type Migration, Protocol } from '@ferry/proto/ferry/v1/migration';
import { type DestAgent, type DestState, type HeldIn, journal } from './agent.ts';
import { answerSource, decide } from './decision.ts';
import { finish } from './finish.ts';
import { prepare } from './prepare.ts';
import { checkReady } from './ready.ts';

interface Names {
  readonly migrationId: string;
  readonly domain: string;
}

/** A migration that this agent knows. Throws JobError unknown-migration. */
const known = ({ ongoing, jobs, config }: DestAgent, request: Names, signal: AbortSignal) =>
  knownMigration({ ongoing, jobs, side: 'dest', host: config.host.name }, request, signal);

/** Asks for a migration to be given up, as long as the guest does not run here. */
async function abort(agent: DestAgent, request: Names, signal: AbortSignal): Promise<Migration> {
  const ongoing = await known(agent, request, signal);
  const held = agent.migrations.find(request.migrationId);
  if (ongoing.ended || held === undefined) return ongoing.describe();
  refuseForeignAgent(currentCaller(), held.state.peerHost, request.migrationId);
  await agent.migrations.giveUp(
    held,
    new MigrationError('migration-cancelled', `migration ${request.migrationId} was given up on request`),
  );
  return ongoing.describe();
}

/** Goes the way that Finish will go: to the migration that is held here, and to the register. */
async function getReady(agent: DestAgent, names: Names | undefined): Promise<StandByResponse> {
  const held = names && agent.migrations.find(names.migrationId);
  if (held !== undefined) {
    const { domainUuid: domain, migrationId } = held.ongoing.start;
    await agent.register.look({ domain, migrationId }, held.job.signal);
  }
  return { response: { $case: 'ready', value: {} } };
}

const phaseOfFinish = (request: FinishRequest) => (request.protocol === Protocol.PROTOCOL_V2 ? 'finish2' : 'finish3');

/** A copy whose source has not said that it stopped for good may be older than what the guest has written since. */
async function cannotRun({ state, ongoing }: HeldIn, signal: AbortSignal): Promise<string | undefined> {
  const { domainName } = ongoing.start;
  const status = await state.guest?.monitor.execute('query-status', {}, signal).catch(() => undefined);
  if (status === undefined) return `the copy of ${domainName} that waited here has ended`;
  if (status.status === 'inmigrate') return `the copy of ${domainName} here is not whole`;
  if (state.promised.size > 0)
    return `the source was promised that ${domainName} stays there, and may have let it run since: end this copy`;
  if (state.voteSeen) return undefined;
  return `it is not known here that the source had stopped ${domainName}, so this copy may be older than its disks: end it, and start the guest anew`;
}

const resolvable = (agent: DestAgent): Resolvable<DestState> => ({
  side: 'dest',
  parts: agent,
  migrations: agent.migrations,
  learn: (held, signal) => decide(agent, held, signal),
  cannotRun,
  journal: (held) => journal(agent, held),
});

export function destAgentService(
  agent: DestAgent,
  { unary, serverStream, standBy }: Edge,
): {
  definition: typeof DestAgentService;
  implementation: DestAgentServer;
} {
  return {
    definition: DestAgentService,
    implementation: {
      prepare: unary('migration.prepare', (request, signal) => prepare(agent, request, signal), 'prepare'),
      finish: unary('migration.finish', (request, signal) => finish(agent, request, signal), phaseOfFinish),
      standBy: standBy(
        'migration.finish',
        {
          requestIn: ({ request }: StandByRequest) => (request?.$case === 'finish' ? request.value : undefined),
          ready: ({ request }) => getReady(agent, request?.$case === 'getReady' ? request.value : undefined),
          answer: (request: FinishRequest, signal) => finish(agent, request, signal),
          replyWith: (value): StandByResponse => ({ response: { $case: 'finished', value } }),
        },
        phaseOfFinish,
      ),
      getMigration: unary('migration.get', async (request, signal) => ({
        migration: (await known(agent, request, signal)).describe(),
      })),
      watchMigration: serverStream('migration.watch', async function* (request, signal) {
        for await (const event of (await known(agent, request, signal)).watch(signal)) yield { event };
      }),
      abortMigration: unary('migration.abort', async (request, signal) => ({
        migration: await abort(agent, request, signal),
      })),
      resolveMigration: unary('migration.resolve', async (request, signal) => ({
        migration: await resolveByWord(resolvable(agent), request, signal),
      })),
    },
  };
}

/** What only sources' agents call. */
export function destPeerService(
  agent: DestAgent,
  { unary }: Edge,
): { definition: typeof DestPeerService; implementation: DestPeerServer } {
  return {
    definition: DestPeerService,
    implementation: {
      checkReady: unary('migration.check-ready', (request, signal) => checkReady(agent, request, signal)),
      ask: unary('handover.ask', (request, signal) => answerSource(agent, request, signal)),
    },
  };
}
