/**
 * Virtual time: everything that happens is an event on one timeline, and what an event sets off is done before the next one. Whose event
 * it is, is known: a life that has ended gets none any more, one that was stopped gets them when it goes on.
 */
export interface TimedEvent {
  readonly at: number;
  readonly order: number;
  readonly life: Life | undefined;
  /** Undefined once it is called off. */
  run: (() => void) | undefined;
}

/** One life of a process: an agent between its start and its crash, or a caller. */
export class Life {
  readonly name: string;
  state: 'runs' | 'stopped' | 'dead' = 'runs';
  /** Events that came while it was stopped. */
  backlog: TimedEvent[] = [];
  /** What the world does when it ends: its connections break. */
  readonly atDeath: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get dead(): boolean {
    return this.state === 'dead';
  }
}

/** 2027-01-15: no test may depend on the day. */
const epochMs = 1_800_000_000_000;

export class Timeline {
  /** Milliseconds since the schedule began. */
  now = 0;
  /** Whose code runs now. */
  current: Life | undefined;
  #order = 0;
  readonly #heap: TimedEvent[] = [];

  get wallMs(): number {
    return epochMs + this.now;
  }

  /** An event of that life in so many milliseconds; of the world itself if there is no life. */
  after(life: Life | undefined, ms: number, run: () => void): TimedEvent {
    const at = this.now + (ms > 0 ? ms : 0);
    const event: TimedEvent = { at, order: this.#order++, life, run };
    this.#push(event);
    return event;
  }

  kill(life: Life): void {
    if (life.dead) return;
    life.state = 'dead';
    life.backlog = [];
    for (const end of life.atDeath) end();
  }

  stop(life: Life): void {
    if (life.state === 'runs') life.state = 'stopped';
  }

  /** Goes on with what came meanwhile, in its order. */
  goOn(life: Life): void {
    if (life.state !== 'stopped') return;
    life.state = 'runs';
    const { backlog } = life;
    life.backlog = [];
    for (const event of backlog) if (event.run !== undefined) this.after(life, 0, event.run);
  }

  /** Runs the next event; false if there is none. */
  step(): boolean {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      const { life, run } = event;
      if (run === undefined || life?.state === 'dead') continue;
      this.now = event.at;
      if (life?.state === 'stopped') {
        life.backlog.push(event);
        continue;
      }
      this.current = life;
      event.run = undefined;
      run();
      return true;
    }
  }

  #push(event: TimedEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): TimedEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      let below = heap[child];
      if (below === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isBefore(right, below)) {
        child += 1;
        below = right;
      }
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

const isBefore = (a: TimedEvent, b: TimedEvent): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
