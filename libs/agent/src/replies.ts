/** What was answered to a phase, kept so that a repeated call gets the same answer, be it a refusal. */
import type { Phase } from '@ferry/migration';
import { Failure } from '@ferry/proto/ferry/v1/migration';
import { FailureError } from './failure.ts';

/** A generated message's own functions. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

/** An answer; encoded when somebody asks for it, which is never inside the blackout. */
export interface Reply {
  readonly phase: Phase;
  readonly bytes: () => Uint8Array;
}

const answered = 1;
const refused = 0;
const tagged = (tag: number, bytes: Uint8Array): Uint8Array => Buffer.concat([Buffer.from([tag]), bytes]);

export const replyOf = <T>(phase: Phase, codec: Codec<T>, response: T): Reply => ({
  phase,
  bytes: () => tagged(answered, codec.encode(response).finish()),
});

export const refusalOf = (phase: Phase, failure: Failure): Reply => ({
  phase,
  bytes: () => tagged(refused, Failure.encode(failure).finish()),
});

/** Gives the answer again. Throws FailureError if it was a refusal. */
export function replay<T>(bytes: Uint8Array, codec: Codec<T>): T {
  if (bytes[0] === answered) return codec.decode(bytes.subarray(1));
  throw new FailureError(Failure.decode(bytes.subarray(1)));
}
