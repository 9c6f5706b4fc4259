/** One connection to a simulated QEMU's monitor: the client's end is a stream of bytes as `Monitor.open` takes one. */
import { EventEmitter } from 'node:events';
import type { Life } from './timeline.ts';
import type { World } from './world.ts';

/** How long a line is under way, ms. */
const wayMs = { least: 0.01, most: 0.3 };

/** As much of a Duplex as a QMP session uses. */
export class MonitorLine extends EventEmitter {
  closed = false;
  /** Lines of the agent that QEMU has not read yet, whole or begun. */
  readonly #world: World;
  readonly #life: Life;
  readonly #receive: (text: string) => void;
  readonly #gone: () => void;
  #lastThereAt = 0;
  #lastBackAt = 0;

  /** `receive` gets what the agent writes; `gone` is called when the agent's end has closed. */
  constructor(world: World, life: Life, receive: (text: string) => void, gone: () => void) {
    super();
    this.#world = world;
    this.#life = life;
    this.#receive = receive;
    this.#gone = gone;
    life.atDeath.push(() => this.#close());
  }

  write(text: string): boolean {
    if (this.closed || this.#life.dead) return false;
    const { timeline, random } = this.#world;
    const name = /"execute":"([^"]+)"/.exec(text)?.[1] ?? 'end of a command';
    this.#world.boundary(`${this.#life.name} qmp ${name}`, 'before');
    if (this.#life.dead) return false;
    this.#lastThereAt = Math.max(this.#lastThereAt, timeline.now + random.scale(wayMs.least, wayMs.most));
    timeline.after(undefined, this.#lastThereAt - timeline.now, () => {
      this.#receive(text);
      this.#world.boundary(`${this.#life.name} qmp ${name}`, 'after');
    });
    return true;
  }

  /** QEMU says something. */
  say(text: string): void {
    if (this.closed) return;
    this.#back(() => {
      if (!this.closed) this.emit('data', Buffer.from(text));
    });
  }

  /** QEMU has ended: what it said before is still read. */
  end(): void {
    this.#back(() => {
      if (this.closed) return;
      this.closed = true;
      this.emit('end');
      this.emit('close');
    });
  }

  /** The agent closes its end. */
  destroy(): this {
    if (this.closed) return this;
    this.#close();
    this.#world.timeline.after(this.#life, 0, () => this.emit('close'));
    return this;
  }

  #close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#world.timeline.after(undefined, Math.max(0, this.#lastThereAt - this.#world.timeline.now), this.#gone);
  }

  #back(run: () => void): void {
    const { timeline, random } = this.#world;
    this.#lastBackAt = Math.max(this.#lastBackAt, timeline.now + random.scale(wayMs.least, wayMs.most));
    timeline.after(this.#life, this.#lastBackAt - timeline.now, run);
  }
}
