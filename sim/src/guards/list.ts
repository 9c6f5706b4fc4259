/** All guards, by their names. */
import type { Guard } from './guard.ts';
import { handoverGuards } from './handover.ts';
import { ownerGuards } from './owner.ts';

export const guards: readonly Guard[] = [...handoverGuards, ...ownerGuards];

export const guardNamed = (name: string): Guard | undefined => guards.find((guard) => guard.name === name);
