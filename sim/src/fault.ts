/** What a fault is here: something that strikes once. */
import type { AgentProcess } from './agents.ts';
import type { Host } from './host.ts';
import type { Side } from './qemu.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export interface Fault {
  readonly name: string;
  readonly strike: (world: World) => void;
}

export type Draw = (random: Random) => Fault;

/** The latest migration's agent of that side. */
export const agentIn = (world: World, side: Side): AgentProcess => world.party(side);
export const hostIn = (world: World, side: Side): Host => agentIn(world, side).host;
export const someSide = (random: Random): Side => random.pick(['source', 'dest']);
