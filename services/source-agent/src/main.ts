/** The source agent's process. */
import nodeModule from 'node:module';
import {
  answerCommand,
  Callers,
  domainLookUp,
  edgeOf,
  observe,
  openAudit,
  openParts,
  Peers,
  serve,
  untilAsked,
} from '@ferry/agent';
import { startTelemetry } from '@ferry/agent/telemetry';
import { destinationAt } from './destination.ts';
import { domainsService, sourceAgentService, sourcePeerService } from './service.ts';
import { freeWaitingGuests } from './waiting-guests.ts';
import { sourceAgent, takeUpWork } from './wire.ts';

await answerCommand('source', process.argv.slice(2));
await using _telemetry = await startTelemetry('source-agent');
await untilAsked(async (shutdown) => {
  await using parts = await openParts('source', shutdown, freeWaitingGuests);
  const { config, log, credentials } = parts;
  using peers = new Peers(credentials, config.grants);
  const agent = sourceAgent(parts, (address) => destinationAt(peers, address));
  using _queue = observe(() => ({ queued: [{ value: agent.sending.waiting }] }));
  await using _migrations = agent.migrations;
  await using _ownership = agent.ownership;

  await takeUpWork(agent, shutdown);
  // For the next life, should this one not end in good order; where NODE_COMPILE_CACHE is not set it does nothing.
  nodeModule.flushCompileCache();
  const callers = new Callers(config.grants);
  const audit = openAudit(config.auditLog);
  const access = { callers, domains: domainLookUp(parts, 'source') };
  const edge = edgeOf({ side: 'source', log, draining: shutdown, access });
  const services = [sourceAgentService(agent, edge), sourcePeerService(agent, edge), domainsService(agent, edge)];
  const server = await serve(
    { side: 'source', listen: config.listen, credentials, gate: parts.gate, callers, audit },
    services,
    shutdown,
  );
  log.info({ address: server.address }, 'serving');
  await server.ended;
});
