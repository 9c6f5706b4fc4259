/** What takes part: a way to have a guest run and to move it. */
import type { Lab } from '@ferry/lab';
import type { BenchGuest } from './guests.ts';

/** One migration in figures. */
export interface Figures {
  /** From the caller's wish until nothing is left to do: the guest runs there, and here its QEMU is gone. */
  readonly wholeMs: number;
  /** QEMU's own total-time. */
  readonly qemuTotalMs: number;
  /** The source's STOP to the destination's RESUME, by the QMP events' timestamps. */
  readonly blackoutMs: number;
  /** The source's STOP until QEMU has left pre-switchover (its event `device`). */
  readonly controlSourceMs: number;
  /** The destination has loaded the guest (its event `completed`) until its RESUME. */
  readonly controlDestMs: number;
}

/** A guest that runs on host a. Disposed of, it is gone, wherever it is. */
export interface RunningGuest extends AsyncDisposable {
  /** Moves it to host b. */
  migrate(): Promise<Figures>;
}

export interface Contender {
  readonly name: string;
  /** The processes besides QEMU that work for it, whose cost is its cost. */
  agents(lab: Lab): readonly number[];
  run(guest: BenchGuest, signal: AbortSignal): Promise<RunningGuest>;
}
