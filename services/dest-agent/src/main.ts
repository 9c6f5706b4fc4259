/** The destination agent's process. */
import nodeModule from 'node:module';
import {
  answerCommand,
  agentRuns,
  Callers,
  domainLookUp,
  edgeOf,
  invokeAgain,
  observe,
  openAudit,
  openParts,
  Peers,
  serve,
  untilAsked,
} from '@ferry/agent';
import { startTelemetry } from '@ferry/agent/telemetry';
import { Ports } from '@ferry/hypervisor';
import { SourcePeerService } from '@ferry/proto/ferry/v1/source_agent';
import type { Source } from './agent.ts';
import { rehearse } from './rehearse.ts';
import { destAgentService, destPeerService } from './service.ts';
import { destAgent, takeUpWork } from './wire.ts';

await answerCommand('dest', process.argv.slice(2));
await using _telemetry = await startTelemetry('dest-agent');
await untilAsked(async (shutdown) => {
  await using parts = await openParts('dest', shutdown);
  const { config, log, credentials } = parts;
  using peers = new Peers(credentials, config.grants);
  const sourceAt = (address: string): Source => {
    const client = peers.at(address);
    return { ask: (request, signal) => invokeAgain(client, SourcePeerService.ask, request, signal) };
  };
  const sourceRuns = () => agentRuns('source', config.stateDir);
  const ports = new Ports(config.migration.ports);
  using _ports = observe(() => ({ portsUsed: [{ value: ports.use.used }], portsLimit: [{ value: ports.use.limit }] }));
  const agent = destAgent(parts, { ports, sourceAt, sourceRuns });
  await using _migrations = agent.migrations;

  await takeUpWork(agent, shutdown);
  // For the next life, should this one not end in good order; where NODE_COMPILE_CACHE is not set it does nothing.
  nodeModule.flushCompileCache();
  await rehearse(agent, shutdown);
  const callers = new Callers(config.grants);
  const audit = openAudit(config.auditLog);
  const access = { callers, domains: domainLookUp(parts, 'dest') };
  const edge = edgeOf({ side: 'dest', log, draining: shutdown, access });
  const server = await serve(
    { side: 'dest', listen: config.listen, credentials, gate: parts.gate, callers, audit },
    [destAgentService(agent, edge), destPeerService(agent, edge)],
    shutdown,
  );
  log.info({ address: server.address }, 'serving');
  await server.ended;
});
