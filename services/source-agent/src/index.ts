export type { SourceAgent } from './agent.ts';
export { domainsService, sourceAgentService, sourcePeerService } from './service.ts';
export { sourceAgent, takeUpWork } from './wire.ts';
