/** The caller of a migration, as a controller would be: drives the phases itself, or asks the source agent to. It can be killed. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { dial, follow, invoke } from '@ferry/agent';
import { type DestCalls, driveMigration, type SourceCalls } from '@ferry/migration';
import { DestAgentClient, DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { type Ended, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentClient, SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import type { HostName, Stage, StageGuest } from './stage.ts';

/** `direct`: driven by the caller. `peer`: peer to peer. The cancelled one is given up by its caller when all is sent. */
export const modes = ['direct', 'peer', 'cancelled'] as const;
export type Mode = (typeof modes)[number];

/** How long a call may take before the caller gives it up, ms. */
const callMs = 6_000;
const wire = { 2: Protocol.PROTOCOL_V2, 3: Protocol.PROTOCOL_V3 } as const;

export interface Journey {
  readonly protocol: 2 | 3;
  readonly mode: Mode;
  readonly guest: StageGuest;
  readonly from: HostName;
  readonly to: HostName;
  /** Empty: the destination chooses. */
  readonly migrationUri: string;
}

/** One caller with one migration. */
export class Caller implements AsyncDisposable {
  readonly migrationId = randomUUID();
  readonly #journey: Journey;
  readonly #source: SourceAgentClient;
  readonly #dest: DestAgentClient;
  /** The source agent of the host that the guest goes to. */
  readonly #back: SourceAgentClient;
  readonly #destination: string;
  readonly #dead = new AbortController();
  #last: (() => Promise<unknown>) | undefined;

  constructor(stage: Stage, journey: Journey) {
    this.#journey = journey;
    const { from, to } = journey;
    // Through the proxies, like the agents' own connections: what is cut is cut for all.
    this.#destination = stage.links.agent[`${to}-dest`].address;
    this.#source = dial(stage.links.agent[`${from}-source`].address, stage.credentials, SourceAgentClient);
    this.#back = dial(stage.links.agent[`${to}-source`].address, stage.credentials, SourceAgentClient);
    this.#dest = dial(this.#destination, stage.credentials, DestAgentClient);
  }

  /** Runs the migration; gives what the caller was told of its end. Never rejects. */
  async run(): Promise<string> {
    try {
      return this.#journey.mode === 'peer' ? await this.#peer() : await this.#direct();
    } catch (error) {
      return this.#dead.signal.aborted ? 'killed' : `failed: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  /** Like the end of its process: no call is made any more, and those under way break off. */
  kill(): void {
    this.#dead.abort(new Error('the caller was killed'));
    this.#source.close();
    this.#dest.close();
    this.#back.close();
  }

  /** Makes the last call once more, whether it has been answered or not, as a caller does that has lost its connection. */
  repeat(): void {
    const again = this.#journey.mode === 'peer' ? this.#peer() : this.#last?.();
    again?.catch(() => undefined);
  }

  /** As a second caller would that believes the first one dead; again until it is answered. */
  async confirmCancelled(signal: AbortSignal): Promise<void> {
    const { guest, protocol } = this.#journey;
    const names = { migrationId: this.migrationId, domain: guest.uuid, protocol: wire[protocol] };
    const request = { ...names, cookieIn: Buffer.alloc(0), cancelled: true };
    while (!signal.aborted) {
      const answer = invoke(this.#source, SourceAgentService.confirm, request, signal);
      if (
        await answer.then(
          () => true,
          () => false,
        )
      )
        return;
      await delay(10);
    }
  }

  /** As a caller would that uses the id of this migration for one back. */
  beginBack(): void {
    const names = { migrationId: this.migrationId, domain: this.#journey.guest.uuid };
    const request = { ...names, options: undefined, domainXml: undefined };
    invoke(this.#back, SourceAgentService.begin, request, this.#dead.signal).catch(() => undefined);
  }

  /** As a caller would that does not wait for Perform's answer. */
  finishEarly(): void {
    const { guest, protocol } = this.#journey;
    const names = { migrationId: this.migrationId, domain: guest.uuid, protocol: wire[protocol] };
    const request = { ...names, cookieIn: Buffer.alloc(0), cancelled: false };
    invoke(this.#dest, DestAgentService.finish, request, this.#dead.signal).catch(() => undefined);
  }

  async #peer(): Promise<string> {
    const { guest, protocol, migrationUri } = this.#journey;
    const request = {
      migrationId: this.migrationId,
      domain: guest.uuid,
      destination: this.#destination,
      protocol: wire[protocol],
      migrationUri,
      options: undefined,
    };
    let end: Ended | undefined;
    const signal = AbortSignal.any([this.#dead.signal, AbortSignal.timeout(20_000)]);
    for await (const { event } of follow(this.#source, SourceAgentService.migrate, request, signal)) {
      if (event?.event?.$case === 'ended') end = event.event.value;
    }
    return end === undefined ? 'no end' : wordOf(end.outcome);
  }

  async #direct(): Promise<string> {
    const { guest, protocol, mode, migrationUri } = this.#journey;
    const names = { migrationId: this.migrationId, domain: guest.uuid };
    const drive = { ...names, protocol, migrationUri, options: undefined };
    const { source, dest } = this.#calls(mode === 'cancelled');
    const finished = await driveMigration(source, dest, drive, this.#dead.signal);
    return finished === undefined ? 'completed after all' : 'completed';
  }

  /** A caller that gives up calls Finish no more once all is sent: the driver then does what it does after any failure. */
  #calls(giveUp: boolean): { source: SourceCalls; dest: DestCalls } {
    const [source, dest] = [this.#source, this.#dest];
    const limit = (signal: AbortSignal) => AbortSignal.any([signal, this.#dead.signal, AbortSignal.timeout(callMs)]);
    const heard = <T>(call: () => Promise<T>): Promise<T> => {
      this.#dead.signal.throwIfAborted();
      this.#last = call;
      return call();
    };
    return {
      source: {
        begin: async (r, s) => heard(() => invoke(source, SourceAgentService.begin, r, limit(s))),
        dumpXml: async (r, s) => heard(() => invoke(source, SourceAgentService.dumpXml, r, limit(s))),
        perform: async (r, s) => heard(() => invoke(source, SourceAgentService.perform, r, limit(s))),
        confirm: async (r, s) => heard(() => invoke(source, SourceAgentService.confirm, r, limit(s))),
        outcome: async (r, s) => heard(() => this.#outcome(r, giveUp, limit(s))),
      },
      dest: {
        prepare: async (r, s) => heard(() => invoke(dest, DestAgentService.prepare, r, limit(s))),
        finish: (r, s) =>
          giveUp && !r.cancelled
            ? Promise.reject(new Error('the caller gives up'))
            : heard(() => invoke(dest, DestAgentService.finish, r, limit(s))),
      },
    };
  }

  /** v2 has no Confirm: the caller watches the migration until it has ended, or asks for it to be given up. */
  async #outcome(
    names: { migrationId: string; domain: string },
    giveUp: boolean,
    signal: AbortSignal,
  ): Promise<Outcome> {
    if (giveUp) await invoke(this.#source, SourceAgentService.abortMigration, names, signal);
    for await (const { event } of follow(this.#source, SourceAgentService.watchMigration, names, signal)) {
      if (event?.event?.$case === 'ended') return event.event.value.outcome;
    }
    return Outcome.OUTCOME_UNSPECIFIED;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
  }
}

const wordOf = (outcome: Outcome): string =>
  outcome === Outcome.OUTCOME_COMPLETED ? 'completed' : outcome === Outcome.OUTCOME_CANCELLED ? 'cancelled' : 'failed';
