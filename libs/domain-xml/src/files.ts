import type { Domain } from './domain.ts';
import type { Backend } from './vocabulary/chardev.ts';
import type { BackingStore, Disk } from './vocabulary/disk.ts';

/** A file of the host that QEMU will open. */
export interface DomainFile {
  readonly path: string;
  readonly use:
    | 'disk'
    | 'backing'
    | 'firmware'
    | 'nvram'
    | 'kernel'
    | 'acpi-table'
    | 'initrd'
    | 'fw-cfg'
    | 'chardev-file'
    | 'chardev-socket'
    | 'chardev-log'
    | 'sound-file'
    | 'display-socket'
    | 'vhost-user-socket'
    | 'tpm-socket'
    | 'directory'
    | 'persistent-memory';
  readonly readOnly: boolean;
  /** What the file is made from where it is not there yet. */
  readonly template?: string;
}

/** Every file of the host that QEMU will open for this domain. */
export function filesOf(domain: Domain): DomainFile[] {
  const { os, sysinfo, devices } = domain.document;
  const file = (use: DomainFile['use'], path: string | undefined, readOnly: boolean): DomainFile[] =>
    path === undefined ? [] : [{ path, use, readOnly }];
  return [
    ...file('firmware', os.loader?.path, os.loader?.type !== 'pflash' || os.loader.readonly === true),
    ...file('nvram', os.nvram?.path, false).map((one) => ({
      ...one,
      ...(os.nvram?.template === undefined ? {} : { template: os.nvram.template }),
    })),
    ...file('firmware', os.nvram?.template, true),
    ...(os.acpi?.table ?? []).flatMap((table) => file('acpi-table', table.path, true)),
    ...file('kernel', os.kernel, true),
    ...file('initrd', os.initrd, true),
    ...sysinfo.flatMap((info) =>
      info.type === 'fwcfg' ? info.entry.flatMap((entry) => file('fw-cfg', entry.file, true)) : [],
    ),
    ...devices.disk.flatMap((disk) => [
      ...file('disk', imageOf(disk), disk.readonly !== undefined),
      ...backing(disk.backingStore),
    ]),
    ...devices.filesystem.flatMap((fs) => [
      ...file('directory', fs.source.dir, fs.readonly !== undefined),
      ...file('vhost-user-socket', fs.source.socket, false),
    ]),
    ...devices.memory.flatMap((module) =>
      module.model === 'nvdimm'
        ? file('persistent-memory', module.source.path, module.target.readonly !== undefined)
        : [],
    ),
    ...(devices.tpm?.backend.type === 'external' ? file('tpm-socket', devices.tpm.backend.source.path, false) : []),
    ...devices.interface.flatMap((card) => file('firmware', card.rom?.file, true)),
    ...devices.interface.flatMap((card) =>
      card.type === 'vhostuser' ? file('vhost-user-socket', card.source.path, false) : [],
    ),
    ...backendsOf(devices).flatMap((port) => {
      const log = file('chardev-log', port.log?.file, false);
      if (port.type === 'unix') return [...file('chardev-socket', port.source?.path, false), ...log];
      if (port.type === 'file' || port.type === 'pipe' || port.type === 'dev')
        return [...file('chardev-file', port.source.path, false), ...log];
      return log;
    }),
    ...devices.audio.flatMap((one) => (one.type === 'file' ? file('sound-file', one.path, false) : [])),
    ...devices.graphics.flatMap((one) =>
      one.listen.flatMap((listen) => (listen.type === 'socket' ? file('display-socket', listen.socket, false) : [])),
    ),
  ].filter((one, i, all) => all.findIndex((other) => other.path === one.path && other.use === one.use) === i);
}

function backendsOf(devices: Domain['devices']): readonly Backend[] {
  const { serial, parallel, channel, console, redirdev, smartcard } = devices;
  const random = devices.rng.flatMap(({ backend }) => (backend.model === 'egd' ? [backend] : []));
  return [...serial, ...parallel, ...channel, ...console, ...redirdev, ...smartcard, ...random];
}

function imageOf(disk: Disk): string | undefined {
  if (disk.type === 'file') return disk.source?.file;
  if (disk.type === 'block') return disk.source?.dev;
  return disk.source?.host.find((host) => host.transport === 'unix')?.socket;
}

function backing(store: BackingStore | undefined): DomainFile[] {
  if (store?.path === undefined) return [];
  return [{ path: store.path, use: 'backing', readOnly: true }, ...backing(store.backingStore)];
}
