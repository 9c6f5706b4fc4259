import { scriptCalls } from '@ferry/redis';
import { HandoverError } from './errors.ts';

/** The diagnostics channel on which each call of a script is told when it is over. */
export const registerCalls = 'ferry.redis.register_script';

/** Script calls that throw the signal's reason, or HandoverError register-unavailable | register-reply; replies as words. */
export const { call: registerCall, wordsOf } = scriptCalls({
  tracer: '@ferry/handover',
  channel: registerCalls,
  failure: (what, ...rest) => new HandoverError(what === 'reply' ? 'register-reply' : 'register-unavailable', ...rest),
  kindOf: (error) => (error instanceof HandoverError ? error.kind : undefined),
});
