/** What a running QEMU has changed of its guest's document: media and trays are followed, what the document cannot follow keeps the guest here. */
import { deviceIdOf, type Domain, writeDomainForOlderLibvirt } from '@ferry/domain-xml';
import { MigrationError } from '@ferry/migration';
import type { Commands, Monitor } from '@ferry/qemu-qmp';
import type { SourceAgent } from './agent.ts';
import { refusePlugged } from './plugged-devices.ts';

type Drive = Commands['query-block']['returns'][number];
type Disk = Domain['devices']['disk'][number];

/**
 * Throws MigrationError migration-blocked for block jobs that run: QEMU stops the guest, cannot give its images up, and says so only in its log. libvirt
 * refuses them as well (qemuMigrationSrcIsAllowed).
 */
export async function refuseBlockJobs(monitor: Monitor, name: string, signal: AbortSignal): Promise<void> {
  const jobs = await monitor.execute('query-jobs', {}, signal);
  const running = jobs.filter(({ status }) => status !== 'concluded' && status !== 'null');
  if (running.length === 0) return;
  const words = running.map(({ id, type, status }) => `${type} job ${id === '' ? '(without a name)' : id} (${status})`);
  const message = `block jobs run on the images of domain ${name}: ${words.join(', ')}`;
  throw new MigrationError('migration-blocked', `${message}; wait for their end, or cancel them (block-job-cancel)`);
}

/** The guest's document as it runs now. Throws MigrationError migration-blocked for a disk on another image than its document says, and for devices that it does not name. */
export async function asItRuns(
  agent: SourceAgent,
  domainUuid: string,
  signal: AbortSignal,
): Promise<{ domain: Domain; domainXml: string }> {
  const { hypervisor } = agent;
  const [domain, domainXml] = await Promise.all([hypervisor.domainOf(domainUuid), hypervisor.xmlOf(domainUuid)]);
  const guest = await hypervisor.guest(domainUuid, signal);
  await refusePlugged(domain, guest, signal);
  if (domain.devices.disk.length === 0) return { domain, domainXml };
  const drives = await guest.monitor.execute('query-block', {}, signal);
  const disk = domain.devices.disk.map((each) => follow(domain, each, drives));
  if (disk.every((each, i) => each === domain.devices.disk[i])) return { domain, domainXml };
  const devices = { ...domain.devices, disk };
  const now = { ...domain, devices, document: { ...domain.document, devices } };
  return { domain: now, domainXml: writeDomainForOlderLibvirt(now) };
}

function follow(domain: Domain, disk: Disk, drives: readonly Drive[]): Disk {
  const id = disk.alias === undefined ? undefined : deviceIdOf(disk);
  const drive = drives.find(({ qdev }) => id !== undefined && (qdev === id || qdev?.split('/').includes(id) === true));
  if (drive === undefined) return disk;
  const image = drive.inserted?.file;
  const known = pathOf(disk);
  const differs = image !== undefined && known !== image && image.startsWith('/');
  if (!drive.removable) {
    if (differs && known !== undefined) throw otherImage(domain, disk, known, image);
    return disk;
  }
  const isOpen = drive.tray_open === true;
  // What lies beside an open tray, or was taken out, stays behind.
  if ((isOpen || image === undefined) && (disk.source !== undefined || isOpen !== (disk.target.tray === 'open')))
    return emptied(disk, isOpen);
  if (!isOpen && differs) return withMedium(domain, disk, image);
  return disk;
}

function pathOf({ type, source }: Disk): string | undefined {
  if (type === 'file') return source?.file;
  return type === 'block' ? source?.dev : undefined;
}

function emptied(disk: Disk, isOpen: boolean): Disk {
  const { source: _medium, backingStore: _below, ...drive } = disk;
  const { tray: _tray, ...target } = disk.target;
  return { ...drive, target: isOpen ? { ...target, tray: 'open' } : target };
}

/** Another medium was put in. */
function withMedium(domain: Domain, disk: Disk, image: string): Disk {
  if (disk.type !== 'file') throw otherImage(domain, disk, pathOf(disk) ?? 'nothing', image);
  const { tray: _tray, ...target } = disk.target;
  return { ...disk, target, source: { seclabel: [], ...disk.source, file: image } };
}

function otherImage({ name }: Domain, disk: Disk, known: string, image: string): MigrationError {
  const message = `disk ${disk.target.dev} of domain ${name} runs on ${image} instead of ${known}`;
  return new MigrationError(
    'migration-blocked',
    `${message}: its document does not say so; end it and start it with one that does`,
  );
}
