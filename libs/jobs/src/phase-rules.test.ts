import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { JobError, type MigrationJob, MigrationJobs, type PhaseTable, systemClock } from './index.ts';
import { type PrivateRedis, startRedis } from './testing/redis-server.ts';

const phases: PhaseTable = {
  begin: { after: [] },
  perform: { after: ['begin'] },
  done: { after: ['perform'] },
  confirm: { after: ['done'] },
  cancelled: { after: ['begin', 'perform', 'done'] },
};
const names = Object.keys(phases);
const never = new AbortController().signal;

/** What libvirt's rules say of one domain on one host; `owner` is the number of the call that owns the job. */
class Model {
  active: { id: string; phase: string; owner: number | undefined; of: number } | undefined;
  readonly ended = new Set<string>();
  readonly calls: { of: number }[] = [];
  #jobs = 0;

  start(id: string): string {
    if (this.active) return 'already-migrating';
    if (this.ended.has(id)) return 'phase-out-of-order';
    this.active = { id, phase: 'none', owner: this.calls.length, of: ++this.#jobs };
    this.calls.push({ of: this.active.of });
    return 'ok';
  }

  isActive(id: string): string {
    if (!this.active) return 'unknown-migration';
    if (this.active.id !== id) return 'foreign-migration';
    this.calls.push({ of: this.active.of });
    return 'ok';
  }

  act(call: number, act: 'start' | 'set' | 'continue' | 'finish', phase: string): string {
    const job = this.active;
    if (!job || this.calls[call]?.of !== job.of) return 'unknown-migration';
    if (job.owner !== undefined && job.owner !== call) return 'phase-in-progress';
    if (act === 'continue') {
      job.owner = undefined;
    } else if (act === 'finish') {
      this.ended.add(job.id);
      this.active = undefined;
    } else {
      const after = phases[phase]?.after ?? [];
      if (!(after.length === 0 ? ['none'] : after).includes(job.phase)) return 'phase-out-of-order';
      job.phase = phase;
      if (act === 'start') job.owner = call;
    }
    return 'ok';
  }
}

const step = fc.oneof(
  fc.record({ do: fc.constant('begin' as const), id: fc.constantFrom('x', 'y') }),
  fc.record({ do: fc.constant('look up' as const), id: fc.constantFrom('x', 'y') }),
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('act' as const),
      call: fc.nat({ max: 6 }),
      act: fc.constantFrom('start' as const, 'start' as const, 'set' as const, 'continue' as const, 'finish' as const),
      phase: fc.constantFrom(...names),
    }),
  },
);

let server: PrivateRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const outcomeOf = async (act: () => unknown) => {
  try {
    await act();
    return 'ok';
  } catch (error) {
    if (error instanceof JobError) return error.kind;
    throw error;
  }
};

it('follows the phase table in any sequence of calls, and a refused call changes nothing', async () => {
  const redis = server.client();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      using jobs = new MigrationJobs({
        redis,
        host: 'a',
        owner: 'source-agent@a',
        kind: 'MIGRATION_OUT',
        leaseMs: 60_000,
        phases,
        clock: systemClock,
      });
      const [domain, model, calls] = [randomUUID(), new Model(), new Array<MigrationJob>()];
      const start = async (migrationId: string) =>
        calls.push(await jobs.migrationJobStart({ domain, migrationId, options: {} }, never));
      const act = (job: MigrationJob, what: 'start' | 'set' | 'continue' | 'finish', phase: string) => {
        if (what === 'start') return jobs.migrationJobStartPhase(job, phase, never);
        if (what === 'set') return jobs.migrationJobSetPhase(job, phase, never);
        if (what === 'continue') return jobs.migrationJobContinue(job, undefined, never);
        return jobs.migrationJobFinish(job, { outcome: 'ended', record: {} }, never);
      };
      for (const each of steps) {
        if (each.do === 'begin') {
          expect(await outcomeOf(() => start(each.id))).toBe(model.start(each.id));
        } else if (each.do === 'look up') {
          const lookUp = () => calls.push(jobs.migrationJobIsActive(domain, each.id));
          expect(await outcomeOf(lookUp)).toBe(model.isActive(each.id));
        } else {
          const job = calls[each.call];
          if (job === undefined) continue;
          expect(await outcomeOf(() => act(job, each.act, each.phase))).toBe(
            model.act(each.call, each.act, each.phase),
          );
        }
        const shown = await jobs.activeOf(domain, never);
        expect(shown && { id: shown.migrationId, phase: shown.phase }).toEqual(
          model.active && { id: model.active.id, phase: model.active.phase },
        );
        // A phase that is set, rather than started, leaves the ownership as it was.
        expect(shown?.executing).toBe(model.active && model.active.owner !== undefined);
      }
    }),
    { numRuns: 150 },
  );
});
