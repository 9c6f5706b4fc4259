/**
 * One guest on its way from a QEMU to another, and what both do by themselves: the source lets the guest run on after any failure before its
 * `completed`, also when the destination has loaded everything; a destination whose stream breaks before that ends (up to QEMU 9.0).
 */
import type { Qemu } from './qemu.ts';
import type { World } from './world.ts';

export class Transfer {
  readonly #world: World;
  readonly source: Qemu;
  dest: Qemu | undefined;
  readonly #wasRunning: boolean;
  /** Nothing happens any more: completed, failed or cancelled. */
  #over = false;
  #goneOn = false;
  #cancelled = false;
  /** The source has said `completed`: its guest is stopped for good. */
  completed = false;
  /** The guest has gone on at the destination, or at the source after it was sent whole, whatever became of it since. */
  readonly wentOn = { dest: false, source: false };

  constructor(world: World, source: Qemu, uri: string) {
    this.#world = world;
    this.source = source;
    this.#wasRunning = source.running;
    source.become('setup');
    this.#later(world.random.scale(0.1, 5), () => this.#connect(uri));
  }

  get underWay(): boolean {
    return !this.#over;
  }

  #later(ms: number, run: () => void): void {
    this.#world.timeline.after(undefined, ms, () => {
      if (!this.#over && !this.#cancelled) run();
    });
  }

  /** As soon as bytes flow; a connection that is cut for long breaks. */
  #whenFlowing(run: () => void): void {
    const { streams, random } = this.#world;
    if (streams.open) {
      run();
      return;
    }
    const brokenAt = this.#world.timeline.now + random.scale(100, 20_000);
    const look = (): void => {
      if (streams.open) run();
      else if (streams.reset || this.#world.timeline.now >= brokenAt) this.#fail();
      else this.#later(20, look);
    };
    this.#later(20, look);
  }

  #connect(uri: string): void {
    this.#whenFlowing(() => {
      const dest = this.#world.listeners.get(uri);
      if (dest === undefined || !dest.alive || dest.arrival !== undefined) {
        this.#fail();
        return;
      }
      this.dest = dest;
      dest.arrival = this;
      dest.generation = this.source.generation;
      this.#world.listeners.delete(uri);
      dest.become('active');
      this.source.become('active');
      this.#later(this.#world.random.scale(1, this.#world.plan.memoryMsMax), () => {
        this.#whenFlowing(() => this.#switchOver());
      });
    });
  }

  #switchOver(): void {
    if (this.#world.plan.loadFailure && this.#world.random.chance(0.5)) {
      this.#loadFails();
      return;
    }
    this.source.halt('finish-migrate');
    if (this.source.has('pause-before-switchover')) this.source.become('pre-switchover');
    else this.goOn();
  }

  #loadFails(): void {
    const dest = this.dest;
    dest?.die('itself');
  }

  /** `migrate-continue`: the devices are sent, and QEMU cannot be held up any more. */
  goOn(): void {
    if (this.#goneOn || this.#over || this.#cancelled) return;
    this.#goneOn = true;
    this.source.become('device');
    this.#later(this.#world.random.scale(0.2, 30), () => {
      this.#whenFlowing(() => {
        if (this.#world.plan.loadFailure) {
          this.#loadFails();
          return;
        }
        this.dest?.loaded();
        if (this.#world.plan.lateFailure) this.#later(this.#world.random.scale(0.01, 50), () => this.#fail());
        else this.#later(this.#world.random.scale(0.05, 2), () => this.#whenFlowing(() => this.#complete()));
      });
    });
  }

  #complete(): void {
    if (!this.source.alive) return;
    this.#over = true;
    this.completed = true;
    this.source.become('completed');
    // The run state says so shortly after the event.
    this.#world.timeline.after(undefined, this.#world.random.scale(0.005, 1), () => {
      if (this.source.alive && this.source.runState === 'finish-migrate') this.source.runState = 'postmigrate';
    });
  }

  /** `failed` is said first, the guest runs on after it. */
  #fail(): void {
    if (this.#over) return;
    this.#over = true;
    this.#breakOff();
    if (!this.source.alive) return;
    this.source.become('failed');
    this.#world.timeline.after(undefined, this.#world.random.scale(0.01, 2), () => this.#runOn());
  }

  /** `cancelled` is said last. One that is late may find the guest sent. */
  cancel(): void {
    if (this.#over || this.#cancelled) return;
    const { random, timeline } = this.#world;
    if (this.#goneOn && this.dest?.whole === true && random.chance(0.5)) return;
    this.#cancelled = true;
    this.source.become('cancelling');
    timeline.after(undefined, random.scale(0.05, 10), () => {
      if (this.#over) return;
      this.#over = true;
      this.#breakOff();
      this.#runOn();
      if (this.source.alive) this.source.become('cancelled');
    });
  }

  #runOn(): void {
    const { alive, runState } = this.source;
    if (!alive || runState !== 'finish-migrate') return;
    if (this.#wasRunning) this.source.run();
    else this.source.runState = 'paused';
  }

  #breakOff(): void {
    const dest = this.dest;
    if (dest === undefined || dest.whole) return;
    this.#world.timeline.after(undefined, this.#world.random.scale(0.05, 5), () => {
      if (!dest.whole) dest.die('itself');
    });
  }

  /** One of the two has ended. */
  broken(qemu: Qemu): void {
    if (this.#over) return;
    if (qemu === this.source) {
      this.#over = true;
      this.#breakOff();
    } else this.#world.timeline.after(undefined, this.#world.random.scale(0.05, 5), () => this.#fail());
  }
}
