export { AgentProcess, type Side } from './agent-process.ts';
export { call, stream } from './call.ts';
export { CertificateAuthority, type TlsFiles } from './certificates.ts';
export { type HostClients, LabHost } from './host.ts';
export { Lab, type LabOptions } from './lab.ts';
export { isRunning, type ProcessId, processOf, signalProcess, untilGone } from './processes.ts';
export type { LabQemu } from './qemus.ts';
export type { SentinelGroup } from './redis-sentinel.ts';
export type { RedisOptions, RedisServer } from './redis-server.ts';
