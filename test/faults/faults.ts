/** What can happen, as data. */
import type { Fault } from './fault.ts';
import { hostFaults } from './host-faults.ts';
import { journalFaults } from './journal-faults.ts';
import { linkFaults } from './link-faults.ts';
import { redisFaults } from './redis-faults.ts';
import { userFaults } from './user-faults.ts';

export type { Kill, Scene, Thing } from './fault.ts';

const all = { ...hostFaults, ...redisFaults, ...linkFaults, ...journalFaults, ...userFaults };
export type FaultName = keyof typeof all;

/** By the names that cases have. */
export const faults: Readonly<Record<FaultName, Fault>> = all;
export const faultNames = Object.keys(all) as FaultName[];
