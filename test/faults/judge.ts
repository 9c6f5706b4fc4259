/** Whether all is well after a case: what is left over, and what must never have been. */
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import type { Kill } from './faults.ts';
import type { Stage, StageGuest } from './stage.ts';
import { executes } from './watch.ts';

export interface Verdict {
  readonly doubles: readonly string[];
  readonly lost: string | undefined;
  readonly stuck: string | undefined;
  readonly leftovers: readonly string[];
  readonly memory: readonly string[];
}

/**
 * What is missing to: at most one QEMU, which executes; no job, no lease, no directory elsewhere, no journal without an end. The directory
 * of the only copy, whose QEMU the fault killed on that host, stays with its last words, as that of any guest that crashed.
 */
export async function unsettled(
  stage: Stage,
  guest: StageGuest,
  migrationId: string,
  kills: readonly Kill[],
): Promise<string[]> {
  const living = stage.watch.living();
  const left: string[] = [];
  if (living.length > 1) left.push(`${living.length} QEMUs: ${living.map(({ host }) => host).join(', ')}`);
  if (living.length === 1 && !living.some(executes)) left.push(`the QEMU on ${living[0]?.host} does not execute`);
  const directories = stage.directories(guest);
  const foreign = directories.filter(
    (host) =>
      !living.some((qemu) => qemu.host === host) && (living.length > 0 || !kills.some((kill) => kill.host === host)),
  );
  if (foreign.length > 0) left.push(`a directory on ${foreign.join(', ')}`);
  const journals = stage.openJournals(migrationId);
  if (journals.length > 0) left.push(`journals without an end: ${journals.join(', ')}`);
  if (left.length === 0) {
    const leases = await stage.leases(guest).catch(() => ['Redis does not answer']);
    if (leases.length > 0) left.push(`held in Redis: ${leases.join(', ')}`);
  }
  return left;
}

export async function judge(
  stage: Stage,
  guest: StageGuest,
  migrationId: string,
  kills: readonly Kill[],
): Promise<Verdict> {
  const doubles = stage.watch.doubles();
  const living = stage.watch.living();
  const running = living.filter(executes);
  const left = await unsettled(stage, guest, migrationId, kills);
  const record = await stage.record(guest, migrationId);
  const lost =
    living.length === 0 && !kills.some(({ excuses }) => excuses(record))
      ? `no copy is left (the register says ${record['decision'] ?? 'nothing'})`
      : undefined;
  const stuck = living.length > 0 && running.length !== 1 ? left.join('; ') : undefined;
  const leftovers = stuck === undefined ? left : [];
  if (doubles.length + left.length === 0 && lost === undefined && living.length === 1) {
    leftovers.push(...(await disagreements(stage, guest, living[0]?.host)));
  }
  const report = living.length === 1 && stuck === undefined ? await stage.ticksOn(guest, 3) : stage.report(guest);
  const memory = report === undefined ? ['the guest does not tick'] : [...report.problems];
  return { doubles, lost, stuck, leftovers, memory };
}

/** What the agents say, against what is. */
async function disagreements(stage: Stage, guest: StageGuest, host: string | undefined): Promise<string[]> {
  const says = await stage.domains(guest).catch((error: unknown) => String(error));
  if (typeof says === 'string') return [`the agents cannot be asked: ${says}`];
  const right = says.length === 1 && says[0]?.host === host;
  const [one] = says;
  const idle = one?.domain.job === '' && one.domain.state === DomainState.DOMAIN_STATE_RUNNING;
  return right && idle
    ? []
    : [`agents say ${says.map((s) => `${s.host}: state ${s.domain.state}, job “${s.domain.job}”`).join('; ')}`];
}
