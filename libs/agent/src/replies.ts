/** What was answered to a phase, kept so that a repeated call gets the same answer, be it a refusal. */
import type { Phase } from '@ferry/migration';
import { Failure } from '@ferry/proto/ferry/v1/migration';
import { FailureError } from '@ferry/rpc';
import { digestBytes, refuseOtherRequest } from './request-digest.ts';

/** A generated message's own functions. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

/** An answer; encoded when it is needed, which is never inside the blackout. */
export interface Reply {
  readonly phase: Phase;
  readonly bytes: () => Uint8Array;
}

const answered = 1;
const refused = 0;

/** A tag, the digest of the request, the answer. */
const recorded = (tag: number, request: Uint8Array, bytes: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.from([tag]), request, bytes]);

export const replyOf = <T>(phase: Phase, codec: Codec<T>, response: T, request: Uint8Array): Reply => ({
  phase,
  bytes: () => recorded(answered, request, codec.encode(response).finish()),
});

export const refusalOf = (phase: Phase, failure: Failure, request: Uint8Array): Reply => ({
  phase,
  bytes: () => recorded(refused, request, Failure.encode(failure).finish()),
});

/** Gives the answer again. Throws FailureError if it was a refusal; MigrationError request-differs if it was an answer to something else. */
export function replay<T>(bytes: Uint8Array, codec: Codec<T>, request: Uint8Array, what: string): T {
  refuseOtherRequest(bytes.subarray(1, 1 + digestBytes), request, what);
  const answer = bytes.subarray(1 + digestBytes);
  if (bytes[0] === answered) return codec.decode(answer);
  throw new FailureError(Failure.decode(answer));
}
