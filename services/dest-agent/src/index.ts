export type { DestAgent } from './agent.ts';
export { destAgentService } from './service.ts';
export { destAgent, takeUpWork } from './wire.ts';
