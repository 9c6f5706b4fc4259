/** Those who want a guest migrated, of all manners: they leave, repeat themselves, and call out of turn. */
import { driveMigration, type DestCalls, type SourceCalls } from '@ferry/migration';
import type { FinishResponse, PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { type GetMigrationResponse, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import type {
  BeginResponse,
  ConfirmResponse,
  DumpXmlResponse,
  PerformResponse,
} from '@ferry/proto/ferry/v1/source_agent';
import { addressOf } from './agents.ts';
import type { HostName } from './host.ts';
import type { CallerPlan, Leg } from './plan.ts';
import { Life } from './timeline.ts';
import { guestUuid, type World } from './world.ts';

const host = 'client';
const domain = guestUuid;

interface Made {
  readonly address: string;
  readonly method: string;
  readonly request: object;
}

/** What a caller wants. */
type Wish = Pick<Leg, 'caller' | 'to'> & { readonly from: HostName; readonly migrationId: string };

export class Caller {
  readonly #world: World;
  readonly #life = new Life('caller');
  readonly #plan: CallerPlan;
  readonly #hosts: Readonly<Record<'source' | 'dest', HostName>>;
  readonly #migrationId: string;
  readonly #hangUp = new AbortController();
  /** Calls it has made, and cookies it was given: to be made again at the wrong time. */
  readonly #made: Made[] = [];
  readonly #cookies: Buffer[] = [Buffer.alloc(0)];
  readonly #done: () => void;
  #over = false;

  /** `done` is called once, when it wants nothing any more. */
  constructor(world: World, { caller, from, to, migrationId }: Wish, done: () => void) {
    this.#world = world;
    this.#done = done;
    this.#plan = caller;
    this.#hosts = { source: from, dest: to };
    this.#migrationId = migrationId;
    const { drives, vanishesAtMs, misdeedsAtMs } = caller;
    const { timeline } = world;
    timeline.after(this.#life, 0, () => {
      const wish = drives === 'agent' ? this.#letDrive() : this.#drive();
      wish
        .then(
          () => world.trace?.('caller: migrated'),
          (error: unknown) => world.trace?.(`caller: ${String(error)}`),
        )
        .finally(() => {
          this.#over = true;
          if (!this.#life.dead) this.#done();
        });
    });
    for (const ms of misdeedsAtMs) timeline.after(this.#life, ms, () => this.#misbehave());
    if (vanishesAtMs !== undefined) {
      timeline.after(undefined, vanishesAtMs, () => {
        if (this.#life.dead) return;
        world.trace?.('the caller vanishes');
        timeline.kill(this.#life);
        if (!this.#over) this.#done();
      });
    }
  }

  get #protocol(): Protocol {
    return this.#plan.protocol === 2 ? Protocol.PROTOCOL_V2 : Protocol.PROTOCOL_V3;
  }

  #addressOf(side: 'source' | 'dest'): string {
    return addressOf(this.#hosts[side], side);
  }

  /** An agent that is about to start is waited for. */
  async #call<T>(side: 'source' | 'dest', method: string, request: object, signal: AbortSignal): Promise<T> {
    const address = this.#addressOf(side);
    const from = { life: this.#life, host };
    this.#made.push({ address, method, request });
    const { finishesEarly } = this.#plan;
    if (finishesEarly && (method === 'perform' || method === 'migrate')) this.#finishEarly();
    let tries = this.#plan.repeats ? 3 : 1;
    for (;;) {
      try {
        const answer = await this.#world.network.call(from, address, method, request, signal);
        if (typeof answer === 'object' && answer !== null && 'cookieOut' in answer && Buffer.isBuffer(answer.cookieOut))
          this.#cookies.push(answer.cookieOut);
        return answer as T;
      } catch (error) {
        tries -= 1;
        const isTransport = typeof error === 'object' && error !== null && 'metadata' in error;
        if (tries === 0 || !isTransport || signal.aborted) throw error;
        await this.#world.pause(this.#life, this.#world.random.scale(1, 500));
      }
    }
  }

  async #untilServing(): Promise<void> {
    const source = this.#world.agent('source', this.#hosts.source);
    const dest = this.#world.agent('dest', this.#hosts.dest);
    while (!source.serving || !dest.serving) {
      if (source.host.gone || dest.host.gone) throw new Error('a host is gone');
      await this.#world.pause(this.#life, 5);
    }
  }

  async #letDrive(): Promise<void> {
    await this.#untilServing();
    const request = {
      migrationId: this.#migrationId,
      domain,
      destination: this.#addressOf('dest'),
      protocol: this.#protocol,
      migrationUri: '',
      options: undefined,
    };
    await this.#call('source', 'migrate', request, this.#hangUp.signal);
  }

  async #drive(): Promise<void> {
    await this.#untilServing();
    const source: SourceCalls = {
      begin: (request, signal) => this.#call<BeginResponse>('source', 'begin', request, signal),
      dumpXml: (request, signal) => this.#call<DumpXmlResponse>('source', 'dumpXml', request, signal),
      perform: (request, signal) => this.#call<PerformResponse>('source', 'perform', request, signal),
      confirm: (request, signal) => this.#call<ConfirmResponse>('source', 'confirm', request, signal),
      outcome: (request, signal) => this.#outcome(request, signal),
    };
    const dest: DestCalls = {
      prepare: (request, signal) => this.#call<PrepareResponse>('dest', 'prepare', request, signal),
      finish: (request, signal) => this.#call<FinishResponse>('dest', 'finish', request, signal),
    };
    const { protocol } = this.#plan;
    const drive = { migrationId: this.#migrationId, domain, protocol, migrationUri: '', options: undefined };
    await driveMigration(source, dest, drive, this.#hangUp.signal);
  }

  async #outcome(request: object, signal: AbortSignal): Promise<Outcome> {
    for (;;) {
      const { migration } = await this.#call<GetMigrationResponse>('source', 'getMigration', request, signal);
      if (migration?.active === false) return migration.outcome;
      await this.#world.pause(this.#life, 100);
      signal.throwIfAborted();
    }
  }

  #finishEarly(): void {
    const { timeline, random, plan } = this.#world;
    timeline.after(this.#life, random.scale(1, plan.memoryMsMax), () => {
      const protocol = this.#protocol;
      const cookieIn = this.#cookies.at(-1) ?? Buffer.alloc(0);
      const request = { migrationId: this.#migrationId, domain, protocol, cookieIn, cancelled: false };
      this.#world.network
        .call({ life: this.#life, host }, this.#addressOf('dest'), 'finish', request, AbortSignal.timeout(20_000))
        .catch(() => undefined);
    });
  }

  /** One call that is out of turn, with what it has at hand. */
  #misbehave(): void {
    const { random } = this.#world;
    const names = { migrationId: this.#migrationId, domain };
    const cookieIn = this.#cookies[random.below(this.#cookies.length)] ?? Buffer.alloc(0);
    const protocol = this.#protocol;
    const source = this.#addressOf('source');
    const dest = this.#addressOf('dest');
    const again = this.#made[random.below(Math.max(1, this.#made.length))];
    const misdeeds: [Made, ...Made[]] = [
      { address: dest, method: 'finish', request: { ...names, protocol, cookieIn, cancelled: false } },
      { address: dest, method: 'finish', request: { ...names, protocol, cookieIn, cancelled: true } },
      { address: source, method: 'confirm', request: { ...names, cookieIn, cancelled: true } },
      { address: source, method: 'confirm', request: { ...names, cookieIn, cancelled: false } },
      { address: source, method: 'abortMigration', request: names },
      { address: dest, method: 'abortMigration', request: names },
      ...(again === undefined ? [] : [again, again, again]),
    ];
    const { address, method, request } = random.pick(misdeeds);
    this.#world.trace?.(`misdeed: ${method} at ${address}`);
    this.#world.network
      .call({ life: this.#life, host }, address, method, request, AbortSignal.timeout(20_000))
      .catch(() => undefined);
  }
}
