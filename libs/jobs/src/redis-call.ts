import { scriptCalls } from '@ferry/redis';
import type { Clock } from './clock.ts';
import { JobError } from './errors.ts';

/** The diagnostics channel on which each call of a script is told when it is over. */
export const redisCalls = 'ferry.redis.job_script';

const calls = scriptCalls({
  tracer: '@ferry/jobs',
  channel: redisCalls,
  failure: (what, ...rest) => new JobError(what === 'reply' ? 'redis-reply' : 'redis-unavailable', ...rest),
  kindOf: (error) => (error instanceof JobError ? error.kind : undefined),
});

/** One script call, bounded by `clock`. Throws the signal's reason, or JobError redis-unavailable | redis-reply. */
export const redisCall = <T>(clock: Clock, name: string, send: () => Promise<T>, signal: AbortSignal): Promise<T> =>
  calls.call(name, send, signal, (ms, fn) => clock.after(ms, fn));

/** A reply as words. Throws JobError redis-reply. */
export const { wordsOf } = calls;
