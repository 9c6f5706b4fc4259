/** What libvirt's `--unsafe` is about (qemuMigrationSrcIsSafe): moves that could be done, and that might harm the guest or its data. */
import type { Domain, XmlProblem } from '@ferry/domain-xml';
import { MigrationError } from '@ferry/migration';
import type { MigrationOptions } from '@ferry/proto/ferry/v1/migration';
import type { Monitor } from '@ferry/qemu-qmp';
import type { SourceAgent } from './agent.ts';

/** Throws MigrationError migration-unsafe that names every hazard with what would make it safe, unless the caller takes the risk. */
export async function refuseUnsafe(
  agent: SourceAgent,
  domain: Domain,
  options: MigrationOptions | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (options?.unsafe === true) return;
  const written = domain.devices.disk.some(({ readonly }) => readonly === undefined);
  const [known, snapshots] = await Promise.all([
    agent.hypervisor.admission.hazards(domain),
    written ? snapshotHazards((await agent.hypervisor.guest(domain.uuid, signal)).monitor, signal) : [],
  ]);
  const hazards = [...known, ...snapshots];
  if (hazards.length === 0) return;
  const lines = hazards.map(({ path, what, hint }) => `${path}: ${what}. ${hint}`);
  const way = `or migrate with \`unsafe\`, if you know better`;
  throw new MigrationError(
    'migration-unsafe',
    `moving domain ${domain.name} is unsafe; change what is named, ${way}:\n${lines.join('\n')}`,
  );
}

/** Snapshots in the images that the guest writes to; QEMU knows of those that `savevm` or qemu-img made. */
async function snapshotHazards(monitor: Monitor, signal: AbortSignal): Promise<XmlProblem[]> {
  const drives = await monitor.execute('query-block', {}, signal);
  return drives.flatMap(({ inserted, device, qdev }) => {
    const snapshots = inserted === undefined || inserted.ro ? [] : (inserted.image.snapshots ?? []);
    if (snapshots.length === 0) return [];
    const names = snapshots.map(({ name }) => name).join(', ');
    const what = `its image ${inserted?.image.filename} holds snapshots: ${names}`;
    const hint = 'Delete them when the guest is off: qemu-img snapshot -d NAME FILE';
    return [{ path: `disk ${qdev ?? device}`, line: 0, what, hint }];
  });
}
