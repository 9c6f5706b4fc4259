export { type Clock, systemClock } from './clock.ts';
export { JobError, type JobErrorKind, type JobHolder } from './errors.ts';
export type { JobRecord } from './job-record.ts';
export type { ActiveJob, PhaseReply } from './job-scripts.ts';
export { MigrationJobs, type MigrationJobsOptions } from './jobs.ts';
export type { JobKind, ShortJobKind } from './masks.ts';
export type { MigrationJob, PhaseTable } from './migration-job.ts';
export type { ShortJob } from './short-jobs.ts';
