/**
 * Jobs of this host that nobody executes: an agent's life before left them, an older copy of Redis brought them back, or a command that was
 * sent long ago made them. They are looked for at the start, when something hints at one, and once a minute.
 */
import type { Clock, MigrationJob, MigrationJobs } from '@ferry/jobs';
import type { Log } from './log.ts';

const everyMs = 60_000;

export interface AbandonedJobsOptions {
  readonly jobs: MigrationJobs;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether this process executes the domain's job. */
  readonly holds: (domain: string) => boolean;
  /** Goes on with a job. Throws when that cannot be done yet. */
  readonly takeOver: (job: MigrationJob, signal: AbortSignal) => Promise<void>;
  /** Looks for what is left of migrations whose jobs Redis has forgotten. Throws when something cannot be settled yet. */
  readonly takeUpForgotten: (signal: AbortSignal) => Promise<void>;
}

export class AbandonedJobs {
  readonly #options: AbandonedJobsOptions;
  /** By the monotonic clock, ms. */
  #dueAtMs: number;
  #connections: number;

  constructor(options: AbandonedJobsOptions) {
    this.#options = options;
    this.#dueAtMs = options.clock.monotonic() + everyMs;
    this.#connections = options.jobs.connections;
  }

  /** To be looked for when a lease that was taken now would have run out: those who hold jobs have taken them back by then. */
  later(): void {
    const { clock, jobs } = this.#options;
    this.#dueAtMs = Math.min(this.#dueAtMs, clock.monotonic() + jobs.leaseMs);
  }

  async sweepIfDue(signal: AbortSignal): Promise<void> {
    const { clock, jobs, log } = this.#options;
    // A Redis that was connected to anew may have come back with jobs that had ended.
    if (this.#connections !== jobs.connections) this.later();
    this.#connections = jobs.connections;
    if (clock.monotonic() < this.#dueAtMs) return;
    this.#dueAtMs = clock.monotonic() + everyMs;
    await this.sweep(signal).catch((error: unknown) => {
      log.warn({ err: error }, 'cannot look for abandoned jobs');
      this.later();
    });
  }

  /** What cannot be taken over now is tried again. Throws JobError redis-unavailable. */
  async sweep(signal: AbortSignal): Promise<void> {
    const { jobs, log, holds, takeOver, takeUpForgotten } = this.#options;
    for (const domain of await jobs.domains(signal)) {
      if (holds(domain)) continue;
      try {
        const job = await jobs.migrationJobAdopt(domain, signal);
        if (job === undefined)
          this.later(); // its lease has not run out yet
        else await takeOver(job, signal);
      } catch (error) {
        log.error({ err: error, domain }, 'cannot take the job over yet');
        this.later();
      }
    }
    await takeUpForgotten(signal).catch((error: unknown) => {
      log.error({ err: error }, 'cannot take up all that Redis has forgotten yet');
      this.later();
    });
  }
}
