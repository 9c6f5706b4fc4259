import { readFileSync } from 'node:fs';
import type { Redis, Result } from 'ioredis';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    ferryJobStart(
      slot: string,
      lease: string,
      record: string,
      short: string,
      ...args: string[]
    ): Result<unknown, Context>;
    ferryJobPhase(slot: string, lease: string, record: string, ...args: string[]): Result<unknown, Context>;
    ferryJobContinue(
      slot: string,
      lease: string,
      record: string,
      ...args: (string | Buffer)[]
    ): Result<unknown, Context>;
    ferryJobFinish(slot: string, lease: string, record: string, ...args: (string | Buffer)[]): Result<unknown, Context>;
    ferryJobLook(slot: string, lease: string): Result<unknown, Context>;
    ferryJobAdopt(slot: string, lease: string, record: string, ...args: string[]): Result<unknown, Context>;
    ferryJobRegain(
      slot: string,
      lease: string,
      record: string,
      short: string,
      ...args: string[]
    ): Result<unknown, Context>;
    ferryLeaseRenew(lease: string, ...args: string[]): Result<unknown, Context>;
    ferryShortBegin(slot: string, short: string, ...args: string[]): Result<unknown, Context>;
    ferryShortRenew(short: string, ...args: string[]): Result<unknown, Context>;
    ferryShortEnd(short: string, ...args: string[]): Result<unknown, Context>;
  }
}

/** Each script's command and how many keys it takes. */
const scripts = {
  'job-start': ['ferryJobStart', 4],
  'job-phase': ['ferryJobPhase', 3],
  'job-continue': ['ferryJobContinue', 3],
  'job-finish': ['ferryJobFinish', 3],
  'job-look': ['ferryJobLook', 2],
  'job-adopt': ['ferryJobAdopt', 3],
  'job-regain': ['ferryJobRegain', 4],
  'lease-renew': ['ferryLeaseRenew', 1],
  'short-begin': ['ferryShortBegin', 2],
  'short-renew': ['ferryShortRenew', 1],
  'short-end': ['ferryShortEnd', 1],
} as const;

/** Makes each script a command of that client, which sends its text only where Redis does not have it yet. */
export function defineScripts(redis: Redis): void {
  for (const [file, [command, numberOfKeys]] of Object.entries(scripts)) {
    const lua = readFileSync(new URL(`./scripts/${file}.lua`, import.meta.url), 'utf8');
    redis.defineCommand(command, { numberOfKeys, lua });
  }
}
