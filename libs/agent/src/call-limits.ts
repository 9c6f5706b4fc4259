/**
 * How many calls one certificate may have, and begin: decided on their headers, before a message is read. What is refused costs little, and
 * whoever reads nothing or hangs up at once takes no more than its share of the one event loop that guests wait for.
 */
import { type Side } from '@ferry/migration';
import { toStatus } from '@ferry/rpc';
import {
  type Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
} from '@grpc/grpc-js';
import type { BlackoutGate } from './blackout-gate.ts';
import { AgentError } from './errors.ts';

export interface CallLimits {
  /** Calls of one certificate that have not ended, those whose answers nobody reads included. */
  readonly openMax: number;
  /** Calls that one certificate may begin: so many at once, and so many a second for ever. */
  readonly burst: number;
  readonly perSecond: number;
}

export const callLimits: CallLimits = { openMax: 500, burst: 1_000, perSecond: 500 };

/** What one certificate has. */
interface Account {
  open: number;
  /** Calls that it may begin now; grows with time up to `burst`. */
  allowance: number;
  atMs: number;
}

/** Certificates remembered; those that have nothing open are forgotten first. */
const accountsMax = 10_000;

export class CallAccounts {
  readonly #limits: CallLimits;
  readonly #accounts = new Map<string, Account>();

  constructor(limits: CallLimits = callLimits) {
    this.#limits = limits;
  }

  /** Counts a call until `end` is called. Throws AgentError too-many-calls. */
  begin(certificate: string, nowMs: number): { end: () => void } {
    const { openMax, burst, perSecond } = this.#limits;
    const account = this.#accounts.get(certificate) ?? { open: 0, allowance: burst, atMs: nowMs };
    this.#accounts.set(certificate, account);
    account.allowance = Math.min(burst, account.allowance + ((nowMs - account.atMs) / 1_000) * perSecond);
    account.atMs = nowMs;
    if (account.open >= openMax)
      throw tooMany(`${openMax} calls of this certificate have not ended: end some, or read their answers`);
    if (account.allowance < 1)
      throw tooMany(`this certificate begins more than ${perSecond} calls a second: call again in a second`);
    account.allowance -= 1;
    account.open += 1;
    this.#forgetSome();
    return { end: () => void (account.open -= 1) };
  }

  #forgetSome(): void {
    if (this.#accounts.size <= accountsMax) return;
    for (const [certificate, { open }] of this.#accounts) if (open === 0) this.#accounts.delete(certificate);
  }
}

const tooMany = (message: string): AgentError => new AgentError('too-many-calls', message);

export interface CallLimitOptions {
  readonly side: Side;
  readonly accounts: CallAccounts;
  /** Which certificate the other end of a connection has shown; by gRPC's name of it. */
  readonly certificateOf: (peer: string) => string;
  /** While it is closed, calls wait that the switchover does not need. */
  readonly gate: BlackoutGate;
}

/** Calls by which a switchover is decided, or given up. */
const neededInBlackout: ReadonlySet<string> = new Set([
  'Finish',
  'StandBy',
  'Confirm',
  'Ask',
  'CheckReady',
  'AbortMigration',
  'ResolveMigration',
]);

/** The interceptor that refuses calls beyond the limits. */
export function limitCalls({ side, accounts, certificateOf, gate }: CallLimitOptions): ServerInterceptor {
  return ({ path }, call) => {
    const isNeeded = neededInBlackout.has(path.slice(path.lastIndexOf('/') + 1));
    let counted: { end: () => void } | undefined;
    let leave = (): void => undefined;
    const admit = (metadata: Metadata, next: (metadata: Metadata) => void): void => {
      if (isNeeded) count(metadata, next);
      // One that is given up while it waits has cost nothing.
      else leave = gate.whenOpen(() => count(metadata, next));
    };
    const count = (metadata: Metadata, next: (metadata: Metadata) => void): void => {
      try {
        counted = accounts.begin(certificateOf(call.getPeer()), performance.now());
      } catch (error) {
        call.sendStatus(toStatus(error, { side }));
        return;
      }
      next(metadata);
    };
    // gRPC says so of every call, when its last byte has been sent or its stream is closed.
    const ended = (): void => {
      leave();
      counted?.end();
      counted = undefined;
    };
    const listener = new ServerListenerBuilder().withOnReceiveMetadata(admit).withOnCancel(ended).build();
    return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
  };
}
