import { expect, it } from '@jest/globals';
import { openingPhase, recoveryOf } from './phases.ts';

it('opens each side’s job by the one phase that follows none', () => {
  expect([openingPhase('source', 3), openingPhase('source', 2)]).toEqual(['begin3', 'perform2']);
  expect([openingPhase('dest', 3), openingPhase('dest', 2)]).toEqual(['prepare', 'prepare']);
});

it('recovers a job in no phase by its side, and none by the other side’s phase', () => {
  expect([recoveryOf('source', undefined), recoveryOf('dest', undefined)]).toEqual(['forget', 'destroy-incoming']);
  expect(() => recoveryOf('dest', 'begin3')).toThrow("phase begin3 is not the dest's");
});
