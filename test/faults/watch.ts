/** Watches from outside which QEMU executes the guest: each has a monitor of its own for this, and its events carry QEMU's clock. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRunning, type ProcessId, processOf } from '@ferry/lab';
import { Monitor } from '@ferry/qemu-qmp';

const lookEveryMs = 10;

/** When CPUs ran, µs since 1970; `untilUs` is missing while they do. */
interface Spell {
  readonly fromUs: number;
  untilUs: number | undefined;
}

/** One QEMU, living or dead. */
export interface WatchedQemu {
  readonly process: ProcessId;
  readonly spells: readonly Spell[];
  /** The host's state directory is on its command line. */
  readonly host: string;
  /** QEMU has said `completed`: its state was sent, or received, whole. */
  readonly whole: boolean;
}

interface Seen extends WatchedQemu {
  readonly spells: Spell[];
  whole: boolean;
}

const nowUs = (): number => (performance.timeOrigin + performance.now()) * 1_000;

export const executes = ({ spells }: WatchedQemu): boolean => spells.some(({ untilUs }) => untilUs === undefined);

/** Every QEMU that makes a socket PID.sock in `dir` (see stage.ts). */
export class Watch implements AsyncDisposable {
  readonly #dir: string;
  readonly #seen = new Map<string, Seen>();
  readonly #timer: NodeJS.Timeout;
  readonly #over = new AbortController();

  constructor(dir: string) {
    this.#dir = dir;
    this.#timer = setInterval(() => this.#look(), lookEveryMs);
  }

  /** Those that live. */
  living(): WatchedQemu[] {
    this.#look();
    return [...this.#seen.values()].filter(({ process }) => isRunning(process));
  }

  /** Moments at which two executed the guest, in words. */
  doubles(): string[] {
    const spells = [...this.#seen.values()].flatMap((qemu) => qemu.spells.map((spell) => ({ qemu, ...spell })));
    spells.sort((a, b) => a.fromUs - b.fromUs);
    const found: string[] = [];
    for (const [at, first] of spells.entries()) {
      for (const second of spells.slice(at + 1)) {
        const until = first.untilUs ?? Infinity;
        if (second.qemu === first.qemu || second.fromUs >= until) continue;
        const both = Math.min(until, second.untilUs ?? nowUs()) - second.fromUs;
        const names = `${first.qemu.host} (${first.qemu.process.pid}) and ${second.qemu.host} (${second.qemu.process.pid})`;
        found.push(`${names} both executed for ${(both / 1_000).toFixed(1)} ms`);
      }
    }
    return found;
  }

  /** The longest time in which no QEMU executed the guest, between two in which one did, ms. */
  standstillMs(): number {
    const spells = [...this.#seen.values()].flatMap((qemu) => qemu.spells).toSorted((a, b) => a.fromUs - b.fromUs);
    let longestUs = 0;
    let untilUs = Infinity;
    for (const spell of spells) {
      longestUs = Math.max(longestUs, spell.fromUs - untilUs);
      const end = spell.untilUs ?? Infinity;
      untilUs = untilUs === Infinity ? end : Math.max(untilUs, end);
    }
    return longestUs / 1_000;
  }

  /** What is past counts no more. */
  forget(): void {
    for (const [name, qemu] of this.#seen) {
      qemu.whole = false;
      if (!isRunning(qemu.process)) this.#seen.delete(name);
      else qemu.spells.splice(0, qemu.spells.length, ...qemu.spells.filter(({ untilUs }) => untilUs === undefined));
    }
  }

  #look(): void {
    for (const name of readdirSync(this.#dir)) {
      const process = processOf(Number.parseInt(name, 10));
      const known = this.#seen.get(name);
      if (process === undefined || known?.process.startTime === process.startTime) continue;
      const cmdline = readFileSync(`/proc/${process.pid}/cmdline`, 'latin1');
      const host = /\/([a-z][a-z0-9-]*)\/domains\//.exec(cmdline)?.[1] ?? '?';
      const seen: Seen = { process, host, spells: [], whole: false };
      this.#seen.set(name, seen);
      this.#follow(join(this.#dir, name), seen).catch(() => undefined);
    }
  }

  async #follow(socket: string, seen: Seen): Promise<void> {
    const { spells } = seen;
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(60_000)]);
    const starts = (atUs: number): void => {
      if (spells.at(-1)?.untilUs !== undefined || spells.length === 0)
        spells.push({ fromUs: atUs, untilUs: undefined });
    };
    const stops = (atUs: number): void => {
      const last = spells.at(-1);
      if (last !== undefined) last.untilUs ??= atUs;
    };
    const monitor = await Monitor.connect(socket, signal);
    monitor.on('RESUME', ({ atUs }) => starts(atUs));
    monitor.on('STOP', ({ atUs }) => stops(atUs));
    monitor.on('MIGRATION', ({ data }) => {
      seen.whole ||= data.status === 'completed';
    });
    monitor.closed.addEventListener('abort', () => stops(nowUs()), { once: true });
    this.#over.signal.addEventListener('abort', () => void monitor[Symbol.asyncDispose]().catch(() => undefined));
    if ((await monitor.execute('query-status', {}, signal)).status === 'running') starts(nowUs());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#over.abort();
  }
}
