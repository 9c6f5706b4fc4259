export type { DestAgent } from './agent.ts';
export { destAgentService, destPeerService } from './service.ts';
export { destAgent, takeUpWork } from './wire.ts';
