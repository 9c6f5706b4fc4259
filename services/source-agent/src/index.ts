export type { SourceAgent } from './agent.ts';
export { domainsService, sourceAgentService } from './service.ts';
export { sourceAgent, takeUpWork } from './wire.ts';
