/** The gRPC service of the destination agent: each method is one function of this package. */
import { type Edge, knownMigration } from '@ferry/agent';
import { MigrationError } from '@ferry/migration';
import {
  type DestAgentServer,
  DestAgentService,
  type FinishRequest,
  type StandByRequest,
  type StandByResponse,
} from '@ferry/proto/ferry/v1/dest_agent';
import { type Migration, Protocol } from '@ferry/proto/ferry/v1/migration';
import { type DestAgent } from './agent.ts';
import { answerSource } from './decision.ts';
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
      checkReady: unary('migration.check-ready', async (request, signal) => {
        await checkReady(agent, request, signal);
        return {};
      }),
      ask: unary('handover.ask', (request, signal) => answerSource(agent, request, signal)),
      getMigration: unary('migration.get', async (request, signal) => ({
        migration: (await known(agent, request, signal)).describe(),
      })),
      watchMigration: serverStream('migration.watch', async function* (request, signal) {
        for await (const event of (await known(agent, request, signal)).watch(signal)) yield { event };
      }),
      abortMigration: unary('migration.abort', async (request, signal) => ({
        migration: await abort(agent, request, signal),
      })),
    },
  };
}
