/** All guards, by their names. */
import { assumptions } from './assumptions.ts';
import type { Guard } from './guard.ts';
import { handoverGuards } from './handover.ts';
import { journalGuards } from './journaled.ts';
import { ownerGuards } from './owner.ts';
import { questionGuards } from './questions.ts';

export const guards: readonly Guard[] = [
  ...handoverGuards,
  ...questionGuards,
  ...journalGuards,
  ...ownerGuards,
  ...assumptions,
];

export const guardNamed = (name: string): Guard | undefined => guards.find((guard) => guard.name === name);
