/** Why the guest may be nowhere, or its last copy be ended, without a mistake of the agents: all of one guest, from its start to the next one. */
import type { Qemu } from './qemu.ts';

export class Losses {
  /** QEMUs that a fault ended while they held the whole guest. */
  readonly killed: Qemu[] = [];
  /** Incoming ones among them that were not committed yet: their agents notice in time to leave the guest to its source. */
  readonly killedUncommitted = new Set<Qemu>();
  /** A fault ended the QEMU in which the guest ran. */
  runningKilled = false;
  /** A fault has ended a copy that was the guest. */
  guestKilled = false;
  /** The guest has shut down in these. */
  readonly poweredOff = new Set<Qemu>();
  /** An agent has carried out Destroy on these. */
  readonly destroyed = new Set<Qemu>();
  /** Copies that a person has had ended, since no agent knew whether they were older than their disks. */
  readonly endedByWord = new Set<Qemu>();

  /** It was to end: its user or an operator had it so. */
  get isWanted(): boolean {
    const isGone = ({ whole, alive }: Qemu): boolean => whole && !alive;
    return this.poweredOff.size > 0 || [...this.destroyed, ...this.endedByWord].some(isGone);
  }
}
