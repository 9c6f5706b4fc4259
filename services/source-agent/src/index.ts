export type { SourceAgent } from './agent.ts';
export { sourceAgentService } from './service.ts';
export { sourceAgent, takeUpWork } from './wire.ts';
