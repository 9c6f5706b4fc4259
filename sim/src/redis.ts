/** The Redis that the hosts see: its lives one after the other, and who reaches which. */
import type { RedisWay } from './redis-client.ts';
import { RedisServer } from './redis-server.ts';
import type { Random } from './random.ts';

export class SimRedis {
  readonly #random: Random;
  readonly #nowMs: () => number;
  /** The newest life; undefined while it is down. */
  #master: RedisServer | undefined;
  readonly #lives: RedisServer[] = [];
  #down: RedisServer | undefined;
  /** Hosts that still talk to a master that was cut off. */
  readonly #cutOff = new Map<string, RedisServer>();
  readonly #ended = new Set<RedisServer>();
  readonly #ways = new Map<string, RedisWay>();
  readonly #repliesLost = new Map<string, number>();
  readonly #refusals = new Map<string, string>();
  /** Writes have been lost, or a master that was cut off takes writes. */
  hasLost = false;
  /** Called when a host's connections have broken and are made anew. */
  readonly #reconnected = new Map<string, Set<() => void>>();

  constructor(random: Random, nowMs: () => number) {
    this.#random = random;
    this.#nowMs = nowMs;
    this.#live(new RedisServer(random.hex(20), random.hex(20), nowMs));
  }

  #live(server: RedisServer): void {
    this.#master = server;
    this.#lives.push(server);
    for (const host of this.#reconnected.keys()) if (!this.#cutOff.has(host)) this.#reconnect(host);
  }

  #reconnect(host: string): void {
    for (const tell of this.#reconnected.get(host) ?? []) tell();
  }

  /** `tell` is called whenever that host connects anew, until disposed. */
  onConnection(host: string, tell: () => void): Disposable {
    const listeners = this.#reconnected.get(host) ?? new Set();
    this.#reconnected.set(host, listeners.add(tell));
    return { [Symbol.dispose]: () => listeners.delete(tell) };
  }

  /** All lives so far, the oldest first. */
  get lives(): readonly RedisServer[] {
    return this.#lives;
  }

  get newest(): RedisServer {
    const newest = this.#lives.at(-1);
    if (newest === undefined) throw new Error('there is always one');
    return newest;
  }

  wayOf(host: string): RedisWay {
    return this.#ways.get(host) ?? 'open';
  }

  serverOf(host: string): RedisServer | undefined {
    return this.#cutOff.get(host) ?? this.#master;
  }

  hasEnded(server: RedisServer): boolean {
    return this.#ended.has(server);
  }

  setWay(host: string, way: RedisWay): void {
    const before = this.wayOf(host);
    this.#ways.set(host, way);
    if (way === 'open' && before !== 'open') this.#reconnect(host);
  }

  /** The next so many answers to a host get lost. */
  loseReplies(host: string, count: number): void {
    this.#repliesLost.set(host, count);
  }

  loseReply(host: string): boolean {
    const left = this.#repliesLost.get(host) ?? 0;
    if (left > 0) this.#repliesLost.set(host, left - 1);
    return left > 0;
  }

  /** It answers a host with this error and carries nothing out; undefined: no longer. */
  refuse(host: string, error: string | undefined): void {
    if (error === undefined) this.#refusals.delete(host);
    else this.#refusals.set(host, error);
  }

  refusalFor(host: string): string | undefined {
    return this.#refusals.get(host);
  }

  /** The keys that have this in their names are gone. */
  evict(part: string): void {
    this.hasLost ||= part === ':owner';
    this.#master?.evict(part);
  }

  /** It ends, and is away until it starts again. */
  crash(): void {
    if (this.#master === undefined) return;
    this.#down = this.#master;
    this.#ended.add(this.#master);
    this.#master = undefined;
  }

  /**
   * A replica takes over that lacks the latest so many writes; the old master becomes its replica, and is soon promoted again: the same process with
   * another's data.
   */
  failBack(lost: number, laterMs: (run: () => void) => void): void {
    const old = this.#master;
    if (old === undefined) return;
    this.failOver(lost, []);
    laterMs(() => {
      const interim = this.#master;
      if (interim === undefined || interim === old) return;
      this.#ended.add(interim);
      this.#live(interim.successor(this.#random, 0, old.runId));
    });
  }

  /** It comes back as another life, without its latest so many writes. */
  start(lost: number): void {
    if (this.#master !== undefined || this.#down === undefined) return;
    this.hasLost ||= lost > 0;
    this.#live(this.#down.successor(this.#random, lost));
    this.#down = undefined;
  }

  /** A replica takes over that lacks the latest so many writes; the old master goes on answering those hosts until it is noticed. */
  failOver(lost: number, cutOff: readonly string[]): void {
    const old = this.#master;
    if (old === undefined) return;
    this.hasLost ||= lost > 0 || cutOff.length > 0;
    for (const host of cutOff) this.#cutOff.set(host, old);
    this.#live(old.successor(this.#random, lost));
    if (cutOff.length === 0) this.#ended.add(old);
  }

  /** Forgets everything, also who it is: what an operator's FLUSHALL and a restart without persistence do. */
  forget(restart: boolean): void {
    if (this.#master === undefined) return;
    this.hasLost = true;
    if (restart) {
      this.#ended.add(this.#master);
      this.#live(new RedisServer(this.#random.hex(20), this.#random.hex(20), this.#nowMs));
    } else this.#master.flush();
  }

  /** Everybody reaches the newest master again. */
  heal(): void {
    this.start(0);
    const hosts = new Set([
      ...this.#cutOff.keys(),
      ...[...this.#ways].filter(([, way]) => way !== 'open').map(([host]) => host),
    ]);
    for (const old of this.#cutOff.values()) this.#ended.add(old);
    this.#cutOff.clear();
    this.#ways.clear();
    for (const host of hosts) this.#reconnect(host);
    this.#repliesLost.clear();
    this.#refusals.clear();
  }
}
