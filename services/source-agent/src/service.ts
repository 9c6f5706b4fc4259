/** The gRPC services of the source agent: each method is one function of this package. */
import { type Edge, knownMigration, type Resolvable, resolveByWord, SharedAnswers, visibleDomains } from '@ferry/agent';
import { MigrationError } from '@ferry/migration';
import { DomainsService, type DomainsServer, type GetResponse, type ListResponse } from '@ferry/proto/ferry/v1/domains';
import { type Migration, Protocol } from '@ferry/proto/ferry/v1/migration';
import {
  SourceAgentService,
  type SourceAgentServer,
  SourcePeerService,
  type SourcePeerServer,
} from '@ferry/proto/ferry/v1/source_agent';
import { guestIfAny, journal, type SourceAgent, type SourceState } from './agent.ts';
import { begin } from './begin.ts';
import { check } from './check.ts';
import { confirm } from './confirm.ts';
import * as domains from './domains.ts';
import { answerDestination, decide } from './decision.ts';
import { dumpXml } from './dump-xml.ts';
import { migrate } from './migrate.ts';
import { perform } from './perform.ts';
import { forget, forgetHost, history, where } from './where.ts';

interface Names {
  readonly migrationId: string;
  readonly domain: string;
}

/** A migration that this agent knows. Throws JobError unknown-migration. */
const known = ({ ongoing, jobs, config }: SourceAgent, request: Names, signal: AbortSignal) =>
  knownMigration({ ongoing, jobs, side: 'source', host: config.host.name }, request, signal);

/** Asks for a migration to be given up; what has been committed meanwhile stands. */
async function abort(agent: SourceAgent, request: Names, signal: AbortSignal): Promise<Migration> {
  const ongoing = await known(agent, request, signal);
  if (ongoing.ended) return ongoing.describe();
  const cause = new MigrationError('migration-cancelled', `migration ${request.migrationId} was given up on request`);
  const held = agent.migrations.find(request.migrationId);
  if (held === undefined) ongoing.askToAbort(cause);
  else await agent.migrations.giveUp(held, cause);
  return ongoing.describe();
}

const resolvable = (agent: SourceAgent): Resolvable<SourceState> => ({
  side: 'source',
  parts: agent,
  migrations: agent.migrations,
  learn: (held, signal) => decide(agent, held, signal),
  cannotRun: async (held, signal) =>
    (await guestIfAny(agent, held, signal)) === undefined ? 'the guest has ended here' : undefined,
  journal: (held) => journal(agent, held),
});

export function sourceAgentService(
  agent: SourceAgent,
  { unary, serverStream }: Edge,
): {
  definition: typeof SourceAgentService;
  implementation: SourceAgentServer;
} {
  return {
    definition: SourceAgentService,
    implementation: {
      begin: unary('migration.begin', (request, signal) => begin(agent, request, signal), 'begin3'),
      dumpXml: unary('migration.dump-xml', (request, signal) => dumpXml(agent, request, signal)),
      perform: unary(
        'migration.perform',
        (request, signal) => perform(agent, request, signal),
        (request) => (request.protocol === Protocol.PROTOCOL_V2 ? 'perform2' : 'perform3'),
      ),
      confirm: unary(
        'migration.confirm',
        (request, signal) => confirm(agent, request, signal),
        (request) => (request.cancelled ? 'confirm3-cancelled' : 'confirm3'),
      ),
      migrate: serverStream(
        'migration.migrate',
        async function* (request, signal) {
          for await (const event of await migrate(agent, request, signal)) yield { event };
        },
        undefined,
        ({ event: { event } }) => (event?.$case === 'ended' ? event.value.failure : undefined),
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

/** What only destinations' agents call. */
export function sourcePeerService(
  agent: SourceAgent,
  { unary }: Edge,
): { definition: typeof SourcePeerService; implementation: SourcePeerServer } {
  return {
    definition: SourcePeerService,
    implementation: {
      ask: unary('handover.ask', (request, signal) => answerDestination(agent, request, signal)),
    },
  };
}

/** What is asked of a host's guests and of Redis has limits of its own, which are shorter. */
const lookMs = 10_000;

export function domainsService(
  agent: SourceAgent,
  { unary }: Edge,
): {
  definition: typeof DomainsService;
  implementation: DomainsServer;
} {
  // A guest that stands still does not wait for them: they begin when the gate is open.
  const lists = new SharedAnswers<ListResponse>(async () => {
    await agent.gate.opened();
    return { domains: await domains.list(agent, AbortSignal.timeout(lookMs)) };
  });
  const gets = new SharedAnswers<GetResponse>(async (nameOrUuid) => {
    await agent.gate.opened();
    return domains.get(agent, nameOrUuid, AbortSignal.timeout(lookMs));
  });
  return {
    definition: DomainsService,
    implementation: {
      start: unary('domain.start', async (request, signal) => ({
        domain: await domains.startDomain(agent, request, signal),
      })),
      adopt: unary('domain.adopt', async (request, signal) => ({
        domain: await domains.adopt(agent, request, signal),
      })),
      list: unary('domain.list', async (_request, signal) => ({
        domains: visibleDomains(DomainsService.list.path, (await lists.get('', signal)).domains),
      })),
      get: unary('domain.get', (request, signal) => gets.get(request.domain, signal)),
      suspend: unary('domain.suspend', async (request, signal) => ({
        domain: await domains.suspend(agent, request.domain, signal),
      })),
      resume: unary('domain.resume', async (request, signal) => ({
        domain: await domains.resume(agent, request.domain, signal),
      })),
      shutdown: unary('domain.shutdown', async (request, signal) => ({
        domain: await domains.shutdown(agent, request.domain, signal),
      })),
      check: unary('domain.check', async (request, signal) => ({
        findings: await check(agent, request.domainXml, signal),
      })),
      destroy: unary('domain.destroy', async (request, signal) => {
        await domains.destroy(agent, request.domain, signal);
        return {};
      }),
      where: unary('domain.where', (request, signal) => where(agent, request, signal)),
      history: unary('domain.history', async (request, signal) => ({
        migrations: await history(agent, request.domain, signal),
      })),
      forget: unary('domain.forget', async (request, signal) => ({ ownership: await forget(agent, request, signal) })),
      forgetHost: unary('domain.forget-host', (request, signal) => forgetHost(agent, request, signal)),
    },
  };
}
