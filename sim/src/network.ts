/** Calls between processes on different hosts, as gRPC has them: answered, refused, lost on the way there or back, or cut off. */
import { AgentError } from '@ferry/agent';
import { FailureError, failureOf } from '@ferry/rpc';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { HostName } from './host.ts';
import type { Life } from './timeline.ts';
import type { World } from './world.ts';

export type Handler = (request: unknown, signal: AbortSignal) => Promise<unknown>;

/** A process that answers calls. */
export interface Server {
  readonly life: Life;
  readonly side: 'source' | 'dest';
  readonly host: HostName;
  readonly handlers: Readonly<Record<string, Handler>>;
}

/** How long until a connection that leads nowhere is given up (keepalive), ms. */
const deadMs = { least: 50, most: 15_000 };
const wayMs = { least: 0.1, most: 2 };

function unavailable(why: string): ServiceError {
  const details = `14 UNAVAILABLE: ${why}`;
  return Object.assign(new Error(details), { code: status.UNAVAILABLE, details: why, metadata: new Metadata() });
}

export class Network {
  readonly #world: World;
  /** Who answers at HOST:PORT. */
  readonly #servers = new Map<string, Server>();
  /** Pairs of hosts, in alphabetical order, between which nothing goes. */
  readonly #cuts = new Set<string>();
  #requestsToLose = 0;
  #repliesToLose = 0;
  #requestsToRepeat = 0;

  constructor(world: World) {
    this.#world = world;
  }

  serve(address: string, server: Server): void {
    this.#servers.set(address, server);
    server.life.atDeath.push(() => {
      if (this.#servers.get(address) === server) this.#servers.delete(address);
    });
  }

  leave(address: string): void {
    this.#servers.delete(address);
  }

  cut(a: string, b: string): void {
    this.#cuts.add([a, b].toSorted().join());
  }

  lose(what: 'request' | 'reply' | 'repeat'): void {
    if (what === 'request') this.#requestsToLose += 1;
    else if (what === 'reply') this.#repliesToLose += 1;
    else this.#requestsToRepeat += 1;
  }

  heal(): void {
    this.#cuts.clear();
    this.#requestsToLose = 0;
    this.#repliesToLose = 0;
    this.#requestsToRepeat = 0;
  }

  isCut(a: string, b: string): boolean {
    return this.#cuts.has([a, b].toSorted().join());
  }

  /** Throws as `invoke` does: gRPC's own error, the other agent's failure, or the signal's reason. */
  call(
    from: { readonly life: Life; readonly host: string },
    address: string,
    method: string,
    request: unknown,
    signal: AbortSignal,
  ): Promise<unknown> {
    const { timeline, random } = this.#world;
    const { life } = from;
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const label = `${life.name} calls ${address} ${method}`;
    return new Promise((resolve, reject) => {
      let over = false;
      const hungUp = new AbortController();
      let server: Server | undefined;
      const end = (ms: number, run: () => void): void => {
        timeline.after(life, ms, () => {
          if (over) return;
          over = true;
          signal.removeEventListener('abort', hangUp);
          run();
        });
      };
      const broken = (why: string, ms: number): void => end(ms, () => reject(unavailable(why)));
      const hangUp = (): void => {
        if (server !== undefined) {
          timeline.after(server.life, random.scale(wayMs.least, wayMs.most), () =>
            hungUp.abort(new AgentError('cancelled', 'the caller hung up')),
          );
        }
        end(0, () => reject(signal.reason as Error));
      };
      signal.addEventListener('abort', hangUp, { once: true });
      const callerGone = (): void => {
        if (server === undefined || over) return;
        timeline.after(server.life, random.scale(wayMs.least, 20), () =>
          hungUp.abort(new AgentError('cancelled', 'the caller is gone')),
        );
      };
      life.atDeath.push(callerGone);
      this.#world.boundary(label, 'before');
      if (life.dead) return;
      const nowhere = (): number => random.scale(deadMs.least, deadMs.most);
      const [host = ''] = address.split(':');
      if (this.#requestsToLose > 0) {
        this.#requestsToLose -= 1;
        broken('the connection broke', random.scale(1, 1000));
        return;
      }
      if (this.isCut(from.host, host)) {
        broken('no connection', nowhere());
        return;
      }
      timeline.after(undefined, random.scale(wayMs.least, wayMs.most), () => {
        server = this.#servers.get(address);
        if (server === undefined) {
          broken('connection refused', 0.1);
          return;
        }
        const serving = server;
        // What a process sends as it ends arrives all the same, and then the end of its connection.
        if (life.dead) callerGone();
        serving.life.atDeath.push(() => broken('the connection broke', random.scale(0.1, 5)));
        this.#world.boundary(label, 'after');
        const back = (run: () => void): void => {
          if (serving.life.dead) return;
          this.#world.boundary(`${label} answered`, 'before');
          if (serving.life.dead) return;
          if (this.#repliesToLose > 0) {
            this.#repliesToLose -= 1;
            broken('the connection broke', random.scale(1, 1000));
          } else if (this.isCut(from.host, serving.host)) broken('keepalive: no answer', nowhere());
          else end(random.scale(wayMs.least, wayMs.most), run);
        };
        this.#answer(serving, method, request, hungUp.signal, back, resolve, reject);
        if (this.#requestsToRepeat > 0) {
          this.#requestsToRepeat -= 1;
          this.#answer(serving, method, request, hungUp.signal, () => undefined, resolve, reject);
        }
      });
    });
  }

  #answer(
    server: Server,
    method: string,
    request: unknown,
    hungUp: AbortSignal,
    back: (run: () => void) => void,
    resolve: (response: unknown) => void,
    reject: (error: Error) => void,
  ): void {
    const world = this.#world;
    const { life, side, handlers } = server;
    world.timeline.after(life, 0, () => {
      const handler = handlers[method];
      if (handler === undefined) throw new Error(`there is no method ${method}`);
      world.trace?.(`${life.name} is asked ${method}`);
      handler(request, hungUp).then(
        (response) => {
          world.trace?.(`${life.name} answers ${method}`);
          world.rules.answered(server, method, request, response);
          back(() => resolve(response));
        },
        (error: unknown) => {
          const failure = failureOf(error, { side });
          world.trace?.(`${life.name} refuses ${method}: ${failure.reason} (${failure.message})`);
          if (failure.reason === 'internal' && !life.dead) world.rules.internal(life, method, error);
          back(() => reject(new FailureError(failure)));
        },
      );
    });
  }
}
