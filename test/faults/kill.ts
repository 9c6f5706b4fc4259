/** The end of a QEMU by a fault, and what it explains: that one QEMU was killed is no reason for the loss of another copy. */
import type { Side } from '@ferry/lab';
import { hostOf, type Kill, type Scene } from './fault.ts';
import { executes } from './watch.ts';

/** Kills a side's QEMU, if one lives. */
export async function killQemuOn(scene: Scene, side: Side): Promise<Kill | undefined> {
  const { stage, guest, caller } = scene;
  const host = hostOf(scene, side);
  const living = stage.watch.living();
  const victim = living.find((qemu) => qemu.host === host);
  const other = living.find((qemu) => qemu.host !== host);
  if (victim === undefined) return undefined;
  const { decision } = await stage.record(guest, caller.migrationId);
  const isGuest = executes(victim) || other === undefined;
  if (!(await stage.killQemu(host))) return undefined;
  if (isGuest) return { host, excuses: () => true };
  // A commit that the source has acknowledged is irrevocable: the destination's copy was the guest before it executed.
  if (side === 'dest')
    return { host, excuses: (record) => record['decision'] === 'committed' && record['binding'] === '1' };
  // A source that was stopped is the guest until the destination has all of it, and after an abort.
  const wasGuest = !other.whole || decision === 'aborted';
  return { host, excuses: () => wasGuest };
}
