export type { QemuUser } from './confinement.ts';
export { exposures } from './exposure.ts';
export { HypervisorError, type HypervisorErrorKind } from './errors.ts';
export { guestMonitor } from './guest-monitor.ts';
export { Hypervisor, type Guest, type HypervisorOptions } from './hypervisor.ts';
export { newSocketProblem, socketMissing } from './migration-socket.ts';
export { Ports, type PortRange } from './ports.ts';
export { Turns } from './turns.ts';
export { listenerOf } from './socket-owner.ts';
